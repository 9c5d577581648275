"""Intervals where both people and items are a sample.

Every rating belongs to a participant and to an item, and those of one are alike: participants and
items are drawn with replacement, independently of one another, and a rating counts as often as both
of its own were drawn. (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, which
shows that it errs on the safe side.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from mixing_buddy.evaluation.bootstrap import CONFIDENCE


class CrossedBootstrap:
    """Draws participants and items, and gives intervals of means over their ratings.

    Args:
        participants: who gave each rating, of length `num_ratings`.
        items: what it was given for, likewise.
        num_resamples: how many times both are drawn.
        seed: what they are drawn from; equal arguments give equal intervals.
    """

    def __init__(
        self,
        participants: Sequence[Hashable],
        items: Sequence[Hashable],
        *,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._weights = np.ones((num_resamples, len(participants)))
        self._enough = True
        for names in (participants, items):
            different, places = np.unique(np.asarray(names), return_inverse=True)
            num = len(different)
            # One participant, or one item, says nothing of how others would differ.
            self._enough &= num > 1
            drawn = rng.multinomial(num, np.full(num, 1 / max(num, 1)), num_resamples)
            self._weights *= drawn[:, places]

    def means(self, values: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """Mean of some ratings in every resample.

        Args:
            values: of every rating, shape `(num_ratings,)`.
            counted: which ratings the mean is over, bool, likewise.

        Returns:
            Shape `(num_resamples,)`; NaN where none of them was drawn.
        """
        weights = self._weights[:, counted]
        totals = weights.sum(axis=1)
        missing = np.full(len(totals), np.nan)
        return np.divide(weights @ values[counted], totals, out=missing, where=totals > 0)

    def interval(self, means: np.ndarray) -> tuple[float, float] | None:
        """Percentile interval, `CONFIDENCE` wide, of what `means` gave, or of a difference of two.

        Returns:
            Lower and upper end; None with a single participant or item.
        """
        return percentiles(means) if self._enough else None


def percentiles(replicates: np.ndarray) -> tuple[float, float] | None:
    """The middle `CONFIDENCE` of replicates of shape `(num_resamples,)`; None if all are NaN."""
    replicates = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return float(low), float(high)
