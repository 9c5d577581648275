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


def main() -> None:
    """Print the table, for all rows and for each kind of prompt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote, or a Hub id")
    parser.add_argument("--mode", default="single_mix", help="which config (default: single_mix)")
    parser.add_argument("--train", default="train", help="split to learn from (default: train)")
    parser.add_argument("--test", default="test", help="split to guess (default: test)")
    arguments = parser.parse_args()

    from datasets import load_dataset

    from mixing_buddy.evaluation.reading import LABELS, text_only_accuracy
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
