"""Recipes: rows that say how to make a sample's clips, with question and answer.

A recipe holds no audio. With the songs at hand, `mixing_buddy.rendering` turns it into what the
model hears; so a dataset of recipes can be published whatever the licence of the songs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from mixing_buddy.chunks import Chunk
from mixing_buddy.claims import PromptCategory
from mixing_buddy.clips import clips_of
from mixing_buddy.consensus.estimate import MEAN, ReferenceBalance
from mixing_buddy.errors import RecipeError
from mixing_buddy.flaws import FLAWS, Category, draw_gain_db
from mixing_buddy.preferences import draw_rejection
from mixing_buddy.schema import (
    DIFFERENTIAL,
    GENERATOR_VERSION,
    MODES,
    PREFERENCE,
    SINGLE_MIX,
    STEMS_MODE,
    Recipe,
)
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS
from mixing_buddy.wording import Wording, draw_index, word_differential, word_single

#: Balances that engineers of a song agree on, by what they are relative to: a stem, or `MEAN`.
Balances = Mapping[str, ReferenceBalance]

_FLAWED = tuple(category for category in Category if category is not Category.NO_ERROR)


@dataclass(frozen=True)
class _Plan:
    """What a recipe is made for; gains and words are drawn."""

    target: str
    # None is drawn, where a stem that is not changed is left.
    anchor: str | None
    category: Category
    num_changed: int = 1
    index: int = 0


@dataclass(frozen=True)
class _Settings:
    mode: str
    base_seed: int
    no_error_tolerance_db: float
    num_references: int
    balances: Balances = field(default_factory=dict)


def derive_seed(base_seed: int, *names: str) -> int:
    """Derive a seed from a base seed and names, alike on every machine and in every process.

    Returns:
        A non-negative integer below 2 ** 48, which a JSON reader keeps exact.
    """
    text = "\0".join((str(base_seed), *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def enumerate_recipes(
    chunk: Chunk,
    *,
    mode: str = SINGLE_MIX,
    base_seed: int = 0,
    no_error_tolerance_db: float = 0.0,
    num_references: int = 0,
    balances: Balances | None = None,
) -> Iterator[Recipe]:
    """Make one recipe for every combination that the chunk allows.

    These are target, anchor and category, 30 with three advised stems and 10 with two; in
    "differential" target, category and number of changed stems, 36 with three and 16 with two
    (a mix that needs no change is no sample there, nor is one of whose flaws any lies within the
    range that engineers agree on).

    Args:
        chunk: from `find_chunks`.
        mode: one of `MODES`. Recipes of "single_mix", "stems" and "preference" for the same
            combination share seed and gains, so that modes can be compared in pairs.
        base_seed: another one gives other gains and wordings.
        no_error_tolerance_db: see `draw_gain_db`.
        num_references: how many right answers to list in the column `references`.
        balances: what engineers of this song agree on. It takes the place of the stems as they
            lie as the balanced mix of "differential", that of the recipe's anchor if there, else
            relative to the mean of the stems, else any. Other modes don't use it.

    Yields:
        Recipes, in a fixed order.

    Raises:
        RecipeError: the mode is unknown.
    """
    settings = _Settings(mode, base_seed, no_error_tolerance_db, num_references, balances or {})
    for plan in _plans(chunk, mode):
        yield from _make_recipe(chunk, plan, settings)


def sample_recipes(
    chunk: Chunk,
    count: int,
    *,
    mode: str = SINGLE_MIX,
    base_seed: int = 0,
    no_error_tolerance_db: float = 0.0,
    num_references: int = 0,
    balances: Balances | None = None,
) -> Iterator[Recipe]:
    """Make `count` recipes with the combination drawn uniformly, each gain anew.

    The first recipes stay the same when `count` grows.

    Args:
        chunk: from `find_chunks`, with two advised stems at least.
        count: how many.
        mode: see `enumerate_recipes`, like the arguments that follow.
        base_seed: another one gives other recipes.
        no_error_tolerance_db: see `draw_gain_db`.
        num_references: how many right answers to list.
        balances: see `enumerate_recipes`; fewer recipes than `count` may come with it.

    Yields:
        Recipes; the last part of their uid counts from 0.

    Raises:
        RecipeError: the mode is unknown, or the chunk has fewer than two stems that may be
            target or anchor.
    """
    settings = _Settings(mode, base_seed, no_error_tolerance_db, num_references, balances or {})
    if len(chunk.advised_stems) < 2:
        raise RecipeError(
            f"{_chunk_uid(chunk)}: a target and an anchor are needed, but only "
            f"{', '.join(chunk.advised_stems) or 'none'} of the stems can be advised on here."
        )
    plans = list(_plans(chunk, mode))
    categories = list(Category)
    for index in range(count):
        rng = np.random.default_rng(derive_seed(base_seed, _chunk_uid(chunk), str(index)))
        if mode == DIFFERENTIAL:
            drawn = plans[draw_index(rng, len(plans))]
            plan = _Plan(drawn.target, None, drawn.category, drawn.num_changed, index)
        else:
            others = list(chunk.advised_stems)
            target = others.pop(draw_index(rng, len(others)))
            anchor = others[draw_index(rng, len(others))]
            plan = _Plan(target, anchor, categories[draw_index(rng, len(categories))], 1, index)
        yield from _make_recipe(chunk, plan, settings)


def _plans(chunk: Chunk, mode: str) -> Iterator[_Plan]:
    if mode not in MODES:
        raise RecipeError(f"Unknown mode {mode!r}: it must be one of {', '.join(MODES)}.")
    for target in chunk.advised_stems:
        if mode == DIFFERENTIAL:
            for category in _FLAWED:
                for num_changed in range(1, len(chunk.advised_stems) + 1):
                    yield _Plan(target, None, category, num_changed)
        else:
            for anchor in chunk.advised_stems:
                if anchor != target:
                    for category in Category:
                        yield _Plan(target, anchor, category)


def _make_recipe(chunk: Chunk, plan: _Plan, settings: _Settings) -> Iterator[Recipe]:
    """Make the recipe of a plan, if it is one."""
    if settings.mode == DIFFERENTIAL:
        yield from _make_differential(chunk, plan, settings)
    else:
        yield _make_single(chunk, plan, settings)


def _make_single(chunk: Chunk, plan: _Plan, settings: _Settings) -> Recipe:
    combination = f"{plan.target}-vs-{plan.anchor}/{plan.category}/{plan.index}"
    # Of "single_mix" in every mode: see `enumerate_recipes`.
    seed = derive_seed(settings.base_seed, f"{_chunk_uid(chunk)}/{SINGLE_MIX}/{combination}")
    rng = np.random.default_rng(seed)
    gain_db = draw_gain_db(plan.category, rng, no_error_tolerance_db=settings.no_error_tolerance_db)
    wording = word_single(
        rng,
        chunk,
        plan.category,
        mode=STEMS_MODE if settings.mode == STEMS_MODE else SINGLE_MIX,
        target=plan.target,
        anchor=plan.anchor,
        prompt_category=PromptCategory.ADVICE_SEEKING if settings.mode == PREFERENCE else None,
        num_references=settings.num_references,
    )
    recipe = _recipe(
        chunk,
        plan,
        settings,
        uid=f"{_chunk_uid(chunk)}/{settings.mode}/{combination}",
        seed=seed,
        anchor=plan.anchor,
        gains_db={plan.target: gain_db},
        wording=wording,
    )
    return _with_rejected(recipe, chunk, wording, rng) if settings.mode == PREFERENCE else recipe


def _with_rejected(
    recipe: Recipe, chunk: Chunk, wording: Wording, rng: np.random.Generator
) -> Recipe:
    """Add a wrong answer, from the same templates as the right one."""
    rejection = draw_rejection(
        recipe.category,
        rng,
        target=recipe.target,
        anchor=recipe.anchor,
        advised_stems=chunk.advised_stems,
    )
    return dataclasses.replace(
        recipe,
        chosen=recipe.response,
        rejected=rejection.response(
            wording.response_index, anchor=recipe.anchor, reason=wording.reason
        ),
        rejected_kind=rejection.kind,
        rejected_stem=rejection.stem,
        rejected_direction=rejection.direction,
    )


def _make_differential(chunk: Chunk, plan: _Plan, settings: _Settings) -> Iterator[Recipe]:
    uid = (
        f"{_chunk_uid(chunk)}/{DIFFERENTIAL}/{plan.target}/{plan.category}/"
        f"{plan.num_changed}-changed/{plan.index}"
    )
    seed = derive_seed(settings.base_seed, uid)
    rng = np.random.default_rng(seed)
    gains_db = {plan.target: draw_gain_db(plan.category, rng)}
    others = [stem for stem in chunk.advised_stems if stem != plan.target]
    for _ in range(plan.num_changed - 1):
        stem = others.pop(draw_index(rng, len(others)))
        gains_db[stem] = draw_gain_db(_FLAWED[draw_index(rng, len(_FLAWED))], rng)
    anchor = others[draw_index(rng, len(others))] if others else None
    balance = _balance_for(anchor, settings.balances)
    if balance and any(_is_taste(balance, stem, gain_db) for stem, gain_db in gains_db.items()):
        return
    wording = word_differential(
        rng,
        chunk,
        {stem: -gain_db for stem, gain_db in gains_db.items()},
        anchor=anchor,
        num_references=settings.num_references,
    )
    yield _recipe(
        chunk,
        plan,
        settings,
        uid=uid,
        seed=seed,
        anchor=anchor,
        gains_db=gains_db,
        wording=wording,
        balance=balance,
    )


def _balance_for(anchor: str | None, balances: Balances) -> ReferenceBalance | None:
    # The stem that is never changed comes before those that may be: a stem that others are
    # measured by has no range of its own.
    names = (anchor, MEAN, "other", *STEMS)
    return next((balances[name] for name in names if name in balances), None)


def _is_taste(balance: ReferenceBalance, stem: str, gain_db: float) -> bool:
    """Whether a stem at this gain relative to the balance is still where engineers put it."""
    low_db, high_db = balance.tolerance_low_db[stem], balance.tolerance_high_db[stem]
    if low_db is None or high_db is None:
        return False
    return low_db <= balance.gains_db[stem] + gain_db <= high_db


def _recipe(
    chunk: Chunk,
    plan: _Plan,
    settings: _Settings,
    *,
    uid: str,
    seed: int,
    anchor: str | None,
    gains_db: Mapping[str, float],
    wording: Wording,
    balance: ReferenceBalance | None = None,
) -> Recipe:
    flaw = FLAWS[plan.category]
    balanced_db = dict.fromkeys(STEMS, 0.0) if balance is None else balance.gains_db
    stem_gains_db = {stem: balanced_db[stem] + gains_db.get(stem, 0.0) for stem in STEMS}
    tolerance_low_db = tolerance_high_db = None
    if settings.mode == DIFFERENTIAL:
        ends_db = (balance.tolerance_low_db, balance.tolerance_high_db) if balance else ({}, {})
        tolerance_low_db, tolerance_high_db = (
            {s: None if end.get(s) is None else end[s] - stem_gains_db[s] for s in STEMS}
            for end in ends_db
        )
    claim = wording.claim
    return Recipe(
        uid=uid,
        generator_version=GENERATOR_VERSION,
        mode=settings.mode,
        source=chunk.source,
        song=chunk.song,
        artist=chunk.artist,
        split=chunk.split,
        start_s=chunk.start_s,
        duration_s=chunk.duration_s,
        sample_rate=SAMPLE_RATE,
        target=plan.target,
        anchor=anchor,
        category=plan.category,
        gain_db=gains_db[plan.target],
        stem_gains_db=stem_gains_db,
        # Not "-0.0", which reads oddly in a table.
        needed_change_db={stem: 0.0 - gains_db.get(stem, 0.0) for stem in STEMS},
        tolerance_low_db=tolerance_low_db,
        tolerance_high_db=tolerance_high_db,
        num_changed_stems=sum(gain_db != 0.0 for gain_db in gains_db.values()),
        direction=flaw.direction,
        min_db=flaw.min_db,
        max_db=flaw.max_db,
        prompt_category=wording.prompt_category,
        claim_stem=claim and claim.stem,
        claim_direction=claim and claim.direction,
        claim_fault=wording.claim_fault,
        instruction=wording.instruction,
        response=wording.response,
        chosen=None,
        rejected=None,
        rejected_kind=None,
        rejected_stem=None,
        rejected_direction=None,
        references=wording.references,
        audios=tuple(
            clips_of(
                settings.mode,
                chunk.audible_stems,
                stem_gains_db,
                plan.target,
                anchor,
                balanced_gains_db=balanced_db,
            )
        ),
        seed=seed,
        licence=chunk.licence,
    )


def _chunk_uid(chunk: Chunk) -> str:
    return f"{chunk.source}/{chunk.split}/{chunk.song}/{round(chunk.start_s):04d}s"
