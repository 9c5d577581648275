"""What a data set's text gives away: the best guess without listening.

Learns on one split the most frequent answer for each value of a few features of the text (the
anchor; the kind of prompt and its claim; the whole instruction), and guesses it on another split.
Stem, direction and joint are guessed apart, so each figure is the most that its features allow. A
value not seen before falls back to the features above it in the table.

Only prompts without a claim should stay near chance. A description is right more often than not,
and believing it pays: read its accuracy beside the row "claim believed".

Usage:
    python benchmarks/text_only_baseline.py DATASET --mode single_mix --train train --test test
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

#: Features from coarse to fine.
FEATURES: dict[str, Callable[[Row], tuple]] = {
    "nothing": lambda row: (),
    "anchor": lambda row: (row["anchor"],),
    "anchor, kind of prompt": lambda row: (row["anchor"], _visible_kind(row)),
    "anchor, kind of prompt, claim": lambda row: (
        row["anchor"],
        _visible_kind(row),
        row.get("claim_stem"),
        row.get("claim_direction"),
    ),
    "anchor, instruction": lambda row: (row["anchor"], row["instruction"]),
}
#: What is right for a row: on a balanced mix, that nothing is to be moved.
LABELS: dict[str, Callable[[Row], Any]] = {
    "joint": lambda row: (_stem(row), row["direction"]),
    "stem": lambda row: _stem(row),
    "direction": lambda row: row["direction"],
}


def _stem(row: Row) -> str:
    return "none" if row["direction"] == "none" else row["target"]


def _visible_kind(row: Row) -> str:
    # Whether a description is correct can't be seen in the text.
    return row["prompt_category"] if row.get("claim_stem") is None else "description"


def text_only_accuracy(
    train: Sequence[Row], test: Sequence[Row]
) -> dict[str, dict[str, float | None]]:
    """Accuracy of the best guess from text, by features.

    Args:
        train: rows to learn from; labelled columns as names.
        test: rows to guess.

    Returns:
        For every set of features, and for "claim believed" (over the descriptions alone), the
        shares of "joint", "stem" and "direction" guessed right; None over no rows.
    """
    report: dict[str, dict[str, float | None]] = {name: {} for name in FEATURES}
    for label, right_answer in LABELS.items():
        guesses: dict[tuple, Any] = {}
        for level, (name, features) in enumerate(FEATURES.items()):
            counts: dict[tuple, Counter] = defaultdict(Counter)
            for row in train:
                counts[features(row)][right_answer(row)] += 1
            for key, counter in counts.items():
                # The most frequent; of equals the first by name, not by order of rows.
                guesses[level, key] = min(counter, key=lambda each: (-counter[each], str(each)))
            hits = [_guess(row, level, guesses) == right_answer(row) for row in test]
            report[name][label] = _share(hits)
    described = [row for row in test if row.get("claim_stem") is not None]
    believed = [{"target": r["claim_stem"], "direction": r["claim_direction"]} for r in described]
    report["claim believed"] = {
        label: _share([answer(a) == answer(b) for a, b in zip(described, believed, strict=True)])
        for label, answer in LABELS.items()
    }
    return report


def _guess(row: Row, level: int, guesses: Mapping[tuple, Any]) -> Any:
    """The guess of the finest features that were seen before."""
    for coarser in range(level, -1, -1):
        key = (coarser, list(FEATURES.values())[coarser](row))
        if key in guesses:
            return guesses[key]
    return None


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def main() -> None:
    """Print the table, for all rows and for each kind of prompt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote, or a Hub id")
    parser.add_argument("--mode", default="single_mix", help="which config (default: single_mix)")
    parser.add_argument("--train", default="train", help="split to learn from (default: train)")
    parser.add_argument("--test", default="test", help="split to guess (default: test)")
    arguments = parser.parse_args()

    from datasets import load_dataset

    from mixing_buddy.labels import decode_labels

    splits = []
    for name in (arguments.train, arguments.test):
        table = load_dataset(arguments.dataset, arguments.mode, split=name)
        wanted = ["anchor", "target", "direction", "prompt_category", "instruction"]
        wanted += [name for name in ("claim_stem", "claim_direction") if name in table.features]
        splits.append([decode_labels(row) for row in table.select_columns(wanted)])
    train, test = splits
    print(f"{len(train)} rows to learn from, {len(test)} to guess; shares in %")
    for kind in (None, *sorted({row["prompt_category"] for row in test})):
        rows = [row for row in test if kind in (None, row["prompt_category"])]
        print(f"\n{kind or 'all prompts'}, {len(rows)} rows")
        print(f"{'guessed from':32} {'joint':>7} {'stem':>7} {'direction':>10}")
        for name, shares in text_only_accuracy(train, rows).items():
            if shares["joint"] is not None:
                joint, stem, direction = (100 * shares[label] for label in LABELS)
                print(f"{name:32} {joint:7.1f} {stem:7.1f} {direction:10.1f}")


if __name__ == "__main__":
    main()
