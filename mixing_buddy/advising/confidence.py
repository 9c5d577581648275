"""How sure a model is of its advice on a whole song."""

from __future__ import annotations

from mixing_buddy.advice import Advice
from mixing_buddy.advising.ranking import Ranking
from mixing_buddy.flaws import Direction

#: Advice less likely than this is more likely wrong than right, and is told as a guess.
UNSURE_BELOW = 0.5


def confidence_in(ranking: Ranking, advice: Advice) -> float | None:
    """Posterior of advice: of its stem and direction, whatever the size.

    Returns:
        From 0 to 1; None where the advice was not understood.
    """
    if advice.direction is None:
        return None
    stem = None if advice.direction is Direction.NONE else advice.stem
    return sum(
        float(probability)
        for candidate, probability in zip(ranking.candidates, ranking.posterior, strict=True)
        if (candidate.stem, candidate.direction) == (stem, advice.direction)
    )
