"""The row of the dataset: every column of a recipe, and what each means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixing_buddy.claims import PromptCategory
from mixing_buddy.conversations import to_template
from mixing_buddy.errors import RecipeError
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.labels import decode_labels
from mixing_buddy.preferences import RejectedKind

#: Raised whenever the same songs and settings would give other recipes than before.
GENERATOR_VERSION = "3"

#: The model hears one flawed mix; the anchor is named in the instruction.
SINGLE_MIX = "single_mix"
#: The model hears the anchor alone, then each other audible stem, as they stand in the mix.
STEMS_MODE = "stems"
#: The model hears target and backing of a flawed mix A, then of the balanced mix B.
DIFFERENTIAL = "differential"
#: The model hears one flawed mix and learns to prefer the right of two answers.
PREFERENCE = "preference"

#: All modes, with what the model hears and answers in each.
MODES: dict[str, str] = {
    SINGLE_MIX: "The model hears the flawed mix; the anchor is named in the text. It answers "
    "with stem, direction and range.",
    STEMS_MODE: "The model hears the anchor alone, then each other audible stem, at the gain that "
    "each has in the flawed mix. It answers with stem, direction and range.",
    DIFFERENTIAL: "The model hears the target in mix A (flawed), the backing in A (all other "
    "stems), the target in mix B (balanced: the original, or the consensus of several engineers), "
    "the backing in B. One to three stems differ. It answers with the change in dB that each needs "
    "in A to reach B.",
    PREFERENCE: "The model hears the flawed mix. `chosen` is right, `rejected` is wrong in the one "
    "way that `rejected_kind` says.",
}

#: Columns that only preference rows have.
PREFERENCE_COLUMNS: tuple[str, ...] = (
    "chosen",
    "rejected",
    "rejected_kind",
    "rejected_stem",
    "rejected_direction",
)

#: Columns that only differential rows have.
DIFFERENTIAL_COLUMNS: tuple[str, ...] = ("tolerance_low_db", "tolerance_high_db")

#: Mode that alone has a column.
_ONLY_IN: dict[str, str] = dict.fromkeys(PREFERENCE_COLUMNS, PREFERENCE) | dict.fromkeys(
    DIFFERENTIAL_COLUMNS, DIFFERENTIAL
)


@dataclass(frozen=True)
class Clip:
    """How to render one clip that the model hears: the sum over its stems of gain times stem.

    Args:
        name: what it is: "mix", a stem, or "target_a", "backing_a", "target_b", "backing_b".
        stem_gains_db: gain of each stem in dB, keys as in `STEMS`; None leaves the stem out.
    """

    name: str
    stem_gains_db: Mapping[str, float | None]


@dataclass(frozen=True)
class Recipe:
    """One sample: what to mix, what to ask and what to answer.

    Args:
        uid: unique in a dataset; says what the recipe is.
        generator_version: raised whenever the same songs and settings would give other recipes.
        mode: what the model hears: the name of the config.
        source: name of the folder of songs.
        song: name of the song's folder or file.
        artist: who made the song, None where its name does not say.
        split: "train", "validation" or "test".
        start_s: where the chunk starts in the song, in seconds.
        duration_s: length of the music in the chunk, in seconds.
        sample_rate: of the rendered clips, in Hz.
        target: the stem that is changed; where several are, the one that is heard alone.
        anchor: the stem whose level is taken as right; None where no stem is left that could be.
        category: the flaw injected on the target.
        gain_db: the gain injected on the target, in dB relative to its gain in the balanced mix.
        stem_gains_db: gain of every stem in the flawed mix, in dB, by name of stem.
        needed_change_db: what to move each fader of the flawed mix by to balance it, in dB.
        tolerance_low_db: lowest change of each fader, in dB on the scale of `needed_change_db`,
            that leads into the range that several engineers agree on; None where no such range is
            known. Differential rows only.
        tolerance_high_db: highest such change, likewise.
        num_changed_stems: how many stems stand at another gain than in the balanced mix, outside
            the range that engineers agree on where one is known.
        direction: what the advice asks the target's fader to do.
        min_db: lower end of the change advised on the target, a magnitude in dB; None where
            none is due.
        max_db: upper end of that change.
        prompt_category: what kind of prompt the instruction is.
        claim_stem: the stem that a description says is off; None in other prompts.
        claim_direction: where its fader would have to go if the description were right.
        claim_fault: in which way the description is wrong, "stem" or "direction"; None where
            it is right, or there is none.
        instruction: the user's text.
        response: the answer to learn.
        chosen: the right answer of a preference pair, else None, like the four that follow.
        rejected: the wrong answer.
        rejected_kind: in which one way it is wrong.
        rejected_stem: the stem that it names.
        rejected_direction: the direction that it names.
        references: more right answers, the first being `response` or its like without reasons.
        audios: how to render each clip that the model hears, in order.
        seed: what gains and wordings were drawn from.
        licence: licence of the song's audio.
    """

    uid: str
    generator_version: str
    mode: str
    source: str
    song: str
    artist: str | None
    split: str
    start_s: float
    duration_s: float
    sample_rate: int
    target: str
    anchor: str | None
    category: Category
    gain_db: float
    stem_gains_db: Mapping[str, float]
    needed_change_db: Mapping[str, float]
    tolerance_low_db: Mapping[str, float | None] | None
    tolerance_high_db: Mapping[str, float | None] | None
    num_changed_stems: int
    direction: Direction
    min_db: float | None
    max_db: float | None
    prompt_category: PromptCategory
    claim_stem: str | None
    claim_direction: Direction | None
    claim_fault: str | None
    instruction: str
    response: str
    chosen: str | None
    rejected: str | None
    rejected_kind: RejectedKind | None
    rejected_stem: str | None
    rejected_direction: Direction | None
    references: Sequence[str]
    audios: Sequence[Clip]
    seed: int
    licence: str

    def to_row(self) -> dict[str, Any]:
        """Return the recipe as a row of plain Python values, columns in the order above.

        A column `messages` with the chat (see `to_template`) stands before `audios`.
        """
        row: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            if _ONLY_IN.get(item.name, self.mode) != self.mode:
                continue
            if item.name == "audios":
                row["messages"] = to_template(len(self.audios), self.instruction, self.response)
            value = getattr(self, item.name)
            row[item.name] = value.value if isinstance(value, _NAMES) else value
        for name in _BY_STEM:
            if row.get(name) is not None:
                row[name] = dict(row[name])
        row["references"] = list(self.references)
        row["audios"] = [
            {"name": clip.name, "stem_gains_db": dict(clip.stem_gains_db)} for clip in self.audios
        ]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recipe:
        """Build the recipe back from a row; columns that are no recipe's are left out.

        Raises:
            RecipeError: a column is missing, or a name is unknown.
        """
        names = [item.name for item in dataclasses.fields(cls)]
        missing = [name for name in names if name not in row and name not in _ONLY_IN]
        if missing:
            raise RecipeError(
                f"Recipe {row.get('uid', '?')}: no column {', '.join(missing)}: was this row made "
                "by this version of Mixing Buddy's dataset builder?"
            )
        decoded = decode_labels(row)
        values = {name: decoded.get(name) for name in names}
        try:
            for name, kind in _NAMED.items():
                if values[name] is not None:
                    values[name] = kind(values[name])
        except ValueError as error:
            raise RecipeError(f"Recipe {row['uid']}: {error}") from error
        for name in _BY_STEM:
            if values[name] is not None:
                values[name] = dict(values[name])
        values["references"] = tuple(values["references"])
        values["audios"] = tuple(
            Clip(clip["name"], dict(clip["stem_gains_db"])) for clip in values["audios"]
        )
        return cls(**values)


_BY_STEM = ("stem_gains_db", "needed_change_db", *DIFFERENTIAL_COLUMNS)
_NAMES = (Category, Direction, PromptCategory, RejectedKind)
_NAMED = {
    "category": Category,
    "direction": Direction,
    "claim_direction": Direction,
    "rejected_direction": Direction,
    "rejected_kind": RejectedKind,
    "prompt_category": PromptCategory,
}
