"""Kinds of prompt, and the claims that a description makes about a mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS


class PromptCategory(StrEnum):
    """What the user says beside the audio."""

    ADVICE_SEEKING = "advice_seeking"
    AUDIO_ONLY = "audio_only"
    CORRECT_DESCRIPTION = "correct_description"
    INCORRECT_DESCRIPTION = "incorrect_description"


#: The kinds that make a claim.
DESCRIPTIONS = (PromptCategory.CORRECT_DESCRIPTION, PromptCategory.INCORRECT_DESCRIPTION)


@dataclass(frozen=True)
class Claim:
    """What a description claims.

    Args:
        stem: the stem that is said to be off, one of `ADVISED_STEMS`.
        direction: where its fader would have to go: `Direction.RAISE` for "buried".
    """

    stem: str
    direction: Direction

    def fault(self, category: Category, *, target: str) -> Literal["stem", "direction"] | None:
        """What is wrong with the claim where ``target`` shows the flaw ``category``.

        Returns:
            "stem" where another stem is off, or none; "direction" where the stem is off the
            other way; None where the claim is right.
        """
        if category == Category.NO_ERROR or self.stem != target:
            return "stem"
        return None if self.direction == FLAWS[Category(category)].direction else "direction"


def possible_claims(
    prompt_category: PromptCategory | str,
    category: Category,
    *,
    target: str,
    anchor: str,
    advised_stems: Sequence[str] = ADVISED_STEMS,
) -> list[Claim]:
    """The claims that a description may make, each right or wrong in exactly one way.

    A wrong stem comes with the right direction; on a balanced mix every claim is a wrong stem.
    The anchor is never claimed to be off, as the user takes its level as right.

    Args:
        prompt_category: one of the two kinds of description.
        category: the flaw of the mix.
        target: the stem that carries it.
        anchor: the stem whose level is taken as right.
        advised_stems: those of `ADVISED_STEMS` that sound in the clip.

    Returns:
        The claims; none for a correct description of a balanced mix, which can't be, and for
        prompts without a claim.
    """
    if prompt_category not in DESCRIPTIONS:
        return []
    true_direction = FLAWS[Category(category)].direction
    claims = []
    for stem in advised_stems:
        for direction in (Direction.RAISE, Direction.LOWER):
            claim = Claim(stem, direction)
            fault = claim.fault(category, target=target)
            has_right_direction = true_direction in (direction, Direction.NONE)
            is_wrong_twice = stem != target and not has_right_direction
            is_wanted = (fault is None) == (prompt_category == PromptCategory.CORRECT_DESCRIPTION)
            if stem != anchor and is_wanted and not is_wrong_twice:
                claims.append(claim)
    return claims
