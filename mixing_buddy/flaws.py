"""The five flaw categories: the gain that each injects and the advice that undoes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Direction(StrEnum):
    """What the advice asks the fader of the target stem to do."""

    RAISE = "raise"
    LOWER = "lower"
    NONE = "none"


class Category(StrEnum):
    """How far, and which way, the target stem stands from its right level."""

    VERY_QUIET = "very_quiet"
    QUIET = "quiet"
    NO_ERROR = "no_error"
    LOUD = "loud"
    VERY_LOUD = "very_loud"


@dataclass(frozen=True)
class Flaw:
    """What one category injects and what advice undoes it.

    Args:
        min_gain_db: lower end of the gain injected on the target, in dB.
        max_gain_db: upper end of the gain injected on the target, in dB.
        direction: what the fader has to do to undo the flaw.
        min_db: lower end of the advised change (a magnitude, >= 0), None where there is none.
        max_db: upper end of the advised change, None where there is none.
    """

    min_gain_db: float
    max_gain_db: float
    direction: Direction
    min_db: float | None
    max_db: float | None


#: Gain ranges as published for the system this project follows (spec of the field's first
#: draft); ``no_error`` is exactly 0 dB unless a sampler asks for a tolerance.
FLAWS: dict[Category, Flaw] = {
    Category.VERY_QUIET: Flaw(-12.0, -6.0, Direction.RAISE, 6.0, 12.0),
    Category.QUIET: Flaw(-6.0, -3.0, Direction.RAISE, 3.0, 6.0),
    Category.NO_ERROR: Flaw(0.0, 0.0, Direction.NONE, None, None),
    Category.LOUD: Flaw(3.0, 6.0, Direction.LOWER, 3.0, 6.0),
    Category.VERY_LOUD: Flaw(6.0, 12.0, Direction.LOWER, 6.0, 12.0),
}


def draw_gain_db(
    category: Category, rng: np.random.Generator, *, no_error_tolerance_db: float = 0.0
) -> float:
    """Draw the gain that ``category`` injects on its target, uniform within its range.

    Args:
        category: the flaw category.
        rng: source of randomness; one draw is taken whatever the category, so that the
            stream of draws does not depend on the tolerance.
        no_error_tolerance_db: ``no_error`` draws from plus or minus this many dB (0, the
            default, leaves balanced mixes untouched; 3 is the other published choice).

    Returns:
        The gain in dB, negative for quiet.
    """
    flaw = FLAWS[category]
    position = float(rng.random())
    if category is Category.NO_ERROR:
        return (2.0 * position - 1.0) * no_error_tolerance_db + 0.0
    return flaw.min_gain_db + position * (flaw.max_gain_db - flaw.min_gain_db)
