"""How sure a model is of its advice on a whole song."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scipy.special import logsumexp

from mixing_buddy.advice import Advice
from mixing_buddy.advising.ranking import Ranking, pool
from mixing_buddy.advising.windows import Window
from mixing_buddy.flaws import Direction

if TYPE_CHECKING:
    from mixing_buddy.advising.inference import MixingBuddy

#: What the pooled log-probabilities of a song are multiplied by. The windows of a song say nearly
#: the same, so their mean (1.0) is too modest a pool and their sum (one for each window) far too
#: bold. Fitted to nano (docs/training-nano.md) on generated validation songs by
#: `benchmarks/song_confidence.py`.
SHARPNESS = 1.5

#: Advice less likely than this is more likely wrong than right, and is told as a guess.
UNSURE_BELOW = 0.5


def rank_questions(buddy: MixingBuddy, asked: Sequence[tuple[Window, str]]) -> list[Ranking]:
    """Rank every piece of advice on windows.

    Args:
        buddy: the model.
        asked: windows, each with the anchor to ask with.
    """
    (mode,) = {window.mode for window, _ in asked} or {"single_mix"}
    return buddy.rank(
        [[window.heard[name] for name in window.names_heard(stem)] for window, stem in asked],
        [stem for _, stem in asked],
        stems=[window.audible_stems for window, _ in asked],
        mode=mode,
    )


def pool_song(rankings: Sequence[Ranking], *, sharpness: float = SHARPNESS) -> Ranking:
    """Pool what is thought of a song's windows.

    Args:
        rankings: one for each window and anchor.
        sharpness: what log-probabilities are multiplied by: 1 for their mean.

    Returns:
        A ranking whose `mass` is that of the mean.
    """
    pooled = pool(rankings)
    total = logsumexp(pooled.log_probs)
    sharp = (pooled.log_probs - total) * sharpness
    return replace(pooled, log_probs=sharp - logsumexp(sharp) + total)


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
