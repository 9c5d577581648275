"""How far advised changes lie from those that are needed, in dB: the config "differential".

The rules stand in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.advice import parse_advice, parse_changes
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.grading import mix_key, song_key
from mixing_buddy.stems import STEMS

#: Ends of the ranges of size that rows are grouped by, in dB.
SIZE_EDGES_DB: tuple[float, ...] = (0.0, 3.0, 4.5, 6.0, 9.0, 12.0)

_EPSILON_DB = 1e-6


def read_changes(answer: str) -> dict[str, float] | None:
    """Read the advised changes in dB by stem; None where the answer is not understood."""
    changes_db = parse_changes(answer)
    return changes_db if changes_db or parse_advice(answer).direction is not None else None


def grade_changes(row: Mapping[str, Any], changes_db: Mapping[str, float] | None) -> dict[str, Any]:
    """Grade the changes that one answer advises.

    Args:
        row: a dataset row (`needed_change_db`, and `tolerance_low_db` and `tolerance_high_db` if
            known).
        changes_db: what `read_changes` returned; a stem that is left out is left alone, and so are
            all stems by an answer that is not understood.

    Returns:
        `joint` (the stems to be moved are named and no other, each with the right direction),
        `error_db` (distance to the needed change, by stem) and `consensus_error_db` (distance to
        the range that engineers agree on, 0 inside it; to the needed change where there is none).
    """
    is_understood = changes_db is not None
    changes_db = changes_db or {}
    needed_db = row["needed_change_db"]
    wanted = {
        stem: np.sign(needed_db[stem]) for stem in STEMS if abs(needed_db[stem]) > _EPSILON_DB
    }
    advised = {s: np.sign(change) for s, change in changes_db.items() if abs(change) > _EPSILON_DB}
    error_db, consensus_error_db = {}, {}
    for stem in STEMS:
        change_db = changes_db.get(stem, 0.0)
        error_db[stem] = abs(change_db - needed_db[stem])
        low_db, high_db = _range_db(row, stem)
        consensus_error_db[stem] = max(low_db - change_db, change_db - high_db, 0.0)
    return {
        "joint": is_understood and wanted == advised,
        "error_db": error_db,
        "consensus_error_db": consensus_error_db,
    }


def summarise_changes(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Grade all answers and sum up.

    Args:
        rows: dataset rows of "differential", labelled columns as names.
        answers: one text for each.
        num_resamples: how many sets of songs the intervals are made from.
        seed: what these sets are drawn from.

    Returns:
        A nested dict; a value over no rows is None.

        - `num_rows`, `num_mixes`, `num_songs`: counts. `num_ranged`: stems of rows with a range.
        - `joint`, `understood`: shares of rows.
        - `error_db`, `consensus_error_db`: mean over all stems of all rows; an answer that is not
          understood advises no change. `changed_error_db`, `changed_consensus_error_db`: over the
          stems that are to be moved.
        - `move_precision`, `move_recall`: of advised moves, how many are due (stem and direction);
          of due moves, how many are advised.
        - `by`: for `stem` (of these `joint` is missing), `num_changed`, `size` (largest needed
          change in dB), `anchor` and `song`, by name: the first four of these measures that
          apply, and `num_rows`.
        - `intervals`: 95 % intervals `[low, high]` by bootstrap over songs, in the same nesting
          (but for `song`); None where there are fewer than two songs.
    """
    songs = [song_key(row) for row in rows]
    ranged = sum(
        (row.get("tolerance_low_db") or {}).get(stem) is not None for row in rows for stem in STEMS
    )
    report: dict[str, Any] = {
        "num_rows": len(rows),
        "num_mixes": len({mix_key(row) for row in rows}),
        "num_songs": len(set(songs)),
        "num_ranged": ranged,
    }
    intervals: dict[str, Any] = {}
    bootstrap = SongBootstrap(songs, num_resamples=num_resamples, seed=seed)
    for path, numerators, denominators in _measures(rows, answers, songs):
        total = float(denominators.sum())
        _put(report, path, float(numerators.sum()) / total if total > 0 else None)
        if path[:2] != ("by", "song"):
            interval = bootstrap.interval(numerators, denominators)
            _put(intervals, path, interval and list(interval))
    for name, groups in _groups(rows, songs).items():
        for group, values in report["by"].get(name, {}).items():
            values["num_rows"] = groups.count(group)
    return report | {"intervals": intervals}


def confuse_changes(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[str]
) -> dict[str, list[Any]]:
    """Count what was advised on each stem against what it needed.

    Returns:
        `truth` (names of the lines), `answered` (names of the columns) and `counts`.
    """
    moves = {1: "raise", 0: "leave", -1: "lower"}
    truth = [f"{stem} {move}" for stem in STEMS for move in moves.values()]
    counts = np.zeros((len(truth), len(moves)), dtype=int)
    for row, answer in zip(rows, answers, strict=True):
        changes_db = parse_changes(answer)
        for stem in STEMS:
            line = truth.index(f"{stem} {moves[int(np.sign(row['needed_change_db'][stem]))]}")
            counts[line, list(moves).index(int(np.sign(changes_db.get(stem, 0.0))))] += 1
    # A stem that is never moved has no line for it.
    kept = counts.any(axis=1)
    return {
        "truth": [name for name, keep in zip(truth, kept, strict=True) if keep],
        "answered": list(moves.values()),
        "counts": counts[kept].tolist(),
    }


def size_name(row: Mapping[str, Any]) -> str:
    """Name the range that a row's largest needed change lies in, such as "4.5 to 6 dB"."""
    size_db = max(abs(change) for change in row["needed_change_db"].values())
    place = int(np.searchsorted(SIZE_EDGES_DB, size_db, side="right")) - 1
    if place >= len(SIZE_EDGES_DB) - 1:
        # The last end belongs to its range.
        if size_db > SIZE_EDGES_DB[-1] + _EPSILON_DB:
            return f"over {SIZE_EDGES_DB[-1]:g} dB"
        place = len(SIZE_EDGES_DB) - 2
    return f"{SIZE_EDGES_DB[place]:g} to {SIZE_EDGES_DB[place + 1]:g} dB"


def _range_db(row: Mapping[str, Any], stem: str) -> tuple[float, float]:
    """Changes of a stem that are as good as the needed one, which is always among them."""
    needed_db = row["needed_change_db"][stem]
    ends_db = [
        (row.get(name) or {}).get(stem) for name in ("tolerance_low_db", "tolerance_high_db")
    ]
    if None in ends_db:
        return needed_db, needed_db
    return min(ends_db[0], needed_db), max(ends_db[1], needed_db)


def _measures(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[str], songs: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], np.ndarray, np.ndarray]]:
    """Every measure as path, numerators and denominators; see `SongBootstrap`."""
    changes = [read_changes(answer) for answer in answers]
    graded = [grade_changes(row, each) for row, each in zip(rows, changes, strict=True)]
    needed = _by_stem([row["needed_change_db"] for row in rows])
    advised = _by_stem([each or {} for each in changes])
    errors = {
        name: _by_stem([each[name] for each in graded])
        for name in ("error_db", "consensus_error_db")
    }
    due = (np.abs(needed) > _EPSILON_DB).astype(float)
    ones = np.ones(len(rows))
    joint = np.array([each["joint"] for each in graded], dtype=float)
    understood = np.array([each is not None for each in changes], dtype=float)
    yield ("joint",), joint, ones
    yield ("understood",), understood, ones
    for name, error_db in errors.items():
        yield (name,), error_db.sum(axis=1), ones * len(STEMS)
        yield (f"changed_{name}",), (error_db * due).sum(axis=1), due.sum(axis=1)
    moved = (np.abs(advised) > _EPSILON_DB).astype(float)
    hits = due * moved * (np.sign(needed) == np.sign(advised))
    yield ("move_precision",), hits.sum(axis=1), moved.sum(axis=1)
    yield ("move_recall",), hits.sum(axis=1), due.sum(axis=1)
    for place, stem in enumerate(STEMS):
        for name, error_db in errors.items():
            yield ("by", "stem", stem, name), error_db[:, place], ones
            yield (
                ("by", "stem", stem, f"changed_{name}"),
                error_db[:, place] * due[:, place],
                due[:, place],
            )
    for name, groups in _groups(rows, songs).items():
        for group in sorted({each for each in groups if each is not None}, key=_order):
            inside = np.array([each == group for each in groups], dtype=float)
            yield ("by", name, group, "joint"), joint * inside, inside
            for error, error_db in errors.items():
                weights = inside[:, None]
                path = ("by", name, group)
                yield (*path, error), (error_db * weights).sum(axis=1), inside * len(STEMS)
                yield (
                    (*path, f"changed_{error}"),
                    (error_db * due * weights).sum(axis=1),
                    (due * weights).sum(axis=1),
                )


def _groups(rows: Sequence[Mapping[str, Any]], songs: Sequence[str]) -> dict[str, list[str | None]]:
    return {
        "num_changed": [str(row["num_changed_stems"]) for row in rows],
        "size": [size_name(row) for row in rows],
        "anchor": [row["anchor"] for row in rows],
        "song": list(songs),
    }


def _order(group: str) -> tuple[float, str]:
    """Numbers by size, "over" last, all else by name."""
    first = group.partition(" ")[0]
    if first == "over":
        return float("inf"), group
    try:
        return float(first), group
    except ValueError:
        return 0.0, group


def _by_stem(values: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Values by stem as float64 of shape `(num_rows, 4)`; 0 where a stem is left out."""
    return np.array([[each.get(stem, 0.0) for stem in STEMS] for each in values]).reshape(-1, 4)


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
