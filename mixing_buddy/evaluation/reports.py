"""What is written of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixing_buddy.advice import parse_advice
from mixing_buddy.evaluation.grading import grade


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
