"""Whether a model is as sure as it is right, and what it gains by saying nothing when unsure.

What is judged is the most probable stem and direction: its probability is the confidence, summed
over the sizes that it may have. Whether the mix is balanced at all is judged as well.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.verdicts import VERDICTS, true_verdicts
from mixing_buddy.flaws import FLAWS

#: Bins of a reliability diagram; each holds as many rows as any other.
NUM_BINS = 10

#: Shares of wrong answers that the table of abstention asks for.
TARGET_ERRORS: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)

# Points that a risk-coverage curve is drawn through.
_NUM_POINTS = 200


def posterior_array(posteriors: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Bring named posteriors into the order of `VERDICTS`.

    Args:
        posteriors: for each row, probabilities by "balanced" and "STEM CATEGORY".

    Returns:
        float64 of shape `(num_rows, len(VERDICTS))`; 0 for what a row does not name.
    """
    names = ["balanced" if each is None else f"{each[0]} {each[1]}" for each in VERDICTS]
    return np.array([[each.get(name, 0.0) for name in names] for each in posteriors])


def judge(
    rows: Sequence[Mapping[str, Any]], posteriors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find how sure a listener is of its best stem and direction, and whether that is right.

    Args:
        rows: dataset rows.
        posteriors: of shape `(num_rows, len(VERDICTS))`.

    Returns:
        Confidences (float64) and whether right (bool), both of shape `(num_rows,)`.
    """
    groups = [each and (each[0], FLAWS[each[1]].direction) for each in VERDICTS]
    kinds = list(dict.fromkeys(groups))
    members = np.array([[group == kind for kind in kinds] for group in groups], dtype=float)
    sums = posteriors @ members
    best = sums.argmax(axis=1)
    truth = np.array([kinds.index(groups[place]) for place in true_verdicts(rows)], dtype=int)
    return sums.max(axis=1), best == truth


def calibrate(
    rows: Sequence[Mapping[str, Any]],
    posteriors: np.ndarray,
    songs: Sequence[Hashable],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Describe how good posteriors are.

    Args:
        rows: dataset rows, at least one.
        posteriors: of shape `(num_rows, len(VERDICTS))`.
        songs: which song each row is from.
        num_resamples: how many sets of songs the intervals are made from.
        seed: what these sets are drawn from.

    Returns:
        `joint` and `balanced`, see `reliability`; `risk_coverage`, see there; `abstention`, see
        `abstain`.
    """
    confidences, rights = judge(rows, posteriors)
    is_balanced = true_verdicts(rows) == VERDICTS.index(None)
    bootstrap = SongBootstrap(songs, num_resamples=num_resamples, seed=seed)
    return {
        "joint": reliability(confidences, rights, bootstrap),
        "balanced": reliability(posteriors[:, VERDICTS.index(None)], is_balanced, bootstrap),
        "risk_coverage": risk_coverage(confidences, rights),
        "abstention": abstain(confidences, rights, songs, bootstrap),
    }


def reliability(
    probabilities: np.ndarray,
    happened: np.ndarray,
    bootstrap: SongBootstrap,
    *,
    num_bins: int = NUM_BINS,
) -> dict[str, Any]:
    """Compare what was thought probable with what happened.

    Args:
        probabilities: of shape `(num_rows,)`.
        happened: of the same shape.
        bootstrap: of the rows' songs.
        num_bins: bins of equally many rows, by probability (Nguyen and O'Connor, 2015); rows of
            equal probability share one.

    Returns:
        `error`: the expected calibration error, the mean over rows of the distance between mean
        probability and share in their bin; `interval`: of it, within the same bins; `chance`: what
        the error would be expected to be by chance alone if the probabilities were right; `mean`
        and `share` over all rows; `bins`: of each `mean`, `share`, `interval` and `num_rows`.
    """
    happened = np.asarray(happened, dtype=float)
    # Sums of probabilities may pass 1 by a rounding.
    probabilities = np.clip(probabilities, 0.0, 1.0)
    bin_of_row = _equal_bins(probabilities, num_bins)
    inside = (bin_of_row[:, None] == np.arange(bin_of_row.max() + 1)).astype(float)
    gaps = inside * (probabilities - happened)[:, None]

    def error(gap_sums: np.ndarray) -> np.ndarray:
        return np.abs(gap_sums[:, :-1]).sum(axis=1) / np.maximum(gap_sums[:, -1], 1.0)

    columns = np.column_stack([gaps, np.ones(len(gaps))])
    interval = bootstrap.statistic_interval(columns, error)
    # The mean of the size of a normal variable, of each bin's gap.
    variances = (inside * (probabilities * (1 - probabilities))[:, None]).sum(axis=0)
    bins = []
    for column in inside.T:
        of_bin = bootstrap.interval(happened * column, column)
        bins.append(
            {
                "mean": float((probabilities * column).sum() / column.sum()),
                "share": float((happened * column).sum() / column.sum()),
                "interval": of_bin and list(of_bin),
                "num_rows": int(column.sum()),
            }
        )
    return {
        "error": float(error(columns.sum(axis=0)[None])[0]),
        "interval": interval and list(interval),
        "chance": float(np.sqrt(2 / np.pi * variances).sum() / len(happened)),
        "mean": float(probabilities.mean()),
        "share": float(happened.mean()),
        "bins": bins,
    }


def risk_coverage(confidences: np.ndarray, rights: np.ndarray) -> dict[str, Any]:
    """Say how often one is wrong when only the surest answers are given.

    Rows of equal confidence are answered together: their risk is the mean over all orders.

    Args:
        confidences: of shape `(num_rows,)`.
        rights: whether each row's answer is right.

    Returns:
        `area` under the curve, the mean risk over all coverages; `best_area`, what it were if
        every wrong answer were less sure than any right one; `random_area`, if confidence said
        nothing; `points`: pairs of coverage and risk, the last at coverage 1.
    """
    rights = np.asarray(rights, dtype=float)
    _, group = np.unique(-np.asarray(confidences), return_inverse=True)
    order = np.argsort(group, kind="stable")
    # Each row of a tie counts as right as the tie is on average.
    expected = (np.bincount(group, rights) / np.bincount(group))[group][order]
    risks = _risks(expected)
    places = np.unique(np.linspace(0, len(risks) - 1, min(_NUM_POINTS, len(risks))).astype(int))
    coverages = np.arange(1, len(risks) + 1) / len(risks)
    return {
        "area": float(risks.mean()),
        "best_area": float(_risks(-np.sort(-rights)).mean()),
        "random_area": float(1 - rights.mean()),
        "points": [[float(coverages[place]), float(risks[place])] for place in places],
    }


def abstain(
    confidences: np.ndarray,
    rights: np.ndarray,
    songs: Sequence[Hashable],
    bootstrap: SongBootstrap,
) -> list[dict[str, Any]]:
    """Say how many rows can be answered if only so many answers may be wrong.

    The least confidence is chosen on every other song and used on the rest, and the other way
    round, so that no row decides on itself.

    Returns:
        For each of `TARGET_ERRORS`: `target_error`, `coverage` (share of rows answered), `error`
        (share of wrong among them, None where none is answered), and `coverage_interval` and
        `error_interval`. Empty with fewer than two songs.
    """
    from mixing_buddy.advising.ranking import fit_abstention

    names = sorted(set(songs), key=str)
    if len(names) < 2:
        return []
    halves = np.array([names.index(song) % 2 for song in songs])
    rights = np.asarray(rights, dtype=bool)
    ones = np.ones(len(rights))
    table = []
    for target in TARGET_ERRORS:
        answered = np.zeros(len(rights), dtype=bool)
        for half in (0, 1):
            fit, use = halves != half, halves == half
            threshold = fit_abstention(confidences[fit], rights[fit], accuracy=1 - target)
            answered[use] = confidences[use] >= threshold
        wrong = (answered & ~rights).astype(float)
        given = answered.astype(float)
        table.append(
            {
                "target_error": target,
                "coverage": float(given.mean()),
                "coverage_interval": bootstrap.interval(given, ones),
                "error": float(wrong.sum() / given.sum()) if given.any() else None,
                "error_interval": bootstrap.interval(wrong, given),
            }
        )
    return table


def _equal_bins(values: np.ndarray, num_bins: int) -> np.ndarray:
    """Number the bin of each value, from 0 without gaps; equal values share a bin."""
    order = np.sort(values)
    edges = order[[len(order) * number // num_bins for number in range(1, num_bins)]]
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def _risks(rights: np.ndarray) -> np.ndarray:
    """Share of wrong ones among the first, the first two, and so on."""
    return 1 - np.cumsum(rights) / np.arange(1, len(rights) + 1)
