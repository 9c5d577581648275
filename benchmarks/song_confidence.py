"""How well a song's confidence says how often its advice is right, and how sharp it should be.

One stem of each song is moved by four drawn gains out of -9, -4.5, 4.5 and 9 dB on any stem, and
each song is also heard as it stands. Advice is right where it names the moved stem and the way back
(or that nothing is off). Candidates for a confidence: the share of answers that agree, and the
pooled posterior at several values of `mixing_buddy.advising.confidence.SHARPNESS`.

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

from mixing_buddy.advising.confidence import confidence_in, pool_song, rank_questions
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.questions import list_questions
from mixing_buddy.advising.windows import read_windows
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import ADVISED_STEMS

SHARPNESSES = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0)


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
    rights: list[bool] = []
    sizes_right: list[bool] = []
    found: dict[str, list[float]] = {}
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
            advice = buddy.advise_windows(windows, with_confidence=True)
            rankings = rank_questions(buddy, list_questions(windows))
            back = Direction.RAISE if gain_db < 0 else Direction.LOWER
            rights.append(
                (advice.stem, advice.direction)
                == ((stem, back) if stem else (None, Direction.NONE))
            )
            if stem and rights[-1]:
                sizes_right.append(advice.min_db < abs(gain_db) < advice.max_db)
            agreement = advice.num_agreeing / len(advice.windows)
            found.setdefault("answers that agree", []).append(agreement)
            for sharpness in SHARPNESSES:
                value = confidence_in(pool_song(rankings, sharpness=sharpness), advice)
                found.setdefault(f"posterior, sharpness {sharpness:g}", []).append(value or 0.0)
    right = np.array(rights, dtype=float)
    print(f"{len(right)} mixes, {right.mean():.1%} right")
    print(f"of {len(sizes_right)} moved stems found, {np.mean(sizes_right):.1%} by the right size")
    print("| confidence | mean | calibration error | Brier score |")
    print("| --- | --- | --- | --- |")
    for name, values in found.items():
        value = np.array(values)
        brier = np.mean((value - right) ** 2)
        print(
            f"| {name} | {value.mean():.3f} | {calibration_error(value, right):.3f} | {brier:.3f} |"
        )


if __name__ == "__main__":
    main()
