"""Ranking the closed set of answers: does it judge better than free decoding, and what it costs.

The accuracy part answers advice-seeking rows of `single_mix` twice, by greedy decoding and by the
most likely of the ranked candidates, and again with priors for "balanced" that are fitted on the
rows of one half of the songs and applied to those of the other half, both ways round.

The speed part ranks rows by the prefix cache and the tree of answers, and by brute force: one
forward pass, audio and all, for the whole text of each candidate's templates.

Usage:
    python benchmarks/ranking.py accuracy DATASET --songs SONGS --split validation --limit 400
    python benchmarks/ranking.py speed DATASET --songs SONGS --split validation --limit 4
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

#: Recalls of balanced mixes that the prior is fitted to reach at least.
RECALLS = (0.0, 0.6, 0.7, 0.8)


def main() -> None:
    """Print one part's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("accuracy", "speed"))
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote, or a Hub id")
    parser.add_argument("--songs", action="append", required=True, help="song folder, as ROOT")
    parser.add_argument("--split", default="validation", help="which split (default: validation)")
    parser.add_argument("--limit", type=int, default=400, help="how many rows (default: 400)")
    parser.add_argument("--model", help="folder or Hub id of a model (default: nano)")
    arguments = parser.parse_args()

    from mixing_buddy.advising.inference import MixingBuddy

    buddy = MixingBuddy.from_pretrained(arguments.model)
    rows, rendered = read_rows(arguments)
    if arguments.part == "accuracy":
        compare_accuracy(buddy, rows, rendered)
    else:
        compare_speed(buddy, rows, rendered)


def read_rows(arguments: argparse.Namespace):
    """Return advice-seeking rows, without and with audio."""
    from mixing_buddy.labels import decode_labels
    from mixing_buddy.rendering import RenderTransform, parse_sources
    from mixing_buddy.rows import open_rows, spread

    table = open_rows(arguments.dataset, "single_mix", arguments.split)
    kinds = decode_labels({"prompt_category": table["prompt_category"][:]})["prompt_category"]
    table = table.select([row for row, kind in enumerate(kinds) if kind == "advice_seeking"])
    table = spread(table, arguments.limit)
    rows = [decode_labels(row) for row in table]
    return rows, table.with_transform(RenderTransform(parse_sources(arguments.songs)))


def compare_accuracy(buddy, rows: Sequence[dict], rendered) -> None:
    """Grade greedy answers, the best candidates, and those after the prior is corrected."""
    import numpy as np
    from tqdm.auto import tqdm

    from mixing_buddy.advice import parse_advice
    from mixing_buddy.advising.ranking import Candidate, fit_balanced_log_odds
    from mixing_buddy.evaluation.grading import grade
    from mixing_buddy.flaws import Category

    answers, rankings = [], []
    for start in tqdm(range(0, len(rows), buddy.batch_size), desc="Asking", unit="batch"):
        batch = rendered[start : start + buddy.batch_size]
        answers += buddy.answer(batch["clips"], batch["instruction"])
        anchors = [row["anchor"] for row in rows[start : start + buddy.batch_size]]
        rankings += buddy.rank(batch["clips"], anchors, instructions=batch["instruction"])
    truths = [
        Candidate(category, None if category is Category.NO_ERROR else row["target"])
        for row in rows
        for category in [Category(row["category"])]
    ]
    songs = sorted({row["song"] for row in rows})
    half = np.array([songs.index(row["song"]) % 2 for row in rows])
    favoured = {}
    for recall in RECALLS:
        favoured[recall] = list(rankings)
        for part in (0, 1):
            fit = [index for index in range(len(rows)) if half[index] != part]
            log_odds = fit_balanced_log_odds(
                [rankings[index] for index in fit],
                [truths[index] for index in fit],
                balanced_recall=recall,
            )
            print(f"recall {recall:.2f}, fitted on half {1 - part}: {log_odds:+.2f} nats")
            for index in np.flatnonzero(half == part):
                favoured[recall][index] = rankings[index].favour_balanced(log_odds)
    print(f"{len(rows)} rows of {len(songs)} songs; shares in %")
    print(f"{'':28} {'joint':>7} {'stem':>7} {'magnitude':>10} {'no_error':>9} {'flawed':>7}")
    for name, given in {
        "greedy text": [parse_advice(answer) for answer in answers],
        "best candidate": [ranking.best.advice for ranking in rankings],
        **{
            f"... prior for recall {recall:.2f}": [ranking.best.advice for ranking in each]
            for recall, each in favoured.items()
        },
    }.items():
        grades = [grade(row, advice) for row, advice in zip(rows, given, strict=True)]
        balanced = np.array([row["category"] == Category.NO_ERROR for row in rows])
        joint, stem, magnitude = (
            100 * np.array([each[label] for each in grades])
            for label in ("joint", "stem", "magnitude")
        )
        print(
            f"{name:28} {joint.mean():7.1f} {stem.mean():7.1f} {magnitude[~balanced].mean():10.1f} "
            f"{joint[balanced].mean():9.1f} {joint[~balanced].mean():7.1f}"
        )
    right = np.array(
        [
            (ranking.best.stem, ranking.best.category) == (truth.stem, truth.category)
            for ranking, truth in zip(rankings, truths, strict=True)
        ]
    )
    confidence = np.array([ranking.confidence for ranking in rankings])
    bins = np.digitize(confidence, np.linspace(0.1, 0.9, 9))
    error = sum(abs((confidence - right)[bins == each].sum()) for each in np.unique(bins)) / len(
        rows
    )
    mass = np.mean([ranking.mass for ranking in rankings])
    print(
        f"best of nine right {100 * right.mean():.1f} %, mean confidence "
        f"{100 * confidence.mean():.1f} %, calibration error (10 bins) {100 * error:.1f} %;"
        f" probability on the candidates {100 * mass:.1f} %"
    )


def compare_speed(buddy, rows: Sequence[dict], rendered) -> None:
    """Time the two ways of ranking."""
    import torch

    batch = rendered[: len(rows)]
    anchors = [row["anchor"] for row in rows]
    questions = {"instructions": batch["instruction"]}
    buddy.rank(batch["clips"][:1], anchors[:1], instructions=batch["instruction"][:1])
    start = time.perf_counter()
    rankings = buddy.rank(batch["clips"], anchors, **questions)
    tree_s = (time.perf_counter() - start) / len(rows)
    start = time.perf_counter()
    buddy.answer(batch["clips"], batch["instruction"])
    greedy_s = (time.perf_counter() - start) / len(rows)
    start = time.perf_counter()
    num_texts = 0
    for clips, instruction, ranking in zip(
        batch["clips"], batch["instruction"], rankings, strict=True
    ):
        inputs = buddy._prompt([clips], [instruction])
        prompt = inputs.pop("input_ids")
        inputs.pop("attention_mask")
        for candidate in ranking.candidates:
            for text in candidate.texts:
                answer = torch.tensor(
                    [buddy.processor.tokenizer.encode(text, add_special_tokens=False)],
                    device=prompt.device,
                )
                with torch.inference_mode():
                    logits = buddy.model(
                        input_ids=torch.cat([prompt, answer], dim=1),
                        **inputs,
                        use_cache=False,
                        logits_to_keep=answer.shape[1] + 1,
                    ).logits[0, :-1]
                    logits.log_softmax(-1).gather(1, answer.T).sum().item()
                num_texts += 1
    brute_s = (time.perf_counter() - start) / len(rows)
    print(f"{len(rows)} rows, {num_texts / len(rows):.0f} texts each, {buddy.model.device}")
    print(f"tree on the prompt's cache {tree_s:.3f} s a row")
    print(f"brute force                {brute_s:.3f} s a row, {brute_s / tree_s:.1f} times as long")
    print(f"greedy answer, to compare  {greedy_s:.3f} s a row")


if __name__ == "__main__":
    main()
