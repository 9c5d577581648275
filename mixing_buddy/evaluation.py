"""Grading answers, and how well a model does on a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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


def answer_rows(
    buddy,
    dataset: str,
    songs: Sequence[str],
    *,
    config: str = "single_mix",
    split: str = "test",
    prompt_category: str | None = None,
    limit: int | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask a model about the rows of a data set, with a progress bar.

    Args:
        buddy: a ``MixingBuddy``.
        dataset: folder that ``mixing-buddy build`` wrote, or a Hub id.
        songs: song folders as ROOT or NAME=ROOT.
        config: config of the data set, one that is graded by stem and direction.
        split: split to take rows from.
        prompt_category: take only rows whose prompts are of this kind; all if None.
        limit: how many rows, evenly spread over the split; all if None.

    Returns:
        The rows, without audio, and the answers.

    Raises:
        RecipeError: there is no such data set, or its answers name no single stem.
    """
    from tqdm.auto import tqdm

    from mixing_buddy.errors import RecipeError
    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rendering import RenderTransform, parse_sources
    from mixing_buddy.rows import open_rows, spread
    from mixing_buddy.schema import DIFFERENTIAL

    if config == DIFFERENTIAL:
        raise RecipeError(
            f"{dataset}: {config} asks for changes in dB, not for one stem and direction: it can't "
            "be graded this way. Choose single_mix or stems."
        )
    table = open_rows(dataset, config, split)
    if prompt_category is not None:
        kinds = decode_labels({"prompt_category": table["prompt_category"][:]})["prompt_category"]
        table = table.select([i for i, kind in enumerate(kinds) if kind == prompt_category])
    table = spread(table, limit)
    rows = [decode_labels(row) for row in table]
    rendered = table.with_transform(RenderTransform(parse_sources(songs)))
    answers: list[str] = []
    with tqdm(total=len(rows), desc="Asking", unit="row") as bar:
        for start in range(0, len(rows), buddy.batch_size):
            batch = rendered[start : start + buddy.batch_size]
            answers += buddy.answer(batch["clips"], batch["instruction"])
            bar.update(len(batch["clips"]))
    return rows, answers


def write_report(
    out: Path, rows: Sequence[Mapping[str, Any]], answers: Sequence[str], report: Mapping[str, Any]
) -> None:
    """Write ``report.json``, and ``answers.jsonl`` with a line for each row.

    Args:
        out: folder, made if it is missing; its files of these names are replaced.
        rows: data set rows.
        answers: one text for each.
        report: what `summarise` returned.
    """
    lines = [
        {"uid": row["uid"], "response": row["response"], "answer": answer}
        | grade(row, parse_advice(answer))
        for row, answer in zip(rows, answers, strict=True)
    ]
    texts = {
        "answers.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "report.json": json.dumps(report, indent=2) + "\n",
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        temporary = out / f".{name}.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out / name)
