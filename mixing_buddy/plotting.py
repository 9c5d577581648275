"""Figures as PNG, drawn without a display."""

from __future__ import annotations

import io

from mixing_buddy.errors import MixingBuddyError


def new_figure(width_in: float, height_in: float):
    """Make an empty matplotlib figure.

    Args:
        width_in: width in inches.
        height_in: height in inches.

    Raises:
        MixingBuddyError: matplotlib is not installed.
    """
    try:
        # A figure without pyplot needs no display and keeps no state.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MixingBuddyError(
            'Plots need matplotlib: pip install "mixing-buddy[plots]".'
        ) from error
    return Figure(figsize=(width_in, height_in), layout="constrained")


def to_png(figure, *, dpi: int = 130) -> bytes:
    """Render a figure, its axes without the frame's upper and right side."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
