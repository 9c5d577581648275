"""The usual level of vocals, drums, bass and the rest in a mix, from two sources.

Reads The Mix Evaluation Dataset's ``tracks.csv`` (MixologyDB's transcription): each track's raw
loudness and fader gain. The power sum of loudness plus gain over a group's tracks is the group's
level in that engineer's mix.

Bus gains, automation and plug-ins are not in that data, so levels are of faders alone. With
``--songs``, also the gated loudness (BS.1770) of the finished stems of training songs.

Usage:
    python benchmarks/stem_balance_convention.py ../shared/data/mix-evaluation \\
        --songs ../shared/data/cc0-songs
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

GROUPS = {"VOCALS": "vocals", "DRUMS": "drums", "BASS": "bass"}
STEMS = ("bass", "drums", "other", "vocals")


def group_levels(path: Path) -> list[dict[str, float]]:
    """Level in dB of each stem relative to the sum of stems, for every mix that has all four."""
    powers: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["raw_track_lufs"] or not row["fader_gain_db"]:
                continue
            level_db = float(row["raw_track_lufs"]) + float(row["fader_gain_db"])
            stem = GROUPS.get(row["instrument"], "other")
            powers[row["song"], row["mix"]][stem] += 10 ** (level_db / 10)
    levels = []
    for mix in powers.values():
        if set(mix) == set(STEMS):
            total = sum(mix.values())
            levels.append({stem: 10 * math.log10(mix[stem] / total) for stem in STEMS})
    return levels


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="tracks.csv, or the folder that holds it")
    parser.add_argument("--songs", type=Path, help="folder of songs; its training split is read")
    arguments = parser.parse_args()
    path = arguments.path
    levels = group_levels(path / "tracks.csv" if path.is_dir() else path)
    print(f"{len(levels)} mixes with all four groups; level relative to the sum of groups, in dB")
    print(f"{'stem':8} {'median':>8} {'IQR':>6} {'relative to vocals':>20} {'IQR':>6}")
    for stem in STEMS:
        own = [mix[stem] for mix in levels]
        apart = [mix[stem] - mix["vocals"] for mix in levels]
        spreads = [cuts[2] - cuts[0] for cuts in (quantiles(own), quantiles(apart))]
        print(
            f"{stem:8} {median(own):8.1f} {spreads[0]:6.1f} {median(apart):20.1f} {spreads[1]:6.1f}"
        )
    if arguments.songs:
        print_songs(arguments.songs)


def print_songs(root: Path) -> None:
    """Print the loudness of finished stems relative to the vocals, for each training song."""
    from mixing_buddy.generated_songs.balance import integrated_loudness_lufs
    from mixing_buddy.songs import SAMPLE_RATE, find_songs, load_stems

    print(f"\nFinished stems, LU relative to the vocals\n{'song':20}", *(f"{s:>8}" for s in STEMS))
    apart = []
    for song in (song for song in find_songs(root) if song.split == "train"):
        lufs = [integrated_loudness_lufs(stem, SAMPLE_RATE) for stem in load_stems(song)]
        apart.append([value - lufs[STEMS.index("vocals")] for value in lufs])
        print(f"{song.name:20}", *(f"{value:8.1f}" for value in apart[-1]))
    print(f"{'median':20}", *(f"{median(column):8.1f}" for column in zip(*apart, strict=True)))


if __name__ == "__main__":
    main()
