"""Advice on one song as a self-contained HTML page, with players."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mixing_buddy.advising.applying import advised_change_db, fit_full_scale, match_loudness
from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.exporting import stream_mix
from mixing_buddy.advising.inputs import SongFiles
from mixing_buddy.advising.iterating import Iteration
from mixing_buddy.advising.reporting import (
    change_words,
    clock,
    describe,
    is_abstained,
    timeline,
)
from mixing_buddy.errors import OutputError
from mixing_buddy.files import check_replaceable, write_whole
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import STEMS

#: Blocks of 10 s that the players play.
EXCERPT_BLOCKS = 3

_BLOCK_S = 10
_PLAYER_RATE = 44_100

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = {
    "bass": "#0072B2",
    "drums": "#D55E00",
    "other": "#767676",
    "vocals": "#009E73",
    "mix": "#CC79A7",
}

# The chart's size and margins in units of its view box.
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960.0, 260.0, 44.0, 10.0, 24.0


@dataclass(frozen=True)
class Line:
    """A stem's levels in the chart.

    Args:
        name: the stem, or "mix".
        colour: in which it is drawn.
        paths: points of each stretch without a gap, as SVG writes them.
        after: the same where the advised change would put it; empty for no change.
    """

    name: str
    colour: str
    paths: Sequence[str]
    after: Sequence[str]


def write_page(
    song: SongFiles,
    advice: SongAdvice,
    out: Path,
    *,
    faders_db: Mapping[str, float] | None = None,
    abstain_below: float = 0.0,
    iteration: Iteration | None = None,
) -> None:
    """Write the page, complete or not at all.

    Args:
        song: what was heard.
        advice: the advice on it, with levels measured.
        out: HTML file; it needs no other.
        faders_db: gains in dB that stems were moved by before listening.
        abstain_below: confidence below which nothing is advised.
        iteration: what came of listening again; the second player then plays its end.

    Raises:
        OutputError: the file can't be written.
    """
    from jinja2 import Environment

    faders_db = dict(faders_db or {})
    abstained = is_abstained(advice, abstain_below)
    after_db: dict[str, float] = {}
    if iteration is not None:
        after_db = dict(iteration.gains_db)
    elif not abstained and not song.is_mix and (change_db := advised_change_db(advice)):
        after_db = {stem: faders_db.get(stem, 0.0) + change_db.get(stem, 0.0) for stem in STEMS}
    if all(after_db.get(stem, 0.0) == faders_db.get(stem, 0.0) for stem in STEMS):
        after_db = {}
    moments = timeline(advice)
    start_block = _excerpt_start(advice)
    players = _players(song, faders_db, after_db, start_block)
    moved = {stem: after_db.get(stem, 0.0) - faders_db.get(stem, 0.0) for stem in STEMS}
    values: dict[str, Any] = {
        "song": song,
        "title": song.path.stem if song.is_mix else Path(os.path.abspath(song.path)).name,
        "headline": describe(advice, abstain_below=abstain_below)[0],
        "sentences": describe(advice, abstain_below=abstain_below)[1:],
        "kind": _kind(advice, abstained),
        "faders_db": {stem: db for stem, db in faders_db.items() if db},
        "after_db": {stem: db for stem, db in moved.items() if after_db and db},
        "lines": _lines(advice, moved if after_db else {}),
        "ticks": _ticks(advice),
        "size": (_WIDTH, _HEIGHT, _LEFT, _HEIGHT - _BOTTOM),
        "moments": moments,
        "advice": advice,
        "iteration": iteration,
        "players": players,
        "excerpt": f"{clock(start_block * _BLOCK_S)} on",
        "clock": clock,
        "change_words": change_words,
        "kind_of": lambda each: _kind(each, False),
    }
    source = files("mixing_buddy").joinpath("pages", "advice.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(source).render(values)
    write_whole(out, text)


def check_page(out: Path, song: SongFiles) -> None:
    """Make sure that a page may be written there, before work is put into it.

    Raises:
        OutputError: it would replace a file of the song, a folder or a device.
    """
    check_replaceable(out)
    if any(out.exists() and out.samefile(track.path) for track in song.tracks):
        raise OutputError(f"{out}: this would replace a file of the song: give another name.")


def _kind(advice, abstained: bool) -> str:
    if abstained or advice.direction is None:
        return "unsure"
    return "balanced" if advice.direction is Direction.NONE else advice.direction.value


def _excerpt_start(advice: SongAdvice) -> int:
    """Index of the block from which on most windows agree with the song's advice."""
    agreeing = {round(m.start_s / _BLOCK_S): m.agrees for m in timeline(advice)}
    starts = sorted(agreeing)
    return max(
        starts,
        key=lambda start: (
            sum(agreeing.get(start + i, False) for i in range(EXCERPT_BLOCKS)),
            sum(start + i in agreeing for i in range(EXCERPT_BLOCKS)),
            -start,
        ),
    )


def _players(
    song: SongFiles,
    before_db: Mapping[str, float],
    after_db: Mapping[str, float],
    start_block: int,
) -> list[tuple[str, str]]:
    """Name and sound, as a data address, of the mix before and, where it is another, after."""
    num_channels = min(2, max(track.num_channels for track in song.tracks))
    mixes = []
    for gains_db in [before_db, after_db] if after_db else [before_db]:
        gains = {track.path.name: gains_db.get(track.stem or "", 0.0) for track in song.tracks}
        most = max(track.num_channels for track in song.tracks)
        blocks = stream_mix(song, gains, _PLAYER_RATE, most, skip_blocks=start_block)
        with closing(blocks):
            mix = np.concatenate(list(islice(blocks, EXCERPT_BLOCKS)), axis=1)
        # A browser plays two channels; more are averaged.
        mixes.append(mix if most <= 2 else mix.mean(axis=0, keepdims=True).repeat(num_channels, 0))
    mixes, _ = fit_full_scale(match_loudness(mixes, _PLAYER_RATE))
    return [(name, _mp3(mix)) for name, mix in zip(("before", "after"), mixes, strict=False)]


def _mp3(mix: np.ndarray) -> str:
    """Encode for a browser: MP3, since not every one of them plays Ogg."""
    buffer = io.BytesIO()
    soundfile.write(buffer, mix.T, _PLAYER_RATE, format="MP3")
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _scale(advice: SongAdvice) -> tuple[float, float, float]:
    """Lowest and highest level of the chart in LUFS, and the end of its time axis in seconds."""
    values = [lufs for each in advice.levels for lufs in each.lufs.values()]
    low = 10.0 * np.floor((min(values, default=-40.0) - 6.0) / 10.0)
    high = 10.0 * np.ceil((max(values, default=-10.0) + 6.0) / 10.0)
    end_s = max((each.start_s + each.duration_s for each in advice.levels), default=10.0)
    return float(low), float(high), end_s


def _ticks(advice: SongAdvice) -> dict[str, list[tuple[float, str]]]:
    """Places and labels of the chart's grid."""
    low, high, end_s = _scale(advice)
    step_s = next(s for s in (10, 30, 60, 120, 300, 600, 1200, 3600) if end_s / s <= 12)
    times = np.arange(0.0, end_s + 0.1, step_s)
    levels = np.arange(low, high + 1.0, 10.0)
    return {
        "x": [(_x(float(t), end_s), clock(float(t))) for t in times],
        "y": [(_y(float(v), low, high), f"{v:g}") for v in levels],
    }


def _lines(advice: SongAdvice, moved_db: Mapping[str, float]) -> list[Line]:
    low, high, end_s = _scale(advice)
    lines = []
    for name in (*STEMS, "mix"):
        stretches: list[list[tuple[float, float, float]]] = []
        last_end_s = -1.0
        for each in advice.levels:
            if name in each.lufs:
                if each.start_s != last_end_s:
                    stretches.append([])
                last_end_s = each.start_s + each.duration_s
                stretches[-1].append((each.start_s, last_end_s, each.lufs[name]))
        if stretches:
            change_db = moved_db.get(name, 0.0)
            after = _paths(stretches, change_db, low, high, end_s) if change_db else []
            paths = _paths(stretches, 0.0, low, high, end_s)
            lines.append(Line(name, _COLOURS[name], paths, after))
    return lines


def _paths(
    stretches: Sequence[Sequence[tuple[float, float, float]]],
    change_db: float,
    low: float,
    high: float,
    end_s: float,
) -> list[str]:
    """A step for each window, as the level is one figure for all of it."""
    return [
        " ".join(
            f"{_x(at_s, end_s):.1f},{_y(lufs + change_db, low, high):.1f}"
            for start, end, lufs in stretch
            for at_s in (start, end)
        )
        for stretch in stretches
    ]


def _x(time_s: float, end_s: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - 20.0) * time_s / end_s


def _y(lufs: float, low: float, high: float) -> float:
    share = (min(max(lufs, low), high) - low) / (high - low)
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share
