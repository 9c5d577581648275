"""Pictures of what engineers agree on and how far they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixing_buddy.consensus.estimate import (
    MEAN,
    Consensus,
    EngineerBalance,
    group_by_song,
    relative_levels,
)
from mixing_buddy.consensus.spread import Estimate, Spread
from mixing_buddy.plotting import new_figure, to_png
from mixing_buddy.stems import STEMS

#: More songs than this make no readable picture; those with most engineers are shown.
MAX_SONGS = 30

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = {"bass": "#0072B2", "drums": "#D55E00", "other": "#666666", "vocals": "#009E73"}
_ACCENT = "#CC79A7"


def plot_levels(balances: Sequence[EngineerBalance], agreed: Sequence[Consensus]) -> bytes:
    """Draw every engineer's level of each stem, with each song's consensus and range.

    Args:
        balances: what `agreed` was found from.
        agreed: consensus of each song, all with one anchor.

    Returns:
        A PNG.
    """
    anchor = agreed[0].anchor
    songs = group_by_song(balances)
    shown = sorted(agreed, key=lambda one: len(songs[one.song]), reverse=True)[:MAX_SONGS]
    stems = [stem for stem in STEMS if stem != anchor]
    figure = new_figure(2.6 + 3.0 * len(stems), 1.6 + 0.34 * len(shown))
    all_axes = figure.subplots(1, len(stems), sharex=True, sharey=True)
    for axes, stem in zip(all_axes, stems, strict=True):
        for row, one in enumerate(shown):
            if stem not in one.stems:
                continue
            found = one.stems[stem]
            if found.low_db is not None:
                axes.plot(
                    (found.low_db, found.high_db), (row, row), color=_COLOURS[stem], linewidth=8,
                    alpha=0.3, solid_capstyle="butt", label="half of the engineers",
                )  # fmt: skip
            for inside in (True, False):
                needed = {stem, *(one.stems if anchor == MEAN else [anchor])}
                levels = [
                    relative_levels(balance.levels_db, anchor)[stem]
                    for balance in songs[one.song]
                    if (balance.engineer not in one.outliers) == inside
                    and needed <= set(balance.levels_db)
                ]
                axes.plot(
                    levels, [row] * len(levels), linestyle="none", color=_COLOURS[stem],
                    marker="o" if inside else "x", markersize=3.5 if inside else 5.5, alpha=0.8,
                    label="an engineer" if inside else "set aside",
                )  # fmt: skip
            axes.plot(
                [found.gain_db], [row], marker="|", markersize=12, markeredgewidth=2,
                linestyle="none", color="black", label="median",
            )  # fmt: skip
        axes.set_title(stem, color=_COLOURS[stem], fontweight="bold")
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.grid(axis="x", linewidth=0.3)
        axes.set_xlabel(f"level relative to the {_words(anchor)} (dB)")
    all_axes[0].set_yticks(
        range(len(shown)), [_row_label(one, len(songs[one.song])) for one in shown]
    )
    all_axes[0].set_ylim(len(shown) - 0.4, -0.6)
    _legend(figure, all_axes)
    return to_png(figure)


def plot_pairs(spread: Spread, kept: Spread, default_spread_db: float) -> bytes:
    """Draw how far engineers differ in each stem against another.

    Args:
        spread: from all mixes.
        kept: from those that are left when outlying engineers are set aside.
        default_spread_db: natural spread of generated songs, to compare with.

    Returns:
        A PNG.
    """
    figure = new_figure(9.0, 4.4)
    axes = figure.subplots()
    pairs = list(spread.pairs)
    rng = np.random.default_rng(0)
    for column, pair in enumerate(pairs):
        songs = list(spread.pairs[pair].song_iqr_db.values())
        axes.plot(
            column + 0.28 + rng.uniform(-0.06, 0.06, len(songs)), songs, "o", markersize=3.5,
            color="#999999", alpha=0.8, label="one song: IQR / 1.35",
        )  # fmt: skip
    for offset, marker, colour, label, values in (
        (-0.24, "o", "#0072B2", "all mixes: SD", [spread.pairs[p].sd_db for p in pairs]),
        (-0.08, "s", "#56B4E9", "all mixes: robust", [spread.pairs[p].robust_db for p in pairs]),
        (0.08, "D", "#D55E00", "outliers set aside: SD", [kept.pairs[p].sd_db for p in pairs]),
    ):
        _bars(axes, np.arange(len(pairs)) + offset, values, marker, colour, label)
    axes.axhline(
        default_spread_db * np.sqrt(2), color=_ACCENT, linestyle="--",
        label=f"generated songs, {default_spread_db:g} dB a stem",
    )  # fmt: skip
    axes.set_xticks(range(len(pairs)), [f"{a} against\n{b}" for a, b in pairs])
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("how far engineers of one song differ\nin relative level (dB)")
    axes.grid(axis="y", linewidth=0.3)
    _legend(figure, [axes])
    return to_png(figure)


def plot_stems(spread: Spread, kept: Spread, default_spread_db: float) -> bytes:
    """Draw the natural spread of each stem that the pairs imply; arguments as for `plot_pairs`."""
    figure = new_figure(7.6, 4.2)
    axes = figure.subplots()
    series = (
        ("o", "#0072B2", "all mixes: SD", spread.stem_sd_db, spread.mean_sd_db),
        ("s", "#56B4E9", "all mixes: robust", spread.stem_robust_db, spread.mean_robust_db),
        ("D", "#D55E00", "outliers set aside: SD", kept.stem_sd_db, kept.mean_sd_db),
        ("^", "#E69F00", "outliers set aside: robust", kept.stem_robust_db, kept.mean_robust_db),
    )
    for index, (marker, colour, label, stems, mean) in enumerate(series):
        values = [*(stems[stem] for stem in STEMS), mean]
        places = np.arange(len(values)) + 0.15 * (index - 1.5)
        _bars(axes, places, values, marker, colour, label)
    axes.axvline(len(STEMS) - 0.5, color="#999999", linewidth=0.6)
    axes.axhline(
        default_spread_db, color=_ACCENT, linestyle="--",
        label=f"generated songs, {default_spread_db:g} dB",
    )  # fmt: skip
    axes.set_xticks(range(len(STEMS) + 1), [*STEMS, "all stems\n(root mean square)"])
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("natural spread of a stem's level (dB)")
    axes.grid(axis="y", linewidth=0.3)
    _legend(figure, [axes])
    return to_png(figure)


def _bars(
    axes, places: np.ndarray, values: Sequence[Estimate], marker: str, colour: str, label: str
) -> None:
    """Draw figures with their intervals."""
    middle = np.array([one.value for one in values])
    # A percentile interval need not hold the figure itself; a bar can't start beyond it.
    below = np.maximum(middle - [one.low for one in values], 0.0)
    above = np.maximum(np.array([one.high for one in values]) - middle, 0.0)
    axes.errorbar(
        places, middle, yerr=(below, above), fmt=marker, color=colour, capsize=2, markersize=5,
        linewidth=1.2, label=label,
    )  # fmt: skip


def _legend(figure, all_axes) -> None:
    """One legend above everything, each entry once."""
    entries: Mapping[str, object] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        entries.values(), entries.keys(), loc="outside upper center",
        ncols=max(1, min(len(entries), int(figure.get_figwidth() / 2.2))),
        frameon=False, fontsize="small",
    )  # fmt: skip


def _num_engineers(one: Consensus) -> int:
    return max(found.num_engineers for found in one.stems.values())


def _row_label(one: Consensus, num_mixes: int) -> str:
    name = one.song if len(one.song) <= 28 else f"{one.song[:27]}…"
    kept = _num_engineers(one)
    return f"{name} ({kept} of {num_mixes})" if kept < num_mixes else f"{name} ({kept})"


def _words(anchor: str) -> str:
    return "mean of stems" if anchor == MEAN else anchor
