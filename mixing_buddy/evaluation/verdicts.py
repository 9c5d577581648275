"""What can be right about a row's mix, as an array axis, and how to decide between it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: What can be right: nothing is off (None), or a stem by a category.
VERDICTS: tuple[tuple[str, Category] | None, ...] = (
    None,
    *((stem, c) for stem in ADVISED_STEMS for c in Category if c is not Category.NO_ERROR),
)


def true_verdicts(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Which of `VERDICTS` is right for each row: int of shape `(num_rows,)`."""
    places = {verdict: place for place, verdict in enumerate(VERDICTS)}
    return np.array(
        [
            places[None if r["category"] == Category.NO_ERROR else (r["target"], r["category"])]
            for r in rows
        ],
        dtype=int,
    )


def possible_verdicts(rows: Sequence[Mapping[str, Any]], levels: np.ndarray) -> np.ndarray:
    """Which of `VERDICTS` the text leaves open: not the anchor, nor a stem that does not sound.

    Args:
        rows: rows of a dataset with anchors.
        levels: of shape `(num_rows, 4, 2)`, see `flawed_levels`.

    Returns:
        bool of shape `(num_rows, len(VERDICTS))`.
    """
    heard = ~np.isnan(levels).any(axis=2)
    possible = np.ones((len(rows), len(VERDICTS)), dtype=bool)
    for place, verdict in enumerate(VERDICTS):
        if verdict is not None:
            is_anchor = np.array([row["anchor"] == verdict[0] for row in rows], dtype=bool)
            possible[:, place] = heard[:, STEMS.index(verdict[0])] & ~is_anchor
    return possible


def decide(posteriors: np.ndarray) -> list[tuple[str, Category] | None]:
    """Answer so that stem and direction are most probably right, then the size.

    Args:
        posteriors: of shape `(num_rows, len(VERDICTS))`.

    Returns:
        One of `VERDICTS` for each row.
    """
    groups: dict[Any, list[int]] = {}
    for place, verdict in enumerate(VERDICTS):
        key = verdict and (verdict[0], FLAWS[verdict[1]].direction)
        groups.setdefault(key, []).append(place)
    places = list(groups.values())
    best = np.argmax([posteriors[:, group].sum(axis=1) for group in places], axis=0)
    return [
        VERDICTS[max(places[choice], key=lambda place, row=row: row[place])]
        for choice, row in zip(best, posteriors, strict=True)
    ]
