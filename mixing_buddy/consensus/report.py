"""A report in Markdown: what engineers agree on, how far they differ, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np

from mixing_buddy.consensus.estimate import (
    MEAN,
    MIN_SCALE_DB,
    OUTLIER_DISTANCE,
    Consensus,
    ConsensusError,
    consensus_by_song,
    find_outliers,
    group_by_song,
    robust_distances,
)
from mixing_buddy.consensus.plots import plot_levels, plot_pairs, plot_stems
from mixing_buddy.consensus.sources import EngineerBalances
from mixing_buddy.consensus.spread import Estimate, measure_spread
from mixing_buddy.consensus.tables import write_consensus
from mixing_buddy.errors import OutputError
from mixing_buddy.files import open_to_replace, write_whole
from mixing_buddy.stems import STEMS


def write_report(
    source: EngineerBalances, out: str | Path, *, title: str, anchors: Sequence[str] = ("vocals",)
) -> list[Consensus]:
    """Find the consensus of every song and write tables and report.

    Everything is computed before the first file is written.

    Args:
        source: engineers' balances.
        out: folder for ``consensus.csv``, ``consensus.parquet``, ``report.md`` and its pictures.
        title: what the balances are from, for the heading.
        anchors: the tables have the consensus relative to each of these.

    Returns:
        The consensus of every song relative to every anchor.

    Raises:
        ConsensusError: no song has a consensus, or matplotlib is missing.
        OutputError: `out` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; name a folder for the report.")
    agreed: list[Consensus] = []
    parts = [f"# {title}: what engineers agree on", _summary(source)]
    pictures: dict[str, bytes] = {}
    for anchor in anchors:
        found, without = consensus_by_song(source.balances, anchor=anchor, quantity=source.quantity)
        if not found:
            raise ConsensusError(f"No song has a consensus. {next(iter(without.values()))}")
        agreed += found
        pictures[f"levels-{anchor}.png"] = plot_levels(source.balances, found)
        parts.append(_consensus_section(anchor, found, without))
    parts.append(_outlier_section(source))
    section, plots = _spread_section(source)
    parts.append(section)
    out.mkdir(parents=True, exist_ok=True)
    for name, png in (pictures | plots).items():
        with open_to_replace(out / name) as file:
            file.write(png)
    write_consensus(agreed, out / "consensus.csv")
    write_consensus(agreed, out / "consensus.parquet")
    write_whole(out / "report.md", "\n\n".join(parts) + "\n")
    return agreed


def without_outliers(source: EngineerBalances) -> EngineerBalances:
    """Leave out the engineers who would be set aside from their song's consensus."""
    kept = []
    for mixes in group_by_song(source.balances).values():
        outliers = find_outliers(mixes)
        kept += [balance for balance in mixes if balance.engineer not in outliers]
    return replace(source, balances=tuple(kept))


def _summary(source: EngineerBalances) -> str:
    songs = {balance.song for balance in source.balances}
    what = {
        "gain": "Figures are gains on each song's own stems.",
        "level": (
            "Figures are levels: loudness of the raw tracks plus fader gain, summed in power over "
            "the tracks of a stem. They rest on faders alone: gains of buses, plug-ins and "
            "automation change level too and are not in them."
        ),
    }[source.quantity]
    lines = [f"{len(source.balances)} mixes of {len(songs)} songs. {what}"]
    lines += [f"- {note}." for note in source.notes]
    return "\n".join(lines[:1] + [""] * bool(source.notes) + lines[1:])


def _consensus_section(anchor: str, found: Sequence[Consensus], without: Mapping[str, str]) -> str:
    relative = "the mean of the stems" if anchor == MEAN else f"the {anchor}"
    stems = [stem for stem in STEMS if stem != anchor]
    rows = [
        [
            _escape(one.song),
            *(_range(one, stem) for stem in stems),
            str(max(stem.num_engineers for stem in one.stems.values())),
            str(len(one.outliers)),
        ]
        for one in found
    ]
    lines = [
        f"## Consensus relative to {relative}",
        "",
        "Median and, in brackets, the range from the lower to the upper quartile, in dB.",
        "",
        _table(["song", *stems, "engineers", "set aside"], rows),
        "",
        f"![Level of each stem in each song](levels-{anchor}.png)",
    ]
    lines += ["", *(f"- No consensus: {_escape(reason)}" for reason in without.values())]
    return "\n".join(lines).rstrip()


def _outlier_section(source: EngineerBalances) -> str:
    rows = []
    for song, mixes in group_by_song(source.balances).items():
        distances = robust_distances(mixes)
        rows += [
            [_escape(song), _escape(engineer), f"{distances[engineer]:.1f}"]
            for engineer in find_outliers(mixes)
        ]
    rule = (
        "For each pair of stems the difference of their levels is compared with the median over "
        "the song's engineers, in units of the median absolute deviation (as a standard deviation, "
        f"at least {MIN_SCALE_DB:g} dB). Whose largest such distance exceeds {OUTLIER_DISTANCE:g} "
        "is set aside: always fewer than half of the engineers, and at least three stay."
    )
    table = _table(["song", "engineer", "distance"], rows) if rows else "Nobody."
    return f"## Engineers set aside\n\n{rule}\n\n{table}"


def _spread_section(source: EngineerBalances) -> tuple[str, dict[str, bytes]]:
    heading = "## How far engineers differ"
    try:
        spread = measure_spread(source.balances)
        kept = measure_spread(without_outliers(source).balances)
    except ConsensusError as error:
        return f"{heading}\n\nNot measured. {error}", {}
    default_db = _default_spread_db()
    pairs = [
        [
            f"{first} - {second}",
            str(pair.num_mixes),
            _interval(pair.sd_db),
            _interval(pair.robust_db),
            _interval(kept.pairs[first, second].sd_db),
            f"{np.median(list(pair.song_iqr_db.values())):.1f}",
        ]
        for (first, second), pair in spread.pairs.items()
    ]
    by_stem = (spread.stem_sd_db, spread.stem_robust_db, kept.stem_sd_db, kept.stem_robust_db)
    means = (spread.mean_sd_db, spread.mean_robust_db, kept.mean_sd_db, kept.mean_robust_db)
    stems = [[stem, *(_interval(found[stem]) for found in by_stem)] for stem in STEMS]
    stems.append(["all (root mean square)", *map(_interval, means)])
    pair_head = ["stem and anchor", "mixes", "SD", "robust", "SD, outliers set aside"]
    stem_head = ["stem", "SD", "robust", "SD, outliers set aside", "robust, outliers set aside"]
    text = f"""{heading}

Within songs only, pooled over {spread.num_songs} songs. SD: standard deviation. Robust: the same,
from the median difference between two engineers of one song. In brackets the middle 95 % when songs
are drawn anew; engineers who mixed several songs make it rather too narrow. Setting outliers aside
makes any spread smaller, taste or not. A song's own interquartile range over 1.35 comes out too low
with few engineers.

### One stem against another (dB)

{_table([*pair_head, "median song's IQR / 1.35"], pairs)}

![How far engineers differ in each pair of stems](spread-pairs.png)

### The natural spread of each stem (dB)

What each stem's own level varies by, if engineers move stems independently: the variance of a
difference is then the sum of two stems' variances.

{_table(stem_head, stems)}

![Natural spread of each stem](spread-stems.png)

`mixing-buddy generate-songs` varies each stem by {default_db:g} dB unless told otherwise."""
    plots = {
        "spread-pairs.png": plot_pairs(spread, kept, default_db),
        "spread-stems.png": plot_stems(spread, kept, default_db),
    }
    return text, plots


def _default_spread_db() -> float:
    from mixing_buddy.generated_songs import generate_songs

    return signature(generate_songs).parameters["spread_db"].default


def _range(one: Consensus, stem: str) -> str:
    if stem not in one.stems:
        return "-"
    found = one.stems[stem]
    if found.low_db is None:
        return f"{found.gain_db:+.1f}"
    return f"{found.gain_db:+.1f} ({found.low_db:+.1f} to {found.high_db:+.1f})"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
