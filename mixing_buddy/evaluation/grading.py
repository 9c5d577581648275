"""Grading answers, and how well a model does on a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixing_buddy.advice import Advice, parse_advice
from mixing_buddy.flaws import Category, Direction


def grade(row: Mapping[str, Any], advice: Advice) -> dict[str, bool]:
    """Grade one answer.

    Args:
        row: a data set row (`category`, `target`, `direction`, `min_db`, `max_db`).
        advice: the answer, parsed.

    Returns:
        `stem`, `direction`, `joint` (stem and direction both right) and `magnitude` (the named
        range is the true one). On a balanced mix all four are right exactly where the answer says
        that nothing is to be changed.
    """
    if row["category"] == Category.NO_ERROR:
        right = advice.direction is Direction.NONE
        return {"stem": right, "direction": right, "joint": right, "magnitude": right}
    stem = advice.stem == row["target"]
    direction = advice.direction == row["direction"]
    magnitude = (advice.min_db, advice.max_db) == (row["min_db"], row["max_db"])
    return {
        "stem": stem,
        "direction": direction,
        "joint": stem and direction,
        "magnitude": magnitude,
    }


def summarise(rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> dict[str, Any]:
    """Grade all answers and sum up.

    Args:
        rows: data set rows.
        answers: one text for each.

    Returns:
        `num_rows`, `num_songs`, `joint`, `stem`, `direction` (shares over all rows), `magnitude`
        (share over flawed rows), `joint_by_category`, `joint_by_target` (flawed rows), and
        `error_detection` with `precision`, `recall` and `f1` of calling a mix flawed. A share over
        no rows is None.
    """
    advice = [parse_advice(answer) for answer in answers]
    grades = [grade(row, each) for row, each in zip(rows, advice, strict=True)]
    flawed = [row["category"] != Category.NO_ERROR for row in rows]

    def share(name: str, keep) -> float | None:
        values = [g[name] for g, row in zip(grades, rows, strict=True) if keep(row)]
        return sum(values) / len(values) if values else None

    called = [each.direction in (Direction.RAISE, Direction.LOWER) for each in advice]
    hits = sum(f and c for f, c in zip(flawed, called, strict=True))
    precision = hits / sum(called) if any(called) else None
    recall = hits / sum(flawed) if any(flawed) else None
    return {
        "num_rows": len(rows),
        "num_songs": len({(row["source"], row["split"], row["song"]) for row in rows}),
        "joint": share("joint", lambda row: True),
        "stem": share("stem", lambda row: True),
        "direction": share("direction", lambda row: True),
        "magnitude": share("magnitude", lambda row: row["category"] != Category.NO_ERROR),
        "joint_by_category": {
            str(category): share("joint", lambda row, c=category: row["category"] == c)
            for category in Category
        },
        "joint_by_target": {
            target: share(
                "joint",
                lambda row, t=target: row["category"] != Category.NO_ERROR and row["target"] == t,
            )
            for target in sorted({row["target"] for row in rows})
        },
        "error_detection": {
            "precision": precision,
            "recall": recall,
            "f1": 2 * hits / (sum(called) + sum(flawed)) if any(called) or any(flawed) else None,
        },
    }
