"""Compare what two models answered to the same rows: is one right more often, or just lucky?

```bash
mixing-buddy evaluate DATASET --songs SONGS --out reports/before
mixing-buddy evaluate DATASET --songs SONGS --model runs/nano_dpo --out reports/after
python benchmarks/compare_reports.py reports/before reports/after
```

Prints a table in Markdown: each measure of both models and their difference, with 95 % intervals by
bootstrap over songs (2000 resamples, seed 0). The same songs are drawn for both models. Several
reports after, of one training with several seeds, are taken together: means, and all seeds of a
song drawn at once.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from mixing_buddy.advice import parse_advice
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.flaws import Category, Direction


def read_answers(folder: Path) -> dict[str, dict]:
    """Read the answers of a report by the uid of their rows."""
    with (folder / "answers.jsonl").open(encoding="utf-8") as lines:
        return {answer["uid"]: answer for answer in map(json.loads, lines)}


def measures(answers: list[dict]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return numerators and denominators of each measure, of shape `(num_rows,)`."""
    categories = [answer["uid"].split("/")[-2] for answer in answers]
    balanced = np.array([category == Category.NO_ERROR for category in categories])
    advice = [parse_advice(answer["answer"]) for answer in answers]
    untouched = np.array([each.direction is Direction.NONE for each in advice])
    joint, magnitude = (
        np.array([answer[name] for answer in answers]) for name in ("joint", "magnitude")
    )
    everything = np.ones(len(answers), bool)
    return {
        "joint": (joint, everything),
        "joint, flawed mixes": (joint & ~balanced, ~balanced),
        "balanced mixes called balanced": (joint & balanced, balanced),
        "balanced mixes called flawed (false alarms)": (balanced & ~untouched, balanced),
        "flawed mixes called balanced (missed)": (~balanced & untouched, ~balanced),
        "magnitude, flawed mixes": (magnitude & ~balanced, ~balanced),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "before", type=Path, help="Folder that `mixing-buddy evaluate --out` wrote."
    )
    parser.add_argument(
        "after", type=Path, nargs="+", help="The same, of the other model; one for each seed."
    )
    folders = parser.parse_args()
    before = read_answers(folders.before)
    afters = [read_answers(folder) for folder in folders.after]
    for folder, after in zip(folders.after, afters, strict=True):
        if before.keys() != after.keys():
            parser.exit(1, f"{folders.before} and {folder} hold answers to different rows.\n")
    songs = ["/".join(uid.split("/")[:3]) for uid in before]
    bootstrap = SongBootstrap(songs * len(afters))
    print(f"{len(before)} rows of {bootstrap.num_songs} songs, {len(afters)} trainings.\n")
    print("| | before | after | difference |")
    print("| --- | --- | --- | --- |")
    old = measures(list(before.values()) * len(afters))
    new = measures([after[uid] for after in afters for uid in before])
    for name in old:
        cells = [
            interval_text(100 * part.sum() / whole.sum(), bootstrap.interval(part, whole), "")
            for part, whole in (old[name], new[name])
        ]
        change = np.subtract(
            *(100 * part.sum() / whole.sum() for part, whole in (new[name], old[name]))
        )
        cells.append(
            interval_text(change, bootstrap.difference_interval(*new[name], *old[name]), "+")
        )
        print(f"| {name} | {' | '.join(cells)} |")


def interval_text(percent: float, interval: tuple[float, float], sign: str) -> str:
    """Write a figure in percent with its interval, a pair of shares."""
    low, high = (100 * end for end in interval)
    return f"{percent:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


if __name__ == "__main__":
    main()
