"""What stands beside a model in its report: the answers of baselines to the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation.baselines import (
    BASELINES,
    DIFFERENTIAL_BASELINES,
    Heard,
    baseline_answers,
    baseline_posteriors,
    differential_answers,
    hear,
)
from mixing_buddy.evaluation.levels import LevelMeter, open_labelled_rows
from mixing_buddy.evaluation.verdicts import VERDICTS, true_verdicts
from mixing_buddy.flaws import FLAWS
from mixing_buddy.schema import DIFFERENTIAL

ORACLE = "oracle"
CEILING = "ceiling"


@dataclass(frozen=True)
class Beside:
    """Answers of baselines.

    Args:
        answers: by name of the baseline, from the poorest to the best, a text for each row.
        knows: what each knows.
        ceiling_posteriors: how probable the ceiling thinks each verdict, of shape
            `(num_rows, len(VERDICTS))`; None where it is not known.
        notes: what was left out, and why.
    """

    answers: Mapping[str, Sequence[str]]
    knows: Mapping[str, str]
    ceiling_posteriors: np.ndarray | None
    notes: Sequence[str]


def ask_baselines(
    rows: Sequence[Mapping[str, Any]],
    config: str,
    dataset: str,
    songs: Sequence[str],
    *,
    train_dataset: str | None = None,
    train_songs: Sequence[str] | None = None,
    train_limit: int | None = None,
) -> Beside:
    """Let baselines answer what a model was asked.

    Of the constants that name a flaw, only the best is asked. Those that learn do so on the split
    "train"; where there is none they are left out, with a note.

    Args:
        rows: dataset rows, labelled columns as names.
        config: their config.
        dataset: where they are from.
        songs: their songs, as ROOT or NAME=ROOT.
        train_dataset: dataset to learn from; the same by default.
        train_songs: its songs; the same by default.
        train_limit: how many rows to learn from, evenly spread; all if None.

    Raises:
        MixingBuddyError: a training dataset is named, and can't be used.
    """
    oracle = [row["response"] for row in rows]
    if config == DIFFERENTIAL:
        answers = {name: differential_answers(name, rows) for name in DIFFERENTIAL_BASELINES}
        knows = {**DIFFERENTIAL_BASELINES, ORACLE: BASELINES[ORACLE]}
        return Beside({**answers, ORACLE: oracle}, knows, None, [])
    from mixing_buddy.rendering import parse_sources

    notes: list[str] = []
    test = hear(rows, LevelMeter(parse_sources(songs)))
    try:
        train_rows = open_labelled_rows(train_dataset or dataset, config, "train", train_limit)
        train = hear(train_rows, LevelMeter(parse_sources(train_songs or songs)))
    except MixingBuddyError as error:
        if train_dataset is not None:
            raise
        train = Heard([], *[np.zeros((0, *test.levels.shape[1:]))] * 2)
        notes.append(f"Baselines that learn are left out: {error}")
    answers = {}
    for name in ("constant: balanced", _best_constant(rows), *_LEARNING, ORACLE):
        if name in _LEARNING and not train.rows:
            continue
        try:
            answers[name] = baseline_answers(name, train, test)
        # Too few songs, or no library: hours of asking shall not be lost for it.
        except (ValueError, ImportError) as error:
            notes.append(f"The baseline {name!r} is left out: {error}")
    posteriors = baseline_posteriors(CEILING, train, test) if CEILING in answers else None
    return Beside(answers, {name: BASELINES[name] for name in answers}, posteriors, notes)


_LEARNING: tuple[str, ...] = tuple(
    name for name in BASELINES if not name.startswith("constant") and name != ORACLE
)


def _best_constant(rows: Sequence[Mapping[str, Any]]) -> str:
    """The flaw of the most frequent stem and direction; of equals the first."""
    counts = Counter(true_verdicts(rows).tolist())
    moves: Counter = Counter()
    for place, verdict in enumerate(VERDICTS):
        if verdict is not None:
            moves[verdict[0], FLAWS[verdict[1]].direction] += counts[place]
    flaws = [place for place, verdict in enumerate(VERDICTS) if verdict is not None]
    best = max(
        flaws,
        key=lambda place: (
            moves[VERDICTS[place][0], FLAWS[VERDICTS[place][1]].direction],
            counts[place],
        ),
    )
    stem, category = VERDICTS[best]
    return f"constant: {stem} {category}"
