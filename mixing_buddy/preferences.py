"""Preference pairs: a right answer, and one that is wrong in exactly one known way.

Both come from the same template, so that style tells nothing. Nor does content alone: over all
targets, anchors and flaw categories, with kinds drawn as `draw_rejection` does, each answer is
chosen as often as it is rejected, and only the audio tells which it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mixing_buddy import prompts
from mixing_buddy.claims import Claim, PromptCategory
from mixing_buddy.errors import RecipeError
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS


class RejectedKind(StrEnum):
    """In which way a rejected answer is wrong."""

    WRONG_STEM = "wrong_stem"
    WRONG_DIRECTION = "wrong_direction"
    WRONG_SIZE = "wrong_size"
    FALSE_ALARM = "false_alarm"
    MISSED_FLAW = "missed_flaw"


#: Share of the pairs on flawed mixes that miss the flaw, however many other kinds are possible:
#: "nothing is off" is then rejected as often as it is chosen.
MISSED_FLAW_SHARE = 0.25

_OTHER_DIRECTION = {
    Category.VERY_QUIET: Category.VERY_LOUD,
    Category.QUIET: Category.LOUD,
    Category.LOUD: Category.QUIET,
    Category.VERY_LOUD: Category.VERY_QUIET,
}
_OTHER_SIZE = {
    Category.VERY_QUIET: Category.QUIET,
    Category.QUIET: Category.VERY_QUIET,
    Category.LOUD: Category.VERY_LOUD,
    Category.VERY_LOUD: Category.LOUD,
}


@dataclass(frozen=True)
class Rejection:
    """What a rejected answer says, and in which way that is wrong.

    Args:
        kind: the one way in which it is wrong.
        category: the flaw that it describes.
        target: the stem that it says carries the flaw; the true target where it misses one.
    """

    kind: RejectedKind
    category: Category
    target: str

    @property
    def stem(self) -> str | None:
        """The stem that the rejected answer would move; None where it moves none."""
        return None if self.category is Category.NO_ERROR else self.target

    @property
    def direction(self) -> Direction:
        """Where the rejected answer would move the fader."""
        return FLAWS[self.category].direction

    def response(
        self,
        index: int,
        *,
        anchor: str,
        mode: prompts.Mode = "single_mix",
        prompt_category: PromptCategory | str = PromptCategory.ADVICE_SEEKING,
        claim: Claim | None = None,
        reason: int | None = None,
    ) -> str:
        """The rejected answer in words.

        All arguments are those of the chosen answer (see `prompts.response`). To a description
        it answers coherently: it confirms the claim where that agrees with what it says.
        """
        return prompts.response(
            index,
            self.category,
            target=self.target,
            anchor=anchor,
            mode=mode,
            prompt_category=prompt_category,
            claim=claim,
            reason=reason,
        )


def possible_kinds(
    category: Category, advised_stems: Sequence[str] = ADVISED_STEMS
) -> tuple[RejectedKind, ...]:
    """In which ways an answer about a mix can be wrong.

    A balanced mix can only be called flawed, and a clip with two advised stems has no wrong stem
    to name.

    Args:
        category: the flaw of the mix.
        advised_stems: those of `ADVISED_STEMS` that sound in the clip, target and anchor
            among them.

    Returns:
        The kinds, in the order of `RejectedKind`.
    """
    if category == Category.NO_ERROR:
        return (RejectedKind.FALSE_ALARM,)
    kinds = [kind for kind in RejectedKind if kind is not RejectedKind.FALSE_ALARM]
    if len(advised_stems) < 3:
        kinds.remove(RejectedKind.WRONG_STEM)
    return tuple(kinds)


def possible_rejections(
    kind: RejectedKind,
    category: Category,
    *,
    target: str,
    anchor: str,
    advised_stems: Sequence[str] = ADVISED_STEMS,
) -> list[Rejection]:
    """All answers about a mix that are wrong in one way, and in that way alone.

    Args:
        kind: one of `possible_kinds`.
        category: the flaw of the mix.
        target: the stem that carries it.
        anchor: the stem whose level is taken as right; no rejection names it as the target.
        advised_stems: those of `ADVISED_STEMS` that sound in the clip.

    Returns:
        Eight false alarms where two stems may be blamed, else a single rejection.

    Raises:
        RecipeError: the kind is not possible for this mix.
    """
    kind, category = RejectedKind(kind), Category(category)
    if kind not in possible_kinds(category, advised_stems):
        raise RecipeError(
            f"A mix of the category {category} with {', '.join(advised_stems)} has no answer of "
            f"the kind {kind}: choose one of {', '.join(possible_kinds(category, advised_stems))}."
        )
    stems = [stem for stem in advised_stems if stem != anchor]
    if kind is RejectedKind.FALSE_ALARM:
        flawed = [each for each in Category if each is not Category.NO_ERROR]
        return [Rejection(kind, each, stem) for stem in stems for each in flawed]
    if kind is RejectedKind.WRONG_STEM:
        return [Rejection(kind, category, stem) for stem in stems if stem != target]
    wrong_category = {
        RejectedKind.WRONG_DIRECTION: _OTHER_DIRECTION[category],
        RejectedKind.WRONG_SIZE: _OTHER_SIZE[category],
        RejectedKind.MISSED_FLAW: Category.NO_ERROR,
    }[kind]
    return [Rejection(kind, wrong_category, target)]


def draw_rejection(
    category: Category,
    rng: np.random.Generator,
    *,
    target: str,
    anchor: str,
    advised_stems: Sequence[str] = ADVISED_STEMS,
) -> Rejection:
    """Draw a way to be wrong, and an answer of that kind.

    A flawed mix misses the flaw with `MISSED_FLAW_SHARE`; the rest is shared evenly by the other
    possible kinds. Where the five categories are even and three stems are advised, each of the
    five kinds is a fifth of the pairs; with two, wrong direction and wrong size are 30 % each.

    Args:
        category: the flaw of the mix.
        rng: source of randomness; two draws are taken whatever the category.
        target: the stem that carries the flaw.
        anchor: the stem whose level is taken as right.
        advised_stems: those of `ADVISED_STEMS` that sound in the clip.

    Returns:
        What the rejected answer says.
    """
    # By `random`, whose stream numpy keeps stable, rather than by `integers`.
    kind_position, position = rng.random(), rng.random()
    kinds = list(possible_kinds(category, advised_stems))
    kind = kinds.pop()
    if kinds and kind_position < 1.0 - MISSED_FLAW_SHARE:
        kind = kinds[int(kind_position / (1.0 - MISSED_FLAW_SHARE) * len(kinds))]
    rejections = possible_rejections(
        kind,
        category,
        target=target,
        anchor=anchor,
        advised_stems=advised_stems,
    )
    return rejections[int(position * len(rejections))]
