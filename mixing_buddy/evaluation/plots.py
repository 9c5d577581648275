"""Pictures of an evaluation, from its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.plotting import new_figure, to_png

# Okabe and Ito's colours, which colour-blind people can tell apart.
_MODEL, _CEILING, _PLAIN = "#0072B2", "#D55E00", "#999999"
_COLOURS = {
    "model": _MODEL,
    "ceiling": _CEILING,
    "constant: no change": _PLAIN,
    "target only": "#009E73",
}


def plot_systems(
    values: Mapping[str, tuple[float, Sequence[float] | None]], label: str, own: Sequence[str]
) -> bytes:
    """Draw a figure of several systems with its intervals.

    Args:
        values: by name, figure and interval.
        label: what it is, with its unit.
        own: names of those that stand out.

    Returns:
        A PNG.
    """
    figure = new_figure(7.2, 0.9 + 0.32 * len(values))
    axes = figure.add_subplot()
    for place, (name, (value, interval)) in enumerate(values.items()):
        colour = _MODEL if name in own else _CEILING if "ceiling" in name else _PLAIN
        axes.barh(place, value, height=0.62, color=colour, alpha=0.35)
        end = value
        if interval:
            axes.plot(interval, (place, place), color=colour, linewidth=2)
            end = max(value, interval[1])
        axes.annotate(
            f"{value:.3g}", (end, place), (5, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.margins(x=0.09)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    return to_png(figure)


def plot_confusion(confusion: Mapping[str, Any]) -> bytes:
    """Draw what was answered where what was right, as shares of the lines, with counts."""
    counts = np.array(confusion["counts"], dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = 2.2 + 0.72 * counts.shape[1]
    figure = new_figure(width, max(0.6 * width, 1.3 + 0.42 * counts.shape[0]))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for line, column in np.argwhere(counts > 0):
        axes.text(
            column, line, f"{counts[line, column]:.0f}", ha="center", va="center", fontsize="small",
            color="white" if shares[line, column] > 0.55 else "black",
        )  # fmt: skip
    axes.set_xticks(
        range(counts.shape[1]), [name.replace(" ", "\n", 1) for name in confusion["answered"]],
        fontsize="small",
    )  # fmt: skip
    axes.set_yticks(range(counts.shape[0]), confusion["truth"], fontsize="small")
    axes.set_xlabel("answered")
    axes.set_ylabel("right", labelpad=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return to_png(figure)


def plot_by_gain(by_gain: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Draw joint accuracy against the injected gain, of each system."""
    figure = new_figure(7.2, 3.8)
    axes = figure.add_subplot()
    for offset, (system, ranges) in enumerate(by_gain.items()):
        places = np.arange(len(ranges)) + 0.12 * offset
        points = [(each["joint"], each["interval"]) for each in ranges]
        _draw_points(axes, places, points, system, scale=100)
    longest = max(by_gain.values(), key=len)
    axes.set_xticks(range(len(longest)), [_gain_name(each) for each in longest], fontsize="small")
    axes.set_ylim(0, 104)
    axes.set_xlabel("gain injected on the target (dB)")
    axes.set_ylabel("joint accuracy (%)")
    axes.grid(axis="y", linewidth=0.3)
    _legend(figure, axes)
    return to_png(figure)


def plot_errors(
    systems: Mapping[str, Mapping[str, Mapping[str, Any]]],
    intervals: Mapping[str, Mapping[str, Any]],
    label: str,
) -> bytes:
    """Draw the error of changes in dB, and joint accuracy, by groups of rows.

    Args:
        systems: by name, then group, the measures `joint` and `changed_error_db`.
        intervals: likewise.
        label: what the groups are.

    Returns:
        A PNG.
    """
    figure = new_figure(7.6, 3.4)
    for axes, measure, name, scale in zip(
        figure.subplots(1, 2),
        ("joint", "changed_error_db"),
        ("stems and directions right (%)", "error of the stems to be moved (dB)"),
        (100, 1),
        strict=True,
    ):
        for offset, (system, groups) in enumerate(systems.items()):
            points = [
                (groups[group][measure], intervals[system][group][measure]) for group in groups
            ]
            _draw_points(axes, np.arange(len(points)) + 0.1 * offset, points, system, scale=scale)
        groups = next(iter(systems.values()))
        axes.set_xticks(
            range(len(groups)), [each.removesuffix(" dB") for each in groups], fontsize="small"
        )
        axes.set_ylim(bottom=0, top=104 if scale == 100 else None)
        axes.set_xlabel(label)
        axes.set_ylabel(name, fontsize="small")
        axes.grid(axis="y", linewidth=0.3)
    _legend(figure, figure.axes[0])
    return to_png(figure)


def plot_reliability(systems: Mapping[str, Mapping[str, Any]], happened: str) -> bytes:
    """Draw how often what was thought probable happened.

    Args:
        systems: by name what `reliability` returned.
        happened: what it is about.

    Returns:
        A PNG.
    """
    figure = new_figure(5.6, 4.4)
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color="black", linewidth=0.6, linestyle=":", label="calibrated")
    for system, found in systems.items():
        bins = found["bins"]
        points = [(each["share"], each["interval"]) for each in bins]
        label = f"{system}: ECE {100 * found['error']:.1f} %"
        _draw_points(axes, [each["mean"] for each in bins], points, system, label=label)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("probability given")
    axes.set_ylabel(f"share where {happened}")
    axes.grid(linewidth=0.3)
    _legend(figure, axes)
    return to_png(figure)


def plot_risk_coverage(systems: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draw the share of wrong answers where only the surest are given; by name of the system."""
    figure = new_figure(5.6, 4.4)
    axes = figure.add_subplot()
    for system, curve in systems.items():
        coverages, risks = np.array(curve["points"]).T
        axes.plot(
            100 * coverages, 100 * risks, color=_COLOURS.get(system, _PLAIN),
            label=f"{system}: area {100 * curve['area']:.1f} %",
        )  # fmt: skip
    axes.set_xlim(0, 101)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage: rows answered (%)")
    axes.set_ylabel("risk: wrong among them (%)")
    axes.grid(linewidth=0.3)
    _legend(figure, axes)
    return to_png(figure)


def _draw_points(
    axes,
    places: Sequence[float],
    points: Sequence[tuple[float | None, Sequence[float] | None]],
    system: str,
    *,
    scale: float = 1.0,
    label: str | None = None,
) -> None:
    """Draw figures with their intervals, joined by a line; what is None is left out."""
    kept = [(x, y, ends) for x, (y, ends) in zip(places, points, strict=True) if y is not None]
    if not kept:
        return
    colour = _COLOURS.get(system, _PLAIN)
    axes.plot(
        [x for x, _, _ in kept], [scale * y for _, y, _ in kept], marker="o", markersize=4,
        color=colour, linewidth=1.2, label=label or system,
    )  # fmt: skip
    for x, _, ends in kept:
        if ends:
            axes.plot((x, x), [scale * end for end in ends], color=colour, linewidth=2, alpha=0.4)


def _legend(figure, axes) -> None:
    """One legend above everything, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", frameon=False, fontsize="small",
        ncols=max(1, min(len(labels), int(figure.get_figwidth() / 2.1))),
    )  # fmt: skip


def _gain_name(ends: Mapping[str, Any]) -> str:
    if ends["low_db"] < 0 < ends["high_db"]:
        return "balanced"
    return f"{ends['low_db']:+g}\nto {ends['high_db']:+g}"
