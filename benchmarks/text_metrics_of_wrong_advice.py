"""How text metrics score advice on the wrong stem, worded as the right answer is.

    python benchmarks/text_metrics_of_wrong_advice.py datasets/generated

Drums and vocals change places in the right answers to flawed mixes where one is the target and the
other the anchor, so that every answer is wrong, and nothing else about it changes.
"""

from __future__ import annotations

import re
import sys

from mixing_buddy.evaluation.grading import summarise
from mixing_buddy.evaluation.text_metrics import compare_rows
from mixing_buddy.judging.items import read_rows

_OTHER = {"drums": "vocals", "drum": "vocal", "vocals": "drums", "vocal": "drum"}
_STEP = 10  # every tenth row is enough


def main(dataset: str) -> None:
    """Print the figures."""
    rows = [
        row
        for row in list(read_rows(dataset, "single_mix", "test").values())[::_STEP]
        if row["direction"] != "none" and {row["target"], row["anchor"]} == {"drums", "vocals"}
    ]
    words = re.compile(r"\b(drums?|vocals?)\b")
    answers = [words.sub(lambda found: _OTHER[found[0]], row["response"]) for row in rows]
    print(f"{len(rows)} rows, joint accuracy {100 * summarise(rows, answers)['joint']:.1f} %")
    for name, figures in compare_rows(rows, answers).items():
        low, high = figures["intervals"]["best_of"]
        print(f"{name}: {figures['best_of']:.3f} [{low:.3f}, {high:.3f}], {figures['note']}")


if __name__ == "__main__":
    main(sys.argv[1])
