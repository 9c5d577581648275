"""Recipes: rows that say how to make a sample's mix, with its question and answer.

A recipe holds no audio. With the songs at hand, `mixing_buddy.rendering` turns it into the
mix; so a data set of recipes can be published whatever the licence of the songs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixing_buddy.chunks import Chunk
from mixing_buddy.errors import RecipeError
from mixing_buddy.flaws import FLAWS, Category, Direction, draw_gain_db
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS

#: Raised whenever the same songs and settings would give other recipes than before.
GENERATOR_VERSION = "1"

#: The model hears one flawed mix; the anchor is named in the instruction.
SINGLE_MIX = "single_mix"


@dataclass(frozen=True)
class Recipe:
    """One sample: what to mix, what to ask and what to answer.

    Args:
        uid: unique in a data set; says what the recipe is.
        generator_version: `GENERATOR_VERSION` of the code that made it.
        mode: what the model hears, "single_mix".
        source: name of the folder of songs.
        song: name of the song's folder.
        split: "train", "validation" or "test".
        start_s: where the chunk starts in the song, in seconds.
        duration_s: length of the music in the chunk, in seconds.
        sample_rate: of the rendered mix, in Hz.
        target: the stem that is changed.
        anchor: the stem whose level is taken as right.
        category: the flaw injected on the target.
        gain_db: the gain injected on the target, in dB.
        stem_gains_db: gain of every stem in the mix, in dB, keys as in `STEMS`.
        direction: what the advice asks the target's fader to do.
        min_db: lower end of the advised change, a magnitude in dB; None where none is due.
        max_db: upper end of the advised change.
        prompt_category: what kind of question the instruction is.
        instruction: the user's text.
        response: the answer to learn.
        seed: what gain and wording were drawn from.
        licence: licence of the song's audio.
    """

    uid: str
    generator_version: str
    mode: str
    source: str
    song: str
    split: str
    start_s: float
    duration_s: float
    sample_rate: int
    target: str
    anchor: str
    category: Category
    gain_db: float
    stem_gains_db: Mapping[str, float]
    direction: Direction
    min_db: float | None
    max_db: float | None
    prompt_category: str
    instruction: str
    response: str
    seed: int
    licence: str

    @property
    def needed_change_db(self) -> float:
        """The change of the target's fader that undoes the flaw exactly, in dB."""
        return -self.gain_db

    def to_row(self) -> dict[str, Any]:
        """Return the recipe as a row of plain Python values, columns in the order above."""
        row = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        row["category"] = self.category.value
        row["direction"] = self.direction.value
        row["stem_gains_db"] = dict(self.stem_gains_db)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recipe:
        """Build the recipe back from a row; columns that are no recipe's are left out.

        Raises:
            RecipeError: a column is missing, or category or direction is unknown.
        """
        names = [item.name for item in dataclasses.fields(cls)]
        missing = [name for name in names if name not in row]
        if missing:
            raise RecipeError(
                f"Recipe {row.get('uid', '?')}: no column {', '.join(missing)}: was this row made "
                "by Mixing Buddy's dataset builder?"
            )
        values = {name: row[name] for name in names}
        try:
            values["category"] = Category(values["category"])
            values["direction"] = Direction(values["direction"])
        except ValueError as error:
            raise RecipeError(f"Recipe {row['uid']}: {error}") from error
        values["stem_gains_db"] = dict(values["stem_gains_db"])
        return cls(**values)


def derive_seed(base_seed: int, *names: str) -> int:
    """Derive a seed from a base seed and names, alike on every machine and in every process.

    Returns:
        A non-negative integer below 2 ** 48, which a JSON reader keeps exact.
    """
    text = "\0".join((str(base_seed), *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def enumerate_recipes(
    chunk: Chunk, *, base_seed: int = 0, no_error_tolerance_db: float = 0.0
) -> Iterator[Recipe]:
    """Make one recipe for every target, anchor and category that the chunk allows.

    Args:
        chunk: from `find_chunks`; three advised stems give 30 recipes, two give 10.
        base_seed: another one gives other gains and wordings.
        no_error_tolerance_db: see `draw_gain_db`.

    Yields:
        Recipes, in a fixed order.
    """
    for target in chunk.advised_stems:
        for anchor in chunk.advised_stems:
            if anchor != target:
                for category in Category:
                    yield _make_recipe(
                        chunk, target, anchor, category, 0, base_seed, no_error_tolerance_db
                    )


def sample_recipes(
    chunk: Chunk, count: int, *, base_seed: int = 0, no_error_tolerance_db: float = 0.0
) -> Iterator[Recipe]:
    """Make `count` recipes with target, anchor and category drawn uniformly, each gain anew.

    The first recipes stay the same when `count` grows.

    Args:
        chunk: from `find_chunks`, with two advised stems at least.
        count: how many.
        base_seed: another one gives other recipes.
        no_error_tolerance_db: see `draw_gain_db`.

    Yields:
        Recipes; the last part of their uid counts from 0.

    Raises:
        RecipeError: the chunk has fewer than two stems that may be target or anchor.
    """
    if len(chunk.advised_stems) < 2:
        raise RecipeError(
            f"{_chunk_uid(chunk)}: a target and an anchor are needed, but only "
            f"{', '.join(chunk.advised_stems) or 'none'} of the stems can be advised on here."
        )
    categories = list(Category)
    for index in range(count):
        rng = np.random.default_rng(derive_seed(base_seed, _chunk_uid(chunk), str(index)))
        others = list(chunk.advised_stems)
        target = others.pop(_draw_index(rng, len(others)))
        anchor = others[_draw_index(rng, len(others))]
        category = categories[_draw_index(rng, len(categories))]
        yield _make_recipe(chunk, target, anchor, category, index, base_seed, no_error_tolerance_db)


def _make_recipe(
    chunk: Chunk,
    target: str,
    anchor: str,
    category: Category,
    index: int,
    base_seed: int,
    no_error_tolerance_db: float,
) -> Recipe:
    from mixing_buddy import prompts

    uid = f"{_chunk_uid(chunk)}/{SINGLE_MIX}/{target}-vs-{anchor}/{category}/{index}"
    seed = derive_seed(base_seed, uid)
    rng = np.random.default_rng(seed)
    gain_db = draw_gain_db(category, rng, no_error_tolerance_db=no_error_tolerance_db)
    instruction = prompts.instruction(
        _draw_index(rng, prompts.NUM_INSTRUCTIONS),
        duration_s=chunk.duration_s,
        stems=chunk.audible_stems,
        anchor=anchor,
    )
    response = prompts.response(
        _draw_index(rng, prompts.NUM_RESPONSES), category, target=target, anchor=anchor
    )
    flaw = FLAWS[category]
    return Recipe(
        uid=uid,
        generator_version=GENERATOR_VERSION,
        mode=SINGLE_MIX,
        source=chunk.source,
        song=chunk.song,
        split=chunk.split,
        start_s=chunk.start_s,
        duration_s=chunk.duration_s,
        sample_rate=SAMPLE_RATE,
        target=target,
        anchor=anchor,
        category=category,
        gain_db=gain_db,
        stem_gains_db={stem: gain_db if stem == target else 0.0 for stem in STEMS},
        direction=flaw.direction,
        min_db=flaw.min_db,
        max_db=flaw.max_db,
        prompt_category="advice_seeking",
        instruction=instruction,
        response=response,
        seed=seed,
        licence=chunk.licence,
    )


def _chunk_uid(chunk: Chunk) -> str:
    return f"{chunk.source}/{chunk.split}/{chunk.song}/{round(chunk.start_s):04d}s"


def _draw_index(rng: np.random.Generator, count: int) -> int:
    # By `random`, whose stream numpy keeps stable, rather than by `integers`.
    return int(rng.random() * count)
