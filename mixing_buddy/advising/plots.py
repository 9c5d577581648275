"""Pictures of a song's levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixing_buddy.plotting import new_figure, to_png

FRAME_S = 0.5
#: What is quieter counts as silence in the picture.
FLOOR_DBFS = -60.0

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = {"bass": "#0072B2", "drums": "#D55E00", "other": "#666666", "vocals": "#009E73"}


def levels_over_time(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Measure RMS level in frames of `FRAME_S`.

    Args:
        audio: `(num_channels, num_samples)`, full scale at 1.0.
        sample_rate: in Hz.

    Returns:
        Level in dBFS of each full frame (one at least), `(num_frames,)`, `FLOOR_DBFS` at the least.
    """
    size = min(round(FRAME_S * sample_rate), audio.shape[1])
    num_frames = audio.shape[1] // size
    frames = audio[:, : num_frames * size].reshape(len(audio), num_frames, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=(0, 2))
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_DBFS / 10.0)))


def plot_song_levels(
    levels_dbfs: Mapping[str, np.ndarray], changes_db: Mapping[str, float] | None = None
) -> bytes:
    """Draw the level of each stem over time, and where an advised change would put it.

    Args:
        levels_dbfs: level of each stem (or of the mix) in frames of `FRAME_S`, `(num_frames,)`.
        changes_db: advised change in dB of some of them.

    Returns:
        A PNG.
    """
    changes_db = changes_db or {}
    figure = new_figure(5.6, 0.6 + 1.0 * len(levels_dbfs))
    all_axes = np.atleast_1d(figure.subplots(len(levels_dbfs), 1, sharex=True, sharey=True))
    for axes, (name, levels) in zip(all_axes, levels_dbfs.items(), strict=True):
        time_s = (np.arange(len(levels)) + 0.5) * FRAME_S
        colour = _COLOURS.get(name, "#444444")
        axes.fill_between(time_s, FLOOR_DBFS, levels, color=colour, alpha=0.25, linewidth=0)
        axes.plot(time_s, levels, color=colour, linewidth=1.6)
        title = name
        if change_db := changes_db.get(name):
            sounding = np.where(levels > FLOOR_DBFS, levels + change_db, np.nan)
            axes.plot(time_s, sounding, color=colour, linewidth=1.6, linestyle=(0, (3, 1.5)))
            title += f"   (dashed: after {change_db:+.1f} dB)"
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=colour, pad=3)
        axes.set_ylim(FLOOR_DBFS, 0.0)
        axes.set_yticks([-50, -25, 0])
        axes.tick_params(labelsize=9)
        axes.grid(axis="y", alpha=0.25)
    all_axes[-1].set_xlabel("seconds", fontsize=9)
    figure.supylabel("RMS level, dBFS", fontsize=9)
    return to_png(figure)
