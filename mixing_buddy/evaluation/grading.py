"""Grading answers: what is right, and how often.

The rules stand in ``docs/metric.md``. `metrics/gain_advice` wraps this module for the library
`evaluate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import STEMS

_MAGNITUDE_TOLERANCE_DB = 1e-3
_GRADES = ("joint", "stem", "direction", "magnitude")


def grade(row: Mapping[str, Any], advice: Advice) -> dict[str, bool]:
    """Grade one answer.

    Args:
        row: a dataset row (`category`, `target`, `direction`, `min_db`, `max_db`).
        advice: the answer, parsed.

    Returns:
        `stem`, `direction`, `joint` (stem and direction both right) and `magnitude` (the advised
        range, or number, lies within the true range, ends included). On a balanced mix all four
        are right exactly where the answer says that nothing is to be changed.
    """
    if row["category"] == Category.NO_ERROR:
        right = advice.direction is Direction.NONE
        return {"stem": right, "direction": right, "joint": right, "magnitude": right}
    stem = advice.stem == row["target"]
    direction = advice.direction == row["direction"]
    magnitude = advice.min_db is not None and (
        row["min_db"] - _MAGNITUDE_TOLERANCE_DB <= advice.min_db
        and advice.max_db <= row["max_db"] + _MAGNITUDE_TOLERANCE_DB
    )
    return {
        "stem": stem,
        "direction": direction,
        "joint": stem and direction,
        "magnitude": magnitude,
    }


def mix_key(row: Mapping[str, Any]) -> str:
    """Name what is heard: rows with equal keys have the same mix, whatever they ask.

    A balanced mix comes once for every target and anchor, up to six times with the same sound.

    Args:
        row: a dataset row (`source`, `split`, `song`, `start_s`, `stem_gains_db`).
    """
    gains = ",".join(f"{row['stem_gains_db'][stem]!r}" for stem in STEMS)
    return f"{row['source']}/{row['split']}/{row['song']}/{row['start_s']!r}/{gains}"


def song_key(row: Mapping[str, Any]) -> str:
    """Name the song of a row among those of all sources and splits."""
    return f"{row['source']}/{row['split']}/{row['song']}"


def summarise(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Grade all answers and sum up.

    Args:
        rows: dataset rows, labelled columns as names.
        answers: one text for each.
        num_resamples: how many sets of songs the intervals are made from.
        seed: what these sets are drawn from.

    Returns:
        See `summarise_advice`.
    """
    return summarise_advice(
        rows,
        [parse_advice(answer) for answer in answers],
        songs=[song_key(row) for row in rows],
        mixes=[mix_key(row) for row in rows],
        num_resamples=num_resamples,
        seed=seed,
    )


def summarise_advice(
    rows: Sequence[Mapping[str, Any]],
    advice: Sequence[Advice],
    *,
    songs: Sequence[str],
    mixes: Sequence[str],
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Grade parsed answers and sum up.

    Args:
        rows: the truth (`category`, `target`, `anchor`, `direction`, `min_db`, `max_db`).
        advice: one answer for each.
        songs: which song each row is from; intervals are over these.
        mixes: which mix each row sounds like; see `mix_key`.
        num_resamples: as in `summarise`.
        seed: as in `summarise`.

    Returns:
        A nested dict of shares; one over no rows is None.

        - `num_rows`, `num_mixes` (distinct ones), `num_songs`: counts.
        - `joint`, `stem`, `direction`, `understood` (the answer could be read): over all rows.
        - `magnitude`: over flawed rows, whatever stem and direction; `magnitude_given_joint`: over
          those flawed rows where stem and direction are right.
        - `error_detection`: `precision`, `recall` and `f1` of calling a mix flawed.
        - `distinct_mixes`: `joint`, `stem`, `direction`, `no_error` (the share of balanced mixes
          called balanced) and `error_detection` where each distinct mix counts once: of k rows
          with the same mix, each counts 1/k.
        - `by`: for `category`, `target` (flawed rows), `anchor`, `direction` and `song`, by name:
          `joint`, `stem`, `direction`, `magnitude` (None on balanced mixes) and `num_rows`.
        - `intervals`: 95 % intervals `[low, high]` by bootstrap over songs, in the same nesting
          (but for `song`); None where there are fewer than two songs.
    """
    report: dict[str, Any] = {
        "num_rows": len(rows),
        "num_mixes": len(set(mixes)),
        "num_songs": len(set(songs)),
    }
    intervals: dict[str, Any] = {}
    bootstrap = SongBootstrap(songs, num_resamples=num_resamples, seed=seed)
    for path, numerators, denominators in _measures(rows, advice, songs, mixes):
        total = float(np.sum(denominators))
        _put(report, path, float(np.sum(numerators)) / total if total > 0 else None)
        if path[:2] != ("by", "song"):
            interval = bootstrap.interval(numerators, denominators)
            _put(intervals, path, interval and list(interval))
    for name, groups in _group_names(rows, songs).items():
        counts = Counter(groups)
        for group, shares in report.get("by", {}).get(name, {}).items():
            shares["num_rows"] = counts[group]
    return report | {"intervals": intervals}


_Measure = tuple[tuple[str, ...], np.ndarray, np.ndarray]


def _measures(
    rows: Sequence[Mapping[str, Any]],
    advice: Sequence[Advice],
    songs: Sequence[str],
    mixes: Sequence[str],
) -> Iterator[_Measure]:
    """Every measure as path, numerators and denominators; see `SongBootstrap`."""
    graded = [grade(row, each) for row, each in zip(rows, advice, strict=True)]
    grades = {name: np.array([each[name] for each in graded], dtype=float) for name in _GRADES}
    flawed = np.array([row["category"] != Category.NO_ERROR for row in rows], dtype=float)
    called = np.array(
        [each.direction in (Direction.RAISE, Direction.LOWER) for each in advice], dtype=float
    )
    ones = np.ones(len(rows))
    for name in ("joint", "stem", "direction"):
        yield (name,), grades[name], ones
    yield ("understood",), np.array([each.direction is not None for each in advice], float), ones
    yield ("magnitude",), grades["magnitude"] * flawed, flawed
    found = grades["joint"] * flawed
    yield ("magnitude_given_joint",), grades["magnitude"] * found, found
    yield from _detection((), flawed, called, ones)

    copies = Counter(mixes)
    weights = np.array([1 / copies[mix] for mix in mixes])
    for name in ("joint", "stem", "direction"):
        yield ("distinct_mixes", name), grades[name] * weights, weights
    balanced = (1 - flawed) * weights
    yield ("distinct_mixes", "no_error"), grades["joint"] * balanced, balanced
    yield from _detection(("distinct_mixes",), flawed, called, weights)

    for name, groups in _group_names(rows, songs).items():
        for group in sorted({each for each in groups if each is not None}, key=_order):
            inside = np.array([each == group for each in groups], dtype=float)
            for measure in _GRADES:
                counting = inside * flawed if measure == "magnitude" else inside
                yield ("by", name, group, measure), grades[measure] * counting, counting


def _detection(
    path: tuple[str, ...], flawed: np.ndarray, called: np.ndarray, weights: np.ndarray
) -> Iterator[_Measure]:
    """Precision, recall and F1 of calling a mix flawed."""
    hits = flawed * called * weights
    yield (*path, "error_detection", "precision"), hits, called * weights
    yield (*path, "error_detection", "recall"), hits, flawed * weights
    yield (*path, "error_detection", "f1"), 2 * hits, (flawed + called) * weights


def _group_names(
    rows: Sequence[Mapping[str, Any]], songs: Sequence[str]
) -> dict[str, list[str | None]]:
    """For each way to group rows, each row's group; None where it is in none."""
    return {
        "category": [str(row["category"]) for row in rows],
        "target": [None if r["category"] == Category.NO_ERROR else r["target"] for r in rows],
        "anchor": [row["anchor"] for row in rows],
        "direction": [str(row["direction"]) for row in rows],
        "song": list(songs),
    }


def _order(group: str) -> tuple[int, str]:
    """Categories from quiet to loud, directions up, down, none; all else by name."""
    fixed = [str(each) for each in (*Category, *Direction)]
    return (fixed.index(group) if group in fixed else 0, group)


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
