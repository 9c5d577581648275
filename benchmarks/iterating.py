"""How often following the advice, and listening again, brings a planted flaw back.

One stem of each song is moved by each of the given gains (which stem is drawn), and each song is
also heard as it stands. With `--flaws 2` another drawn stem is moved as far the other way. A mix
counts as brought back where every stem stands within 2 dB of the original, the level of the whole
(the median of the stems' gains) left out of account.

Usage:
    python benchmarks/iterating.py SONGS/test [--count 30] [--gains-db -9 -4.5 4.5 9] [--flaws 1]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.iterating import Iteration, iterate
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stems import ADVISED_STEMS

NEAR_DB = 2.0


def is_near(gains_db: dict[str, float]) -> bool:
    """Whether faders stand within `NEAR_DB` of where they belong, which is 0 dB for each."""
    middle_db = median(gains_db.values())
    return all(abs(gain_db - middle_db) <= NEAR_DB for gain_db in gains_db.values())


def plant(rng: np.random.Generator, gain_db: float, num_flaws: int) -> dict[str, float]:
    """Draw which stems are moved, and move them in turn by the gain and its opposite."""
    drawn = [str(rng.choice(ADVISED_STEMS))]
    while len(drawn) < num_flaws:
        drawn.append(str(rng.choice([stem for stem in ADVISED_STEMS if stem not in drawn])))
    return {stem: gain_db * (-1) ** index for index, stem in enumerate(drawn)}


def summarise(name: str, found: list[Iteration]) -> str:
    """One row of the table."""
    first = [is_near(each.steps[min(1, len(each.steps) - 1)].gains_db) for each in found]
    last = [is_near(each.gains_db) for each in found]
    changes = [each.best for each in found]
    called = [each.outcome.value == "balanced" for each in found]
    return (
        f"| {name} | {len(found)} | {np.mean(first):.0%} | {np.mean(last):.0%} | "
        f"{np.mean(changes):.1f} | {np.mean(called):.0%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", type=Path, help="folder of folders of stems")
    parser.add_argument("--count", type=int, default=30, help="songs to take, the first by name")
    parser.add_argument("--gains-db", type=float, nargs="+", default=[-9.0, -4.5, 4.5, 9.0])
    parser.add_argument("--flaws", type=int, choices=[1, 2], default=1, help="stems to move")
    parser.add_argument("--changes", type=int, default=6, help="moves of a fader at most")
    parser.add_argument("--out", type=Path, help="JSONL file to add every step of each mix to")
    parser.add_argument("--model", help="folder or Hub id; nano by default")
    arguments = parser.parse_args()
    buddy = MixingBuddy.from_pretrained(arguments.model)
    rng = np.random.default_rng(0)
    found: dict[float, list[Iteration]] = {}
    for folder in tqdm(sorted(arguments.songs.iterdir())[: arguments.count]):
        song = open_song(folder)
        for gain_db in (0.0, *arguments.gains_db):
            planted = plant(rng, gain_db, arguments.flaws)
            try:
                result = iterate(
                    lambda gains, song=song: buddy.advise(song, faders_db=gains),
                    max_changes=arguments.changes,
                    faders_db=planted,
                )
            except MixingBuddyError as error:
                print(f"left out: {error}")
                continue
            found.setdefault(gain_db, []).append(result)
            if arguments.out:
                told = {"song": folder.name, "planted": planted, **result.to_dict()}
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(told) + "\n")
    print("| planted | songs | within 2 dB after one move | at the end | moves | called balanced |")
    print("| --- | --- | --- | --- | --- | --- |")
    for gain_db, results in found.items():
        print(summarise(f"{gain_db:+g} dB" if gain_db else "nothing", results))
    flawed = [each for gain_db, results in found.items() if gain_db for each in results]
    print(summarise("all flaws", flawed))


if __name__ == "__main__":
    main()
