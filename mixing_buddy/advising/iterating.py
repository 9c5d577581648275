"""Advise, move the fader, listen again: until nothing is off, or until it gets no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mixing_buddy.advising.applying import add_gains, advised_change_db
from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.flaws import Category, Direction

#: A fader that went too far goes back by half of its last move; below this many dB it stays.
MIN_CHANGE_DB = 1.0

#: No fader is moved farther than this from where it stood: the model knows no larger flaw.
MAX_GAIN_DB = 12.0

#: Share of balanced mixes among those that a model learns from, and so the prior in its posterior.
BALANCED_PRIOR = 1 / len(Category)

#: Rounds in a row that may fail to make "balanced" more likely than it ever was.
_PATIENCE = 2


class Outcome(StrEnum):
    """Why listening again came to its end."""

    BALANCED = "balanced"
    SETTLED = "the last move was probably right"
    CYCLE = "moves to and fro"
    TOO_FAR = "a fader would move by more than 12 dB"
    NO_BETTER = "gets no better"
    UNSURE = "too unsure"
    LIMIT = "limit of steps reached"


@dataclass(frozen=True)
class Step:
    """One time of listening.

    Args:
        gains_db: where the faders stood, in dB, compared with the files.
        advice: what was said.
        change_db: what was then moved, in dB; empty where nothing was.
    """

    gains_db: Mapping[str, float]
    advice: SongAdvice
    change_db: Mapping[str, float]


@dataclass(frozen=True)
class Iteration:
    """The whole of it.

    Args:
        steps: each time of listening, in order.
        outcome: why it ended.
        best: index of the step at which the faders stood best: the last one if it was called
            balanced or the move before it was probably right, otherwise that at which "balanced"
            was most likely.
    """

    steps: tuple[Step, ...]
    outcome: Outcome
    best: int

    @property
    def gains_db(self) -> Mapping[str, float]:
        """Where the faders stood best, in dB."""
        return self.steps[self.best].gains_db

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types, without the windows of each step."""
        steps = []
        for step in self.steps:
            advice = step.advice
            steps.append(
                {
                    "gains_db": dict(step.gains_db),
                    "stem": advice.stem,
                    "direction": advice.direction and advice.direction.value,
                    "min_db": advice.min_db,
                    "max_db": advice.max_db,
                    "confidence": advice.confidence,
                    "balanced_probability": advice.balanced_probability,
                    "change_db": dict(step.change_db),
                }
            )
        return {"steps": steps, "outcome": self.outcome.value, "best": self.best}


def iterate(
    listen: Callable[[Mapping[str, float]], SongAdvice],
    *,
    max_changes: int,
    faders_db: Mapping[str, float] | None = None,
    abstain_below: float = 0.0,
    on_step: Callable[[Step], None] | None = None,
) -> Iteration:
    """Follow advice until nothing is off.

    Advice is followed by the middle of its range. Where it sends a fader back the way it came, the
    right place lies between: the fader goes back by half of its last move.

    A model takes each mix for one of those that it learnt from, of which four in five are flawed. A
    mix that was corrected is balanced as probably as the correction was right; so that is the prior
    of listening again. By the model's own, a flaw that was surely found is often followed by a move
    of what merely sounds unusual in the song's own balance.

    Args:
        listen: advises on the song with its faders at given gains in dB, with confidence.
        max_changes: how many times a fader may be moved, one at least.
        faders_db: where the faders stand at the start, in dB.
        abstain_below: confidence below which advice is not followed.
        on_step: called after each time of listening.
    """
    gains_db = start_db = add_gains(faders_db or {})
    steps: list[Step] = []
    best, last_change_db = 0, {}
    chance_of_balanced = BALANCED_PRIOR
    while True:
        advice = listen(gains_db)
        balanced, flawed = _chances_given(advice, chance_of_balanced)
        wanted_db = _change(advice, last_change_db)
        change_db = _keep_near(wanted_db, gains_db, start_db)
        chances = [step.advice.balanced_probability or 0.0 for step in steps]
        chances.append(advice.balanced_probability or 0.0)
        best = max(range(len(chances)), key=chances.__getitem__)
        outcome = None
        if advice.direction is Direction.NONE:
            outcome, best = Outcome.BALANCED, len(steps)
        elif steps and balanced >= flawed:
            outcome, best = Outcome.SETTLED, len(steps)
        elif not advised_change_db(advice) or (advice.confidence or 0.0) < abstain_below:
            outcome = Outcome.UNSURE
        elif wanted_db and not change_db:
            outcome = Outcome.TOO_FAR
        elif not change_db or _is_known(steps, add_gains(gains_db, change_db)):
            outcome = Outcome.CYCLE
        elif len(steps) - best >= _PATIENCE:
            outcome = Outcome.NO_BETTER
        elif len(steps) == max_changes:
            outcome = Outcome.LIMIT
        steps.append(Step(gains_db, advice, {} if outcome else change_db))
        if on_step is not None:
            on_step(steps[-1])
        if outcome is not None:
            return Iteration(tuple(steps), outcome, best)
        gains_db, last_change_db = add_gains(gains_db, change_db), change_db
        chance_of_balanced = flawed


def _chances_given(advice: SongAdvice, chance_of_balanced: float) -> tuple[float, float]:
    """Exchange the prior of a posterior.

    Args:
        advice: with the chance of "balanced" and of what it says, by the model's prior.
        chance_of_balanced: the prior to put in its place.

    Returns:
        The chance that the mix is balanced, and that of what the advice says.
    """
    balanced, flawed = advice.balanced_probability or 0.0, advice.confidence or 0.0
    for_balanced = chance_of_balanced / BALANCED_PRIOR
    for_flaws = (1.0 - chance_of_balanced) / (1.0 - BALANCED_PRIOR)
    whole = balanced * for_balanced + (1.0 - balanced) * for_flaws
    if not whole:
        # Sure of a flaw after a sure move: neither can be weighed against the other.
        return balanced, flawed
    return balanced * for_balanced / whole, flawed * for_flaws / whole


def _change(advice: SongAdvice, last_change_db: Mapping[str, float]) -> dict[str, float]:
    """What to move now; nothing where a fader would go to and fro by less than it matters."""
    change_db = advised_change_db(advice)
    for stem, value in change_db.items():
        last = last_change_db.get(stem, 0.0)
        if last * value < 0.0:
            change_db = {stem: -last / 2}
    return {stem: value for stem, value in change_db.items() if abs(value) >= MIN_CHANGE_DB}


def _keep_near(
    change_db: Mapping[str, float], gains_db: Mapping[str, float], start_db: Mapping[str, float]
) -> dict[str, float]:
    """Shorten a move that would end too far from the start; nothing where little is left of it."""
    near = {}
    for stem, value in change_db.items():
        low_db, high_db = start_db[stem] - MAX_GAIN_DB, start_db[stem] + MAX_GAIN_DB
        shortened = min(max(gains_db[stem] + value, low_db), high_db) - gains_db[stem]
        if abs(shortened) >= MIN_CHANGE_DB:
            near[stem] = shortened
    return near


def _is_known(steps: list[Step], gains_db: Mapping[str, float]) -> bool:
    """Whether the faders stood like this before."""
    return any(
        max(abs(step.gains_db[stem] - gains_db[stem]) for stem in gains_db) < 0.1 for step in steps
    )
