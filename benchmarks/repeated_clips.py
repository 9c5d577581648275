"""How often the same clip is heard: within a batch, and over a whole split.

A clip is what the encoder gets: the sum of its stems, divided by the level of the sample that it
belongs to. Two rows share it where all samples are equal, which recipes tell without rendering: the
same stretch of the same song, the same gains, and the same gains of all clips of the row. The last
column leaves the division out, to show how much it costs.

Usage:
    python benchmarks/repeated_clips.py DATASET [--split train]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

from mixing_buddy.rows import open_rows
from mixing_buddy.schema import MODES
from mixing_buddy.stems import STEMS

_BATCH_SIZES = (4, 64)
_NUM_BATCHES = 200


def clip_names(rows) -> list[list[tuple[tuple, tuple]]]:
    """Name the clips of each row, as the encoder gets them and as they were before division."""
    columns = ("source", "split", "song", "start_s")
    places = list(zip(*(rows[column][:] for column in columns), strict=True))
    named = []
    for place, audios in zip(places, rows["audios"][:], strict=True):
        raw = [(place, tuple(audio["stem_gains_db"][stem] for stem in STEMS)) for audio in audios]
        named.append([((clip, tuple(sorted(raw, key=repr))), clip) for clip in raw])
    return named


def distinct_share(names: Sequence[Sequence[tuple[tuple, tuple]]], which: int) -> float:
    """Share of clips that are left when repeats are taken out, by one of the two names."""
    clips = [name[which] for row in names for name in row]
    return len(set(clips)) / len(clips)


def main() -> None:
    """Print one line a mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder that `mixing-buddy build` wrote")
    parser.add_argument("--split", default="train")
    arguments = parser.parse_args()
    batches = "".join(f"in {size} rows".rjust(14) for size in _BATCH_SIZES)
    print(
        f"Distinct clips, % of all\n{'mode':<14}{'clips':>9}{batches}{'in all':>9}{'undivided':>11}"
    )
    for mode in MODES:
        names = clip_names(open_rows(arguments.dataset, mode, arguments.split))
        rng = random.Random(0)
        in_batches = [
            sum(
                distinct_share(rng.sample(names, min(size, len(names))), 0)
                for _ in range(_NUM_BATCHES)
            )
            / _NUM_BATCHES
            for size in _BATCH_SIZES
        ]
        print(
            f"{mode:<14}{sum(map(len, names)):>9}"
            + "".join(f"{100 * share:>14.2f}" for share in in_batches)
            + f"{100 * distinct_share(names, 0):>9.2f}{100 * distinct_share(names, 1):>11.2f}"
        )


if __name__ == "__main__":
    main()
