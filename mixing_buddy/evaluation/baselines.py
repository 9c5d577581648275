"""Baselines: answers of systems that are simple, deaf or all-knowing, to set beside a model's.

They answer in the words of the dataset's templates, so that every figure passes through the same
parser as a model's. What each is worth on the generated songs: ``docs/metric.md``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixing_buddy import prompts
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.evaluation.ceiling import (
    BayesListener,
    LoudnessRule,
    boosted_listener,
    logistic_listener,
)
from mixing_buddy.evaluation.grading import summarise
from mixing_buddy.evaluation.levels import LevelMeter, flawed_levels
from mixing_buddy.evaluation.reading import FEATURES, ClaimReader
from mixing_buddy.evaluation.verdicts import VERDICTS, decide, true_verdicts
from mixing_buddy.flaws import Category
from mixing_buddy.stems import ADVISED_STEMS

Row = Mapping[str, Any]
_Verdict = tuple[str, Category] | None


@dataclass(frozen=True)
class Heard:
    """Rows, and the levels of the stems in their mixes.

    Args:
        rows: dataset rows of one config with anchors, labelled columns as names.
        levels: in the flawed mixes, see `flawed_levels`.
        balanced_levels: in the balanced mixes, see `LevelMeter.balanced_levels`.
    """

    rows: Sequence[Row]
    levels: np.ndarray
    balanced_levels: np.ndarray


def hear(rows: Sequence[Row], meter: LevelMeter) -> Heard:
    """Measure the stems of all rows.

    Raises:
        RecipeError: a row does not belong to the meter's songs.
        SongError: a song is missing or broken.
    """
    balanced = meter.balanced_levels(rows)
    return Heard(rows, flawed_levels(rows, balanced), balanced)


#: The baselines, from the poorest to the best, and what each knows.
BASELINES: dict[str, str] = {
    "constant: balanced": "always says that nothing is off",
    **{
        f"constant: {stem} {category}": f"always says {category} of the {stem}"
        for stem in ADVISED_STEMS
        for category in Category
        if category is not Category.NO_ERROR
    },
    "text": "reads the anchor, the kind of prompt and what it claims; does not listen",
    "loudness rule": "the stem that lies furthest from its usual loudness against the anchor",
    "logistic regression": "a linear classifier on the stems' levels",
    "gradient boosting": "a strong classifier on the stems' levels",
    "ceiling": "Bayes' rule on the stems' loudness, knowing how the mixes came about",
    "ceiling, reading": "the same, weighing what the prompt claims as well",
    "oracle": "the dataset's own answers",
}


def baseline_answers(name: str, train: Heard, test: Heard) -> list[str]:
    """Answer rows as a baseline does.

    Args:
        name: one of `BASELINES`.
        train: what the baseline learns from; songs that the tested rows don't have.
        test: what it is asked about; answers of these rows are not looked at, but by the oracle.

    Returns:
        An answer for each row of ``test``.

    Raises:
        MixingBuddyError: there is no such baseline, or there is nothing to learn from.
    """
    if name not in BASELINES:
        raise MixingBuddyError(f"No baseline {name!r}: choose from {'; '.join(BASELINES)}.")
    if name == "oracle":
        return [row["response"] for row in test.rows]
    if name.startswith("constant: "):
        verdict = _constant_verdict(name.removeprefix("constant: "))
        return [verdict_text(verdict, None)] * len(test.rows)
    if not train.rows:
        raise MixingBuddyError(
            f"The baseline {name!r} needs training rows: build a split of songs to learn from."
        )
    verdicts = _text_verdicts(train, test) if name == "text" else _listen(name, train, test)
    return [verdict_text(v, row["anchor"]) for v, row in zip(verdicts, test.rows, strict=True)]


def compare_baselines(
    train: Heard, test: Heard, names: Sequence[str] = tuple(BASELINES)
) -> dict[str, dict[str, Any]]:
    """Grade baselines.

    Args:
        train: see `baseline_answers`.
        test: see `baseline_answers`.
        names: which of `BASELINES`.

    Returns:
        For each name what `summarise` returns.
    """
    return {name: summarise(test.rows, baseline_answers(name, train, test)) for name in names}


def baseline_posteriors(name: str, train: Heard, test: Heard) -> np.ndarray:
    """How probable a listener thinks each of `VERDICTS`.

    Args:
        name: a baseline that weighs verdicts: logistic regression, gradient boosting or a
            ceiling.
        train: see `baseline_answers`.
        test: see `baseline_answers`.

    Returns:
        float64 of shape `(num_rows, len(VERDICTS))`, rows of which add up to 1.
    """
    listener = _LISTENERS[name]()
    heard = train.balanced_levels if isinstance(listener, BayesListener) else train.levels
    posteriors = listener.fit(train.rows, heard).posteriors(test.rows, test.levels)
    if name == "ceiling, reading":
        posteriors = posteriors * ClaimReader().fit(train.rows).likelihoods(test.rows)
    return posteriors / posteriors.sum(axis=1, keepdims=True)


def verdict_text(verdict: _Verdict, anchor: str | None) -> str:
    """Put a verdict into the words of the dataset's first response template.

    Args:
        verdict: stem and category, None for a balanced mix.
        anchor: what to measure against; another stem if that is the one that is off, or None.
    """
    stem, category = verdict or (None, Category.NO_ERROR)
    if anchor is None or anchor == stem:
        anchor = next(each for each in ADVISED_STEMS if each != stem)
    target = stem or next(each for each in ADVISED_STEMS if each != anchor)
    return prompts.response(0, category, target=target, anchor=anchor)


_LISTENERS: dict[str, Callable[[], Any]] = {
    "logistic regression": logistic_listener,
    "gradient boosting": boosted_listener,
    "ceiling": BayesListener,
    "ceiling, reading": BayesListener,
}


def _listen(name: str, train: Heard, test: Heard) -> list[_Verdict]:
    if name == "loudness rule":
        rule = LoudnessRule().fit(train.rows, train.levels, train.balanced_levels)
        return rule.verdicts(test.rows, test.levels)
    return decide(baseline_posteriors(name, train, test))


def _constant_verdict(name: str) -> _Verdict:
    if name == "balanced":
        return None
    stem, category = name.split()
    return stem, Category(category)


def _text_verdicts(train: Heard, test: Heard) -> list[_Verdict]:
    """The most frequent verdict among training rows whose text says the same."""
    features = FEATURES["anchor, kind of prompt, claim"]
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for row, place in zip(train.rows, true_verdicts(train.rows), strict=True):
        counts[features(row)][VERDICTS[place]] += 1
    guesses = {key: _most_frequent(counter) for key, counter in counts.items()}
    return [guesses.get(features(row)) for row in test.rows]


def _most_frequent(counter: Counter) -> _Verdict:
    """First stem and direction, as `decide` does, then the size; of equals the first by name."""
    shares = np.array([[counter[verdict] for verdict in VERDICTS]], dtype=float)
    return decide(shares)[0]


#: Baselines of the config "differential", and what each knows.
DIFFERENTIAL_BASELINES: dict[str, str] = {
    "constant: no change": "always says that A already matches B",
    "target only": "hears how the stem that is heard alone changed, and not the backing",
    "ceiling": "hears every change: A and B are the same performance, so levels differ by just it",
}


def differential_answers(name: str, rows: Sequence[Row]) -> list[str]:
    """Answer differential rows as a baseline does.

    Args:
        name: one of `DIFFERENTIAL_BASELINES`.
        rows: dataset rows of that config, labelled columns as names.

    Returns:
        An answer for each row; `parse_changes` reads it back.

    Raises:
        MixingBuddyError: there is no such baseline.
    """
    if name not in DIFFERENTIAL_BASELINES:
        raise MixingBuddyError(
            f"No differential baseline {name!r}: choose from {'; '.join(DIFFERENTIAL_BASELINES)}."
        )
    answers = []
    for row in rows:
        changes_db = row["needed_change_db"] if name != "constant: no change" else {}
        if name == "target only":
            changes_db = {row["target"]: changes_db[row["target"]]}
        answers.append(prompts.differential_response(0, changes_db, anchor=None))
    return answers
