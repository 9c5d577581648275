"""The usual level of vocals, drums, bass and the rest in a mix, from The Mix Evaluation Dataset.

Reads ``tracks.csv`` (MixologyDB's transcription): each track's raw loudness and fader gain. The
power sum of loudness plus gain over a group's tracks is the group's level in that engineer's mix.

Usage:
    python benchmarks/stem_balance_convention.py ../shared/data/mix-evaluation/tracks.csv

Bus gains, automation and plug-ins are not in the data, so levels are of faders alone.
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
    path = parser.parse_args().path
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


if __name__ == "__main__":
    main()
