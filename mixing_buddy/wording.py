"""What is said in a sample: the kind of prompt, its claim, and the texts, drawn from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixing_buddy import prompts
from mixing_buddy.chunks import Chunk
from mixing_buddy.claims import Claim, PromptCategory, possible_claims
from mixing_buddy.flaws import Category

#: Share of each kind of prompt where a stem is off, and where the mix is balanced. A balanced mix
#: can't be described correctly: its descriptions are all incorrect, and fewer of the others are,
#: so that over all rows the shares are 40, 20, 20 and 20 %, and the kind of prompt, description or
#: not, never tells whether anything is off.
PROMPT_SHARES_FLAWED: dict[PromptCategory, float] = {
    PromptCategory.ADVICE_SEEKING: 0.4,
    PromptCategory.AUDIO_ONLY: 0.2,
    PromptCategory.CORRECT_DESCRIPTION: 0.25,
    PromptCategory.INCORRECT_DESCRIPTION: 0.15,
}
PROMPT_SHARES_BALANCED: dict[PromptCategory, float] = {
    PromptCategory.ADVICE_SEEKING: 0.4,
    PromptCategory.AUDIO_ONLY: 0.2,
    PromptCategory.CORRECT_DESCRIPTION: 0.0,
    PromptCategory.INCORRECT_DESCRIPTION: 0.4,
}


@dataclass(frozen=True)
class Wording:
    """The texts of one sample.

    Args:
        prompt_category: what kind of prompt the instruction is.
        claim: what a description claims, None in other prompts.
        claim_fault: in which way the claim is wrong, None where it is right or there is none.
        instruction: the user's text.
        response: the right answer.
        references: several right answers, as many as were asked for.
        response_index: which template the response was filled from.
        reason: which musical reason the response gives, None for none.
    """

    prompt_category: PromptCategory
    claim: Claim | None
    claim_fault: str | None
    instruction: str
    response: str
    references: tuple[str, ...]
    response_index: int
    reason: int | None


def word_single(
    rng: np.random.Generator,
    chunk: Chunk,
    category: Category,
    *,
    mode: str,
    target: str,
    anchor: str,
    prompt_category: PromptCategory | None = None,
    num_references: int = 0,
) -> Wording:
    """Draw the texts of a sample in which one stem, at most, is off.

    Args:
        rng: source of randomness.
        chunk: what is heard.
        category: the flaw injected on the target.
        mode: "single_mix" or "stems": what the texts speak of.
        target: the stem that is changed.
        anchor: the stem whose level is taken as right.
        prompt_category: the kind of prompt, drawn if None.
        num_references: how many right answers to list in `references`.
    """
    instruction_index = draw_index(rng, prompts.NUM_INSTRUCTIONS)
    response_index = draw_index(rng, prompts.NUM_RESPONSES)
    drawn = _draw_prompt_category(rng, category)
    prompt_category = prompt_category or drawn
    claim = _draw_claim(rng, prompt_category, category, chunk, target, anchor)
    reason = prompts.draw_reason(rng)
    kind = {"mode": mode, "prompt_category": prompt_category, "claim": claim}
    stems = {"target": target, "anchor": anchor}
    return Wording(
        prompt_category=prompt_category,
        claim=claim,
        claim_fault=None if claim is None else claim.fault(category, target=target),
        instruction=prompts.instruction(
            instruction_index,
            duration_s=chunk.duration_s,
            stems=chunk.audible_stems,
            anchor=anchor,
            **kind,
        ),
        response=prompts.response(response_index, category, reason=reason, **stems, **kind),
        references=tuple(
            prompts.references(num_references, category, first=response_index, **stems, **kind)
        ),
        response_index=response_index,
        reason=reason,
    )


def word_differential(
    rng: np.random.Generator,
    chunk: Chunk,
    needed_change_db: Mapping[str, float],
    *,
    anchor: str | None,
    num_references: int = 0,
) -> Wording:
    """Draw the texts of a sample that asks for the way from mix A to mix B.

    Args:
        rng: source of randomness.
        chunk: what is heard.
        needed_change_db: what to move each fader of A by, in dB.
        anchor: a stem that is alike in both, None where there is none.
        num_references: how many right answers to list in `references`.
    """
    instruction_index = draw_index(rng, prompts.NUM_INSTRUCTIONS)
    response_index = draw_index(rng, prompts.NUM_RESPONSES)
    return Wording(
        prompt_category=PromptCategory.ADVICE_SEEKING,
        claim=None,
        claim_fault=None,
        instruction=prompts.differential_instruction(
            instruction_index,
            duration_s=chunk.duration_s,
            stems=chunk.audible_stems,
            anchor=anchor,
        ),
        response=prompts.differential_response(response_index, needed_change_db, anchor=anchor),
        references=tuple(
            prompts.differential_references(
                num_references, needed_change_db, anchor=anchor, first=response_index
            )
        ),
        response_index=response_index,
        reason=None,
    )


def draw_index(rng: np.random.Generator, count: int) -> int:
    """Draw one of `count` indices, uniformly."""
    # By `random`, whose stream numpy keeps stable, rather than by `integers`.
    return int(rng.random() * count)


def _draw_prompt_category(rng: np.random.Generator, category: Category) -> PromptCategory:
    shares = PROMPT_SHARES_BALANCED if category is Category.NO_ERROR else PROMPT_SHARES_FLAWED
    position = float(rng.random())
    for prompt_category, share in shares.items():
        position -= share
        if position < 0.0:
            return prompt_category
    # Rounding of the shares' sum.
    return PromptCategory.INCORRECT_DESCRIPTION


def _draw_claim(
    rng: np.random.Generator,
    prompt_category: PromptCategory,
    category: Category,
    chunk: Chunk,
    target: str,
    anchor: str,
) -> Claim | None:
    """Draw a claim; of the faults that an incorrect one can have, each is as likely."""
    claims = possible_claims(
        prompt_category,
        category,
        target=target,
        anchor=anchor,
        advised_stems=chunk.advised_stems,
    )
    # Two draws, used or not, so that what follows does not depend on the kind of prompt.
    fault_position, position = float(rng.random()), float(rng.random())
    if not claims:
        return None
    by_fault: dict[str | None, list[Claim]] = {}
    for claim in claims:
        by_fault.setdefault(claim.fault(category, target=target), []).append(claim)
    of_fault = list(by_fault.values())[int(fault_position * len(by_fault))]
    return of_fault[int(position * len(of_fault))]
