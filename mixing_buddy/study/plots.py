"""Pictures of what people said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixing_buddy.plotting import new_figure, to_png
from mixing_buddy.study.abx import needed_correct

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
# From one end of a scale to the other through grey.
_STEPS = ("#b2182b", "#ef8a62", "#d0d0d0", "#67a9cf", "#2166ac")


def plot_means(found: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the mean of every system and question with its interval.

    Args:
        found: see `means` in `analysis`.

    Returns:
        A PNG.
    """
    questions = list(dict.fromkeys(row["question"] for row in found))
    systems = sorted({row["system"] for row in found})
    figure = new_figure(7.4, 1.4 + len(questions) * (0.22 + 0.16 * len(systems)))
    axes = figure.subplots()
    for index, system in enumerate(systems):
        rows = {row["question"]: row for row in found if row["system"] == system}
        offset = 0.7 * ((index + 0.5) / len(systems) - 0.5)
        places = [questions.index(name) + offset for name in rows]
        values = np.array([row["value"] for row in rows.values()])
        ends = np.array([row["interval"] or (row["value"],) * 2 for row in rows.values()])
        # A percentile interval need not hold the figure itself; a bar can't start beyond it.
        bars = np.maximum(np.abs(ends - values[:, np.newaxis]).T, 0.0)
        axes.errorbar(
            values, places, xerr=bars, fmt="o", color=_COLOURS[index % len(_COLOURS)],
            capsize=3, markersize=5, label=system,
        )  # fmt: skip
    axes.set_yticks(range(len(questions)), [_words(name) for name in questions])
    axes.set_ylim(len(questions) - 0.5, -0.5)
    axes.set_xlim(0.9, 5.1)
    axes.set_xticks(range(1, 6))
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("mean rating, 95 % interval over participants and items")
    figure.legend(loc="outside upper center", ncols=min(len(systems), 4), frameon=False)
    return to_png(figure)


def plot_answers(ratings: pd.DataFrame, scale: Sequence[str]) -> bytes:
    """Draw how often each answer was given, by question and system; a PNG."""
    systems = sorted(ratings["system"].unique())
    found = ratings.groupby(["question", "system"]).indices
    asked = ratings["question"].unique()
    keys = {
        key: found[key] for name in asked for system in systems if (key := (name, system)) in found
    }
    figure = new_figure(7.4, 1.5 + 0.3 * len(keys))
    axes = figure.subplots()
    left = np.zeros(len(keys))
    for step, value in enumerate(scale):
        shares = [
            100 * (ratings["value"].to_numpy()[at] == float(value)).mean() for at in keys.values()
        ]
        colour = _STEPS[round(step * (len(_STEPS) - 1) / max(len(scale) - 1, 1))]
        axes.barh(range(len(keys)), shares, left=left, color=colour, label=value)
        left += shares
    axes.set_yticks(range(len(keys)), [f"{_words(name)}: {system}" for name, system in keys])
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of ratings (%)")
    figure.legend(loc="outside upper center", ncols=len(scale), frameon=False)
    return to_png(figure)


def plot_abx(abx: pd.DataFrame) -> bytes:
    """Draw how many trials participants got right at each level, beside what is needed; a PNG."""
    levels = sorted(abx["level_db"].unique(), reverse=True)
    figure = new_figure(3.7 * len(levels), 2.8)
    for axes, level_db in zip(
        figure.subplots(1, len(levels), squeeze=False)[0], levels, strict=True
    ):
        rows = abx[abx["level_db"] == level_db]
        num_trials = int(rows["num_trials"].max())
        axes.hist(rows["num_correct"], bins=np.arange(num_trials + 2) - 0.5, color=_COLOURS[0])
        axes.axvline(num_trials / 2, color="#999999", linestyle=":", label="guessing")
        passing = needed_correct(num_trials)
        if passing is not None:
            axes.axvline(passing - 0.5, color=_COLOURS[1], linestyle="--", label="heard from here")
        axes.set_title(f"{level_db:g} dB")
        axes.set_xlabel(f"right of {num_trials}")
        axes.yaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].set_ylabel("participants")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2, frameon=False)
    return to_png(figure)


def plot_judge(
    judge: pd.DataFrame, people: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> bytes:
    """Draw a judge's scores against those of people, an answer a dot.

    Args:
        judge: scores, see `Judge`.
        people: see `people_scores`.
        pairs: criterion and question of each panel.

    Returns:
        A PNG.
    """
    columns = min(len(pairs), 3)
    num_rows = -(-len(pairs) // columns)
    figure = new_figure(2.9 * columns, 0.4 + 2.7 * num_rows)
    rng = np.random.default_rng(0)
    all_axes = figure.subplots(num_rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(pairs) :]:
        axes.remove()
    for axes, (criterion, question) in zip(all_axes, pairs, strict=False):
        both = judge[judge["question"] == criterion].merge(
            people[people["question"] == question],
            on=["item", "system"],
            suffixes=("_judge", "_people"),
        )
        for index, (system, rows) in enumerate(both.groupby("system")):
            # Scores are whole numbers: a little aside, dots don't cover one another.
            aside = rng.uniform(-0.08, 0.08, len(rows))
            axes.plot(
                rows["value_judge"] + aside, rows["value_people"], "o", markersize=4, alpha=0.7,
                color=_COLOURS[index % len(_COLOURS)], label=system,
            )  # fmt: skip
        axes.set_xlabel(f"judge: {_words(criterion)}")
        axes.set_ylabel(f"people: {_words(question)}")
        axes.grid(linewidth=0.3)
    handles = all_axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4, frameon=False)
    return to_png(figure)


def _words(name: str) -> str:
    return name.replace("_", " ")
