"""What a study is made of, and its folder.

study.json            items, listening pairs, answers and who gave them; never served
consent.yaml, questions.yaml, codes.yaml
audio/                sounds under names that say nothing; all that is served
answers.sqlite        what participants said; never served
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mixing_buddy.errors import StudyError
from mixing_buddy.files import write_whole

_FORMAT = 1


@dataclass(frozen=True)
class Item:
    """One thing to hear, with every system's advice on it.

    Args:
        name: unique in the study; says nothing of what it is.
        uid: of the dataset's row.
        mode: config of that row.
        source: name of the folder of songs.
        song: the song in it.
        category: the flaw; never shown.
        instruction: what the systems were asked.
        clips: what is heard: label and name of the sound file.
        gain_db: common gain of all clips, in dB, that brings the mix to the study's loudness.
        answers: text by name of system.
    """

    name: str
    uid: str
    mode: str
    source: str
    song: str
    category: str
    instruction: str
    clips: tuple[tuple[str, str], ...]
    gain_db: float
    answers: Mapping[str, str]


@dataclass(frozen=True)
class AbxPair:
    """Two mixes that differ in the level of one stem, to be told apart.

    Args:
        name: unique in the study.
        uid: of the row that gave the music.
        stem: the stem that differs.
        level_db: by how much, in dB.
        change_db: the same with its sign: what was added to the stem in B.
        sounds: file of "a", "b", "x_is_a" and "x_is_b"; the latter two are copies.
    """

    name: str
    uid: str
    stem: str
    level_db: float
    change_db: float
    sounds: Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """A study as `make_study` wrote it.

    Args:
        folder: where it lies.
        study_id: made at random; goes into the digests of participants' codes.
        seed: what items were drawn from.
        loudness_lufs: loudness of every mix, in LUFS.
        items_per_participant: how many items each participant rates.
        systems: names of the systems; never shown.
        items: in an order in which categories take turns.
        abx_pairs: the listening check.
    """

    folder: Path
    study_id: str
    seed: int
    loudness_lufs: float
    items_per_participant: int
    systems: tuple[str, ...]
    items: tuple[Item, ...]
    abx_pairs: tuple[AbxPair, ...]

    @property
    def audio_folder(self) -> Path:
        """Folder of the sounds, the only one that is served."""
        return self.folder / "audio"

    @cached_property
    def item_by_name(self) -> dict[str, Item]:
        """Every item by its name."""
        return {item.name: item for item in self.items}

    @cached_property
    def pair_by_name(self) -> dict[str, AbxPair]:
        """Every listening pair by its name."""
        return {pair.name: pair for pair in self.abx_pairs}

    @property
    def duration_words(self) -> str:
        """How long taking part is, in words: a minute a page, half a minute a listening trial."""
        pages = self.items_per_participant * len(self.systems)
        minutes = 5 * -(-(2 + pages + len(self.abx_pairs) / 2) // 5)
        return f"about {minutes:.0f} minutes, {pages} pages of ratings"


def write_study(study: Study) -> None:
    """Write ``study.json``, complete or not at all."""
    content = dataclasses.asdict(study)
    del content["folder"]
    text = json.dumps({"format": _FORMAT, **content}, indent=1, ensure_ascii=False) + "\n"
    write_whole(study.folder / "study.json", text)


def read_study(folder: Path) -> Study:
    """Read the study in a folder.

    Raises:
        StudyError: there is none, or one of another format.
    """
    path = folder / "study.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.pop("format") != _FORMAT:
            raise StudyError(f"{path} was made by another version of Mixing Buddy.")
        items = tuple(
            Item(**{**item, "clips": tuple(tuple(clip) for clip in item["clips"])})
            for item in content.pop("items")
        )
        pairs = tuple(AbxPair(**pair) for pair in content.pop("abx_pairs"))
        systems = tuple(content.pop("systems"))
        return Study(folder=folder, items=items, abx_pairs=pairs, systems=systems, **content)
    except FileNotFoundError as error:
        raise StudyError(
            f"{folder}: no study here; `mixing-buddy study make` makes one."
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged: {error!r}.") from error
