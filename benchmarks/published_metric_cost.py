"""What the fault of the published metric costs: answers under our rules and under the published.

Answers: a dataset's own (gold), constants, and, where a folder of published predictions is given,
what two checkpoints of the published system said, and the published gold answers beside them.

Usage:
    python benchmarks/published_metric_cost.py DATASET [--predictions FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixing_buddy.advice import parse_advice
from mixing_buddy.evaluation.baselines import verdict_text
from mixing_buddy.evaluation.grading import grade, mix_key, song_key, summarise_advice
from mixing_buddy.evaluation.levels import open_labelled_rows
from mixing_buddy.evaluation.published import published_verdict, summarise_published
from mixing_buddy.flaws import FLAWS, Category

NO_CHANGE = "The mix is well-balanced. No adjustments needed."
MEASURES = ("joint", "stem", "direction", "magnitude")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote, or a Hub id")
    parser.add_argument("--predictions", type=Path, help="folder of published predictions")
    arguments = parser.parse_args()
    print("| rows, answers | ours: " + " | ".join(MEASURES) + " | published: "
          + " | ".join(MEASURES) + " | right rows that it calls wrong |")  # fmt: skip
    rows = open_labelled_rows(arguments.dataset, "single_mix", "test")
    name = f"{arguments.dataset} ({len(rows)})"
    _print(f"{name}, gold", rows, [row["response"] for row in rows])
    _print_constants(name, rows)
    for path in sorted(arguments.predictions.glob("*.jsonl")) if arguments.predictions else []:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        rows = [_published_row(line) for line in lines]
        name = f"{path.stem} ({len(rows)})"
        _print(f"{name}, gold", rows, [line["ground_truth"] for line in lines])
        _print(f"{name}, generated", rows, [line["generated"] for line in lines])
        _print_constants(name, rows)


def _published_row(line: Mapping[str, Any]) -> dict[str, Any]:
    flaw = FLAWS[Category(line["error_category"])]
    _, song, chunk, anchor, *_ = line["global_uid"].split("_")
    return {
        "source": "published", "split": "test", "song": song, "start_s": line["start_sec"],
        "category": line["error_category"], "target": line["target_stem"],
        "anchor": anchor.removeprefix("a-"), "direction": str(flaw.direction),
        "min_db": flaw.min_db, "max_db": flaw.max_db, "mix": f"{chunk}/{line['intended_gain_db']}",
    }  # fmt: skip


def _print_constants(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    _print(f"{name}, constant: no adjustments", rows, [NO_CHANGE] * len(rows))
    answer = verdict_text(("bass", Category.VERY_LOUD), None)
    _print(f"{name}, constant: bass very loud", rows, [answer] * len(rows))


def _print(name: str, rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> None:
    advice = [parse_advice(answer) for answer in answers]
    ours = summarise_advice(
        rows,
        advice,
        songs=[song_key(row) for row in rows],
        mixes=[row.get("mix") or mix_key(row) for row in rows],
        num_resamples=1,
    )
    published = summarise_published(rows, answers)
    lost = sum(
        grade(row, each)["joint"] and not published_verdict(row, answer).both
        for row, each, answer in zip(rows, advice, answers, strict=True)
    )
    figures = [*(ours[m] for m in MEASURES), *(published[m] for m in MEASURES)]
    cells = " | ".join("-" if figure is None else f"{100 * figure:.1f}" for figure in figures)
    print(f"| {name} | {cells} | {lost} |")


if __name__ == "__main__":
    main()
