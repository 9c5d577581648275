"""Which answers are given instead of the right ones, and how size matters: single_mix, stems."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.advice import Advice
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.grading import grade
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Ends of the ranges of injected gain that flawed rows are grouped by, in dB.
GAIN_EDGES_DB: tuple[float, ...] = (-12.0, -9.0, -6.0, -4.5, -3.0, 3.0, 4.5, 6.0, 9.0, 12.0)

_BALANCED, _UNCLEAR = "balanced", "not understood"


def confuse(rows: Sequence[Mapping[str, Any]], advice: Sequence[Advice]) -> dict[str, list[Any]]:
    """Count which stem and direction was advised where which was right.

    Args:
        rows: dataset rows with `category`, `target` and `direction`.
        advice: one answer for each.

    Returns:
        `truth` (names of the lines), `answered` (names of the columns) and `counts`.
    """
    moves = (Direction.RAISE, Direction.LOWER)
    truth = [f"{stem} {move}" for stem in ADVISED_STEMS for move in moves] + [_BALANCED]
    answered = [f"{stem} {move}" for stem in STEMS for move in moves] + [_BALANCED, _UNCLEAR]
    counts = np.zeros((len(truth), len(answered)), dtype=int)
    for row, each in zip(rows, advice, strict=True):
        is_balanced = row["category"] == Category.NO_ERROR
        right = _BALANCED if is_balanced else f"{row['target']} {row['direction']}"
        given = f"{each.stem} {each.direction}"
        if each.direction is Direction.NONE:
            given = _BALANCED
        counts[truth.index(right), answered.index(given if given in answered else _UNCLEAR)] += 1
    # Columns that no answer falls into, such as that of a stem never advised on, say nothing.
    kept = counts.any(axis=0) | np.array([name in truth for name in answered])
    return {
        "truth": truth,
        "answered": [name for name, keep in zip(answered, kept, strict=True) if keep],
        "counts": counts[:, kept].tolist(),
    }


def accuracy_by_gain(
    rows: Sequence[Mapping[str, Any]], advice: Sequence[Advice], bootstrap: SongBootstrap
) -> list[dict[str, Any]]:
    """Joint accuracy by the gain that was injected on the target.

    Args:
        rows: dataset rows.
        advice: one answer for each.
        bootstrap: of the rows' songs.

    Returns:
        From quiet to loud, for each range that holds rows: `low_db` and `high_db` (balanced mixes
        lie between -3 and 3), `joint`, `interval` and `num_rows`.
    """
    gains_db = np.array([row["gain_db"] for row in rows])
    place = np.searchsorted(GAIN_EDGES_DB[1:-1], gains_db, side="right")
    rights = np.array([grade(row, each)["joint"] for row, each in zip(rows, advice, strict=True)])
    result = []
    for number, ends in enumerate(itertools.pairwise(GAIN_EDGES_DB)):
        inside = (place == number).astype(float)
        if inside.any():
            interval = bootstrap.interval(rights * inside, inside)
            result.append(
                {
                    "low_db": ends[0],
                    "high_db": ends[1],
                    "joint": float((rights * inside).sum() / inside.sum()),
                    "interval": interval and list(interval),
                    "num_rows": int(inside.sum()),
                }
            )
    return result
