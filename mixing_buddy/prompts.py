"""Instructions and responses, filled from the template pools in ``templates/*.yaml``.

The pools are data, so that wording can be edited without touching code; `check_templates`
says whether an edit still fills, reads and parses for every stem and category. Run
``python -m mixing_buddy.prompts`` after an edit.

What the user says is of one of four kinds (`PromptCategory`). A description claims that a stem
is off in some direction, rightly or not; the answer then settles the claim first. It can be right
only where something is off: a balanced mix makes every claim wrong, in its stem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mixing_buddy.claims import DESCRIPTIONS, Claim, PromptCategory
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS
from mixing_buddy.template_pools import (
    claim_words,
    clip_words,
    continuation,
    entry,
    fill,
    load,
    pick,
    stem_words,
)

#: Sizes of every pool of instructions and of responses; `check_templates` holds the files to them.
NUM_INSTRUCTIONS = 10
NUM_RESPONSES = 10

#: Reasons for each stem and direction, and for balance.
NUM_REASONS = 4
#: Share of responses that `draw_reason` gives a reason.
REASON_SHARE = 0.5

#: Changes in differential answers are rounded to this many dB.
CHANGE_STEP_DB = 0.5

SYSTEM_MESSAGE = "You are a mixing engineer who gives gain-balance advice."


Mode = Literal["single_mix", "stems"]


def draw_reason(rng: np.random.Generator) -> int | None:
    """Draw which musical reason follows the advice; None, for none, with 1 - `REASON_SHARE`."""
    position = float(rng.random()) / REASON_SHARE
    return int(position * NUM_REASONS) if position < 1.0 else None


def instruction(
    index: int,
    *,
    duration_s: float,
    stems: Sequence[str],
    anchor: str,
    mode: Mode = "single_mix",
    prompt_category: PromptCategory | str = PromptCategory.ADVICE_SEEKING,
    claim: Claim | None = None,
) -> str:
    """Fill an instruction template.

    Args:
        index: which template, 0 to `NUM_INSTRUCTIONS` - 1.
        duration_s: length of the clip in seconds; said to a tenth of a second.
        stems: the stems that sound in the clip, a subset of `STEMS`.
        anchor: the stem whose level is taken as right, one of `ADVISED_STEMS` and of ``stems``.
        mode: whether the mix is heard, or the anchor and then the other stems one by one.
        prompt_category: what kind of prompt it is.
        claim: what a description claims; None for the other kinds.

    Returns:
        What the user says; ``parse_advice`` reads the claim out of a description.

    Raises:
        MixingBuddyError: an argument is out of range, or the template names an unknown
            placeholder.
    """
    template, where = pick(f"instructions{_pool(mode, prompt_category, claim)}", index)
    _check_stems(stems, anchor)
    clip = clip_words(duration_s, stems, anchor)
    is_single_mix = mode == "single_mix"
    if not is_single_mix and not clip["others"]:
        raise MixingBuddyError(f"Tracks of {anchor} alone: add a stem to compare with the anchor.")
    noun = f"mix of {clip['stems']}" if is_single_mix else f"mix, track by track ({clip['tracks']})"
    words = {
        **clip,
        **stem_words("anchor", anchor),
        "a_clip": f"{clip['a_duration']} {noun}",
        "this_clip": f"this {clip['duration']} {noun}",
    }
    if prompt_category == PromptCategory.AUDIO_ONLY:
        tracks = "" if is_single_mix else f"Tracks: {clip['tracks']}. "
        return tracks + fill(template, words, where)
    if claim is None:
        return fill(template, words, where)
    _check_claim(claim, anchor)
    words |= claim_words(claim.stem, claim.direction, template)
    return fill(entry(template, "text", where), words, where)


def response(
    index: int,
    category: Category,
    *,
    target: str,
    anchor: str,
    mode: Mode = "single_mix",
    prompt_category: PromptCategory | str = PromptCategory.ADVICE_SEEKING,
    claim: Claim | None = None,
    reason: int | None = None,
) -> str:
    """Fill a response template.

    Args:
        index: which template, 0 to `NUM_RESPONSES` - 1; its opening is the same whatever
            the category.
        category: the flaw that the answer describes.
        target: the stem that carries the flaw, one of `ADVISED_STEMS`; not named where the
            category is ``no_error``.
        anchor: the stem that the target is measured against, another of `ADVISED_STEMS`.
        mode: as in `instruction`.
        prompt_category: as in `instruction`. Whether a description is confirmed or corrected
            follows from the claim alone, so that an answer that is wrong on purpose stays
            coherent.
        claim: as in `instruction`.
        reason: which musical reason follows the advice, 0 to `NUM_REASONS` - 1; None for none.

    Returns:
        The assistant's answer.

    Raises:
        MixingBuddyError: an argument is out of range, or the template names an unknown
            placeholder.
    """
    category = Category(category)
    template, where = pick(f"responses{_pool(mode, prompt_category, claim)}", index)
    where = f"{where}, {category}"
    _check_stem(target, ADVISED_STEMS, "target")
    _check_stem(anchor, ADVISED_STEMS, "anchor")
    if target == anchor:
        raise MixingBuddyError(
            f"Target and anchor are both {target!r}: a stem can't be measured against itself; "
            "choose another anchor."
        )
    words = stem_words("anchor", anchor)
    flaw = FLAWS[category]
    if category is not Category.NO_ERROR:
        words |= stem_words("target", target)
        words |= {"min_db": f"{flaw.min_db:g}", "max_db": f"{flaw.max_db:g}"}
    parts = [entry(template, "opening", where), continuation(template, category, where)]
    fault = None
    if claim is not None:
        _check_claim(claim, anchor)
        words |= stem_words("claim", claim.stem)
        fault = claim.fault(category, target=target)
        parts.insert(1, entry(template, "right" if fault is None else "wrong", where))
    if reason is not None:
        parts.append(_reason(reason, flaw.direction, target))
    if fault is not None:
        corrections = load("corrections")[fault]
        parts.append(corrections[index % len(corrections)])
    return fill(" ".join(parts), words, where)


def references(
    count: int,
    category: Category,
    *,
    target: str,
    anchor: str,
    mode: Mode = "single_mix",
    prompt_category: PromptCategory | str = PromptCategory.ADVICE_SEEKING,
    claim: Claim | None = None,
    first: int = 0,
) -> list[str]:
    """Several right answers for one row, to compare a model's words with.

    Args:
        count: how many, 0 to `NUM_RESPONSES`.
        category: as in `response`, like the arguments that follow.
        target: the stem that carries the flaw.
        anchor: the stem whose level is taken as right.
        mode: what is heard.
        prompt_category: what kind of prompt it is.
        claim: what a description claims.
        first: the template of the first answer; the next ones follow, in a circle.

    Returns:
        Answers without reasons, all different.

    Raises:
        MixingBuddyError: there are not so many templates, or an argument is out of range.
    """
    _check_count(count)
    return [
        response(
            (first + number) % NUM_RESPONSES,
            category,
            target=target,
            anchor=anchor,
            mode=mode,
            prompt_category=prompt_category,
            claim=claim,
        )
        for number in range(count)
    ]


def differential_instruction(
    index: int, *, duration_s: float, stems: Sequence[str], anchor: str | None
) -> str:
    """Fill an instruction that asks for the way from mix A to mix B.

    Args:
        index: which template, 0 to `NUM_INSTRUCTIONS` - 1.
        duration_s: length of each of the four clips, in seconds.
        stems: the stems that sound in the mixes.
        anchor: a stem that is alike in both; None where none is named.

    Returns:
        The user's question. It doesn't say which part the clips set apart, which would tell
        what has changed.

    Raises:
        MixingBuddyError: an argument is out of range.
    """
    template, where = pick("instructions_differential", index)
    _check_stems(stems, anchor)
    words = clip_words(duration_s, stems, anchor or stems[0])
    text = entry(template, "text", where)
    if anchor is not None:
        text = f"{text} {entry(template, 'anchor', where)}"
        words |= stem_words("anchor", anchor)
    return fill(text, words, where)


def differential_response(
    index: int, changes_db: Mapping[str, float], *, anchor: str | None
) -> str:
    """Fill an answer that leads from mix A to mix B.

    Args:
        index: which template, 0 to `NUM_RESPONSES` - 1.
        changes_db: what to move the faders of A by, in dB, by stem; rounded to
            `CHANGE_STEP_DB`, and stems left out that need no move then.
        anchor: the stem that is alike in both, if one is named.

    Returns:
        The assistant's answer, which ``parse_changes`` reads back: stems in the order of
        `STEMS`, each with direction and size, or that A matches B already.

    Raises:
        MixingBuddyError: an argument is out of range, or the anchor is to be moved.
    """
    template, where = pick("responses_differential", index)
    for stem in changes_db:
        _check_stem(stem, STEMS, "stem")
    steps = {stem: round_change_db(changes_db.get(stem, 0.0)) for stem in STEMS}
    if anchor is not None and steps[anchor]:
        raise MixingBuddyError(
            f"The anchor, {anchor}, is to be moved by {steps[anchor]:+g} dB: it must be a stem "
            "that is alike in both mixes; name another, or none."
        )
    items = []
    for stem, change_db in steps.items():
        if change_db:
            item = entry(template, "raise" if change_db > 0 else "lower", where)
            words = stem_words("stem", stem) | {"change_db": f"{abs(change_db):g}"}
            items.append(fill(item, words, where))
    opening = fill(entry(template, "opening", where), {}, where)
    if not items:
        return f"{opening} {entry(template, 'balanced', where)}"
    moves = " and the ".join([", the ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
    return f"{opening} {moves}."


def differential_references(
    count: int, changes_db: Mapping[str, float], *, anchor: str | None, first: int = 0
) -> list[str]:
    """Several right answers for one differential row; arguments as in `references`."""
    _check_count(count)
    indices = [(first + number) % NUM_RESPONSES for number in range(count)]
    return [differential_response(index, changes_db, anchor=anchor) for index in indices]


def round_change_db(change_db: float) -> float:
    """Round a change to the steps of differential answers, `CHANGE_STEP_DB`."""
    return round(change_db / CHANGE_STEP_DB) * CHANGE_STEP_DB


def check_templates() -> int:
    """Check every template in every filling; see `mixing_buddy.template_checks`.

    Returns:
        How many texts were checked.

    Raises:
        MixingBuddyError: the first fault, with file, category and index.
    """
    from mixing_buddy import template_checks

    return template_checks.check_all()


def pool_name(mode: Mode, prompt_category: PromptCategory | str) -> str:
    """Ending of the names of the pools for a mode and a kind of prompt ("" or "_stems" ...).

    Raises:
        MixingBuddyError: there is no such mode, or no such kind.
    """
    if mode not in ("single_mix", "stems"):
        raise MixingBuddyError(f"Unknown mode {mode!r}: it must be single_mix or stems.")
    try:
        prompt_category = PromptCategory(prompt_category)
    except ValueError as error:
        names = ", ".join(PromptCategory)
        raise MixingBuddyError(f"{error}: it must be one of {names}.") from error
    if prompt_category in DESCRIPTIONS:
        return "_description"
    if prompt_category is PromptCategory.AUDIO_ONLY:
        return "_audio_only"
    return "" if mode == "single_mix" else "_stems"


def _pool(mode: Mode, prompt_category: PromptCategory | str, claim: Claim | None) -> str:
    name = pool_name(mode, prompt_category)
    if (claim is not None) != (prompt_category in DESCRIPTIONS):
        needs = "needs a claim" if claim is None else "takes no claim"
        raise MixingBuddyError(f"A prompt of the kind {prompt_category} {needs}: got {claim}.")
    return name


def _reason(index: int, direction: Direction, target: str) -> str:
    reasons = load("reasons")
    choices = reasons["balanced"] if direction is Direction.NONE else reasons[target][direction]
    if not 0 <= index < len(choices):
        raise MixingBuddyError(
            f"templates/reasons.yaml, {target}, {direction}: there is no reason {index}, only "
            f"0 to {len(choices) - 1}."
        )
    return choices[index]


def _check_claim(claim: Claim, anchor: str) -> None:
    _check_stem(claim.stem, ADVISED_STEMS, "claimed stem")
    if claim.stem == anchor:
        raise MixingBuddyError(
            f"The anchor {anchor!r} can't be claimed to be off: its level is taken as right."
        )


def _check_stems(stems: Sequence[str], anchor: str | None) -> None:
    for stem in stems:
        _check_stem(stem, STEMS, "stem")
    if anchor is None:
        return
    _check_stem(anchor, ADVISED_STEMS, "anchor")
    if anchor not in stems:
        raise MixingBuddyError(
            f"The anchor {anchor!r} is not among the clip's stems ({', '.join(stems)}): "
            "name an anchor that sounds in the clip."
        )


def _check_stem(stem: str, allowed: Sequence[str], role: str) -> None:
    if stem not in allowed:
        raise MixingBuddyError(f"Unknown {role} {stem!r}: it must be one of {', '.join(allowed)}.")


def _check_count(count: int) -> None:
    if not 0 <= count <= NUM_RESPONSES:
        raise MixingBuddyError(
            f"{count} references asked for: there are {NUM_RESPONSES} templates, so 0 to "
            f"{NUM_RESPONSES} answers."
        )


if __name__ == "__main__":
    print(f"{check_templates()} texts fill, read back and keep the order of decisions.")
