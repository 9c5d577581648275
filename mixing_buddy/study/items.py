"""Making a study: picking rows that every system answered, and writing their sounds."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from mixing_buddy.errors import OutputError, StudyError
from mixing_buddy.judging.items import parse_systems, read_answers
from mixing_buddy.labels import decode_labels
from mixing_buddy.rendering import RenderTransform, parse_sources
from mixing_buddy.rows import open_rows
from mixing_buddy.schema import SINGLE_MIX
from mixing_buddy.study.abx import LEVELS_DB, level_pair, needed_correct
from mixing_buddy.study.material import AbxPair, Item, Study, write_study
from mixing_buddy.study.questions import TEXTS, default_text
from mixing_buddy.study.sounds import common_loudness, gain_to, listening_clips, write_sound

Row = Mapping[str, Any]


def pick_rows(rows: Sequence[Row], count: int, *, seed: int) -> list[Row]:
    """Pick rows evenly over flaw categories, then over targets and songs.

    Args:
        rows: with names for labels.
        count: how many.
        seed: equal rows, count and seed give equal picks.

    Returns:
        Rows of different chunks of songs, in an order in which categories take turns.

    Raises:
        StudyError: there are fewer different chunks than that in some category.
    """
    rng = np.random.default_rng(seed)
    by_category: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["uid"]):
        by_category[row["category"]].append(row)
    categories = [sorted(by_category)[place] for place in rng.permutation(len(by_category))]
    picked: list[Row] = []
    heard: set[tuple] = set()
    songs, targets = Counter(), Counter()
    for turn in range(count):
        category = categories[turn % len(categories)] if categories else "any category"
        left = [row for row in by_category.get(category, ()) if _chunk(row) not in heard]
        if not left:
            raise StudyError(
                f"{turn} of {count} items could be picked, each of another chunk of a song: every "
                f"system answered too few rows of {category}. Evaluate more rows, or take fewer."
            )
        # Chance decides among those whose target and song were picked least often.
        order = rng.permutation(len(left))
        best = min(
            order,
            key=lambda place: (
                songs[_song(left[place])],
                targets[category, left[place]["target"]],
            ),
        )
        row = left[int(best)]
        picked.append(row)
        heard.add(_chunk(row))
        songs[_song(row)] += 1
        targets[category, row["target"]] += 1
    return picked


def make_study(
    answers: Sequence[str],
    *,
    dataset: str,
    songs: Sequence[str],
    count: int,
    out: Path,
    mode: str = SINGLE_MIX,
    split: str = "test",
    items_per_participant: int | None = None,
    abx_trials: int = 8,
    seed: int = 0,
) -> Study:
    """Pick items, write their sounds, and write the study's folder.

    Args:
        answers: files of answers as FILE or NAME=FILE, one for each system.
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        songs: song folders as ROOT or NAME=ROOT.
        count: number of items.
        out: folder, which must not exist or be empty.
        mode: config of the dataset.
        split: split of it.
        items_per_participant: how many items each rates; all if None.
        abx_trials: listening trials at each level.
        seed: what items are drawn from.

    Raises:
        OutputError: the folder holds something.
        JudgingError: a file of answers can't be used.
        StudyError: too few rows were answered, or too few trials asked for to show anything.
    """
    from tqdm.auto import tqdm

    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: there is something in this folder. Give another, or empty it.")
    if needed_correct(abx_trials) is None:
        raise StudyError(
            f"{abx_trials} trials at each level can't show that a difference was heard: even all "
            "right would be a fair chance. Take 5 or more."
        )
    per_participant = items_per_participant or count
    if not 1 <= per_participant <= count:
        raise StudyError(f"{per_participant} items for each participant, but there are {count}.")
    lines = {name: read_answers(path) for name, path in parse_systems(answers).items()}
    if len(lines) > len(ascii_uppercase):
        raise StudyError(f"{len(lines)} systems are more than anybody can rate: take a few.")
    rows = _answered_rows(dataset, mode, split, lines)
    picked = pick_rows(rows, count, seed=seed)
    transform = RenderTransform(parse_sources(songs))

    # All sounds are held before one is written: none may clip at the loudness common to all.
    heard = []
    for row in tqdm(picked, desc="Rendering", unit="item"):
        batch = transform({name: [value] for name, value in row.items()})
        heard.append(listening_clips(row, batch["clips"][0]))
    pairs = _draw_pairs(picked, transform, abx_trials, np.random.default_rng([seed, 1]))
    mixes = [[sound for _, sound in clips] for clips in heard]
    alone = [[sound] for _, _, sounds in pairs for sound in sounds]
    target_lufs = common_loudness(mixes + alone)

    out.mkdir(parents=True, exist_ok=True)
    # Random, and not the seed: that one may be known.
    study_id = secrets.token_hex(16)
    namer = _Namer(study_id)
    items = [
        _write_item(out, place, row, clips, lines, target_lufs, namer)
        for place, (row, clips) in enumerate(zip(picked, heard, strict=True))
    ]
    abx_pairs = [
        _write_pair(out, place, row, change_db, sounds, target_lufs, namer)
        for place, (row, change_db, sounds) in enumerate(pairs)
    ]
    for name in TEXTS:
        (out / name).write_text(default_text(name), "utf-8")
    study = Study(
        folder=out,
        study_id=study_id,
        seed=seed,
        loudness_lufs=round(target_lufs, 2),
        items_per_participant=per_participant,
        systems=tuple(lines),
        items=tuple(items),
        abx_pairs=tuple(abx_pairs),
    )
    write_study(study)
    return study


class _Namer:
    """Gives files names that tell nothing, not even which belong together."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, *what: object) -> str:
        text = "\0".join(map(str, (self._key, *what)))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest() + ".flac"


def _answered_rows(
    dataset: str, mode: str, split: str, lines: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    table = open_rows(dataset, mode, split)
    place_of = {uid: place for place, uid in enumerate(table["uid"][:])}
    common = set.intersection(*(set(each) for each in lines.values()))
    found = sorted(common & set(place_of))
    if not found:
        raise StudyError(
            f"{dataset}, {mode}, split {split!r}: no row of it was answered by every system. Give "
            "--mode and --split as `mixing-buddy evaluate` had them."
        )
    return [decode_labels(row) for row in table.select([place_of[uid] for uid in found])]


def _draw_pairs(
    rows: Sequence[Row], transform: RenderTransform, num_trials: int, rng: np.random.Generator
) -> list[tuple[Row, float, tuple[np.ndarray, np.ndarray]]]:
    """Draw pairs of mixes for the listening check: row, change in dB, and A and B."""
    pairs = []
    for level_db in LEVELS_DB:
        order = rng.permutation(len(rows))
        for trial in range(num_trials):
            row = rows[order[trial % len(rows)]]
            # Up and down in turn: a part that sinks is harder to hear than one that sticks out.
            change_db = level_db if trial % 2 == 0 else -level_db
            pairs.append((row, change_db, level_pair(row, transform.row_stems(row), change_db)))
    return pairs


def _write_item(
    out: Path,
    place: int,
    row: Row,
    clips: Sequence[tuple[str, np.ndarray]],
    lines: Mapping[str, Mapping[str, Any]],
    target_lufs: float,
    namer: _Namer,
) -> Item:
    # One gain for all clips: how loud they are relative to one another is what the item is about.
    gain_db = gain_to(target_lufs, clips[0][1])
    files = [(label, namer("item", place, label)) for label, _ in clips]
    for (_, sound), (_, name) in zip(clips, files, strict=True):
        write_sound(out / "audio" / name, sound, gain_db)
    return Item(
        name=f"item-{place + 1:03d}",
        uid=row["uid"],
        mode=row["mode"],
        source=row["source"],
        song=row["song"],
        category=row["category"],
        instruction=row["instruction"],
        clips=tuple(files),
        gain_db=round(gain_db, 3),
        answers={system: each[row["uid"]]["answer"].strip() for system, each in lines.items()},
    )


def _write_pair(
    out: Path,
    place: int,
    row: Row,
    change_db: float,
    sounds: tuple[np.ndarray, np.ndarray],
    target_lufs: float,
    namer: _Namer,
) -> AbxPair:
    files = {part: namer("abx", place, part) for part in ("a", "b", "x_is_a", "x_is_b")}
    for part, name in files.items():
        sound = sounds[0] if part in ("a", "x_is_a") else sounds[1]
        write_sound(out / "audio" / name, sound, gain_to(target_lufs, sound))
    return AbxPair(
        f"abx-{place + 1:03d}", row["uid"], row["target"], abs(change_db), change_db, files
    )


def _chunk(row: Row) -> tuple:
    return (row["source"], row["song"], row["start_s"])


def _song(row: Row) -> tuple:
    return (row["source"], row["song"])
