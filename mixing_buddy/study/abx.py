"""The listening check: can a participant tell two mixes apart that differ in one stem's level?

A trial plays A, B and X, which is one of them; who hears no difference is right half the time.
(Clark, High-Resolution Subjective Testing Using a Double-Blind Comparator, J. Audio Eng. Soc. 30,
1982.) Overall loudness is equal in A and B, so that the balance alone tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.loudness import db_to_gain
from mixing_buddy.stems import STEMS

#: Differences in dB that are tested, the easiest first. The first decides on exclusion: it is where
#: the categories "quiet" and "very quiet" part, so whoever misses it can't judge the advice.
LEVELS_DB: tuple[float, ...] = (6.0, 3.0)

#: A participant has heard a difference if guessing would do as well less often than this.
SIGNIFICANCE = 0.05


def level_pair(
    row: Mapping[str, Any], stems: np.ndarray, change_db: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mix a row's balanced mix, and one whose target stands at another level.

    Args:
        row: a dataset row.
        stems: its stems, float32 of shape `(4, num_samples)`, in the order of `STEMS`.
        change_db: what the target is raised by in the second, in dB.

    Returns:
        A and B, each of shape `(num_samples,)`, not yet equally loud.
    """
    gains_db = np.array([row["stem_gains_db"][s] + row["needed_change_db"][s] for s in STEMS])
    changed_db = gains_db + np.array([change_db * (stem == row["target"]) for stem in STEMS])
    first, second = (
        np.einsum("s,sn->n", [db_to_gain(each) for each in gains], stems).astype(np.float32)
        for gains in (gains_db, changed_db)
    )
    return first, second


def binomial_p(num_correct: int, num_trials: int) -> float:
    """Probability that guessing gets at least so many trials right (one-sided binomial test)."""
    from scipy.stats import binomtest

    return float(binomtest(num_correct, num_trials, 0.5, alternative="greater").pvalue)


def needed_correct(num_trials: int) -> int | None:
    """Fewest right trials that show a difference was heard; None where even all don't."""
    passing = (
        correct
        for correct in range(num_trials + 1)
        if binomial_p(correct, num_trials) < SIGNIFICANCE
    )
    return next(passing, None)


def summarise_trials(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Count right trials by level.

    Args:
        trials: with `level_db`, `x` ("a" or "b") and `answer`, all answered.

    Returns:
        For each level, the largest first, `level_db`, `num_trials`, `num_correct`, `p_value`.
    """
    results = []
    for level_db in sorted({trial["level_db"] for trial in trials}, reverse=True):
        hits = [t["answer"] == t["x"] for t in trials if t["level_db"] == level_db]
        results.append(
            {
                "level_db": level_db,
                "num_trials": len(hits),
                "num_correct": sum(hits),
                "p_value": binomial_p(sum(hits), len(hits)),
            }
        )
    return results
