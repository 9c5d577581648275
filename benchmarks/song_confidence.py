"""How often advice on a song is right, and how well its confidence says so.

One stem of each song is moved by four drawn gains out of -9, -4.5, 4.5 and 9 dB on any stem, and
each song is also heard as it stands. Advice is right where it names the moved stem and the way back
(or that nothing is off). Two verdicts stand beside one another: what explains the answers best,
with the share of answers that agree as confidence, and the most probable, with its posterior.

Usage:
    python benchmarks/song_confidence.py SONGS/validation [--count 40] [--model FOLDER_OR_ID]
        [--mode stems]
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mixing_buddy.advising.combining import combine
from mixing_buddy.advising.confidence import confidence_in
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.questions import list_questions
from mixing_buddy.advising.ranking import pool
from mixing_buddy.advising.windows import read_windows
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import ADVISED_STEMS


def calibration_error(confidences: np.ndarray, rights: np.ndarray, num_bins: int = 10) -> float:
    """Expected calibration error over equal bins."""
    bins = np.minimum((confidences * num_bins).astype(int), num_bins - 1)
    gaps = [
        abs(confidences[bins == each].mean() - rights[bins == each].mean()) * (bins == each).mean()
        for each in np.unique(bins)
    ]
    return float(sum(gaps))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", type=Path, help="folder of folders of stems")
    parser.add_argument("--count", type=int, default=40, help="songs to take, the first by name")
    parser.add_argument("--model", help="folder or Hub id; nano by default")
    parser.add_argument(
        "--mode",
        choices=("single_mix", "stems"),
        default="single_mix",
        help="what is heard: the mix, or the tracks one by one",
    )
    arguments = parser.parse_args()
    buddy = MixingBuddy.from_pretrained(arguments.model)
    rng = np.random.default_rng(0)
    flaws = list(product(ADVISED_STEMS, (-9.0, -4.5, 4.5, 9.0)))
    verdicts: dict[str, list[tuple[bool, bool, float]]] = {}
    sizes_right: list[bool] = []
    for folder in tqdm(sorted(arguments.songs.iterdir())[: arguments.count]):
        drawn = [flaws[index] for index in rng.choice(len(flaws), 4, replace=False)]
        for stem, gain_db in [(None, 0.0), *drawn]:
            try:
                windows = read_windows(
                    folder, faders_db={stem: gain_db} if stem else None, mode=arguments.mode
                )
            except MixingBuddyError as error:
                print(f"left out: {error}")
                continue
            heard = buddy.ask(list_questions(windows), with_ranking=True)
            answers = [answer for answer, _ in heard]
            ranking = pool([each for _, each in heard])
            truth = (None, Direction.NONE)
            if stem:
                truth = (stem, Direction.RAISE if gain_db < 0 else Direction.LOWER)
            explained, probable = combine(answers), combine(answers, ranking=ranking)
            for name, advice, confidence in (
                ("answers", explained, explained.num_agreeing / len(answers)),
                ("posterior", probable, confidence_in(ranking, probable)),
            ):
                is_right = (advice.stem, advice.direction) == truth
                verdicts.setdefault(name, []).append((is_right, stem is None, confidence or 0.0))
            if stem and (probable.stem, probable.direction) == truth:
                sizes_right.append(probable.min_db < abs(gain_db) < probable.max_db)
    num_mixes = len(verdicts["posterior"])
    print(f"{num_mixes} mixes; of {len(sizes_right)} moved stems found by the posterior, ", end="")
    print(f"{np.mean(sizes_right):.1%} by the right size")
    print("| verdict | right, % | balanced mixes | confidence | calibration error | Brier score |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rows in verdicts.items():
        right, balanced, confidence = np.array(rows, dtype=float).T
        print(
            f"| {name} | {100 * right.mean():.1f} | {100 * right[balanced == 1].mean():.1f} | "
            f"{confidence.mean():.3f} | {calibration_error(confidence, right):.3f} | "
            f"{np.mean((confidence - right) ** 2):.3f} |"
        )


if __name__ == "__main__":
    main()
