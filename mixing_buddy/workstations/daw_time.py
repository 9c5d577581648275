"""Time in DAWprojects: beats and seconds, the tempo between them, and scopes nested in each other.

Terms are those of the format's reference (https://github.com/bitwig/dawproject): a timeline counts
in beats or seconds, its own or else its parent's; a clip shows a part of its content, which may
count differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Tempo where a project names none.
DEFAULT_BPM = 120.0

_GRID_BEATS = 1.0 / 16.0
_MAX_BEATS = 100_000.0


class TempoMap:
    """Where beats lie in time.

    Args:
        bpm: tempo where nothing else is said, in beats a minute.
        points: changes as `(beat, bpm, holds)`; a tempo that doesn't hold moves in a line to the
            next one.
    """

    def __init__(self, bpm: float, points: Sequence[tuple[float, float, bool]] = ()):
        points = sorted(point for point in points if 0.0 <= point[0] <= _MAX_BEATS)
        self._beats = np.zeros(1)
        self._bpm = points[-1][1] if points else bpm
        if points:
            last = points[-1][0]
            self._beats = np.append(np.arange(0.0, last, _GRID_BEATS), last)
        middles = (self._beats[:-1] + self._beats[1:]) / 2
        steps = 60.0 / _tempo_at(middles, points) * np.diff(self._beats) if points else []
        self._seconds = np.concatenate([[0.0], np.cumsum(steps)])

    def to_seconds(self, beat: float) -> float:
        """Time of a beat, in seconds."""
        if beat >= self._beats[-1] or len(self._beats) == 1:
            return float(self._seconds[-1] + (beat - self._beats[-1]) * 60.0 / self._bpm)
        return float(np.interp(beat, self._beats, self._seconds))

    def to_beats(self, second: float) -> float:
        """Beat at a time in seconds."""
        if second >= self._seconds[-1] or len(self._seconds) == 1:
            return float(self._beats[-1] + (second - self._seconds[-1]) * self._bpm / 60.0)
        return float(np.interp(second, self._seconds, self._beats))


@dataclass(frozen=True)
class Scope:
    """How a timeline's own time lies on the arrangement.

    Args:
        unit: "beats" or "seconds", what the timeline counts in.
        to_s: from its own time to the arrangement's, in seconds.
        start_s: where on the arrangement it begins to be heard, in seconds.
        end_s: where it ceases to be heard, in seconds.
    """

    unit: str
    to_s: Callable[[float], float]
    start_s: float = 0.0
    end_s: float = float("inf")


def enter(scope: Scope, unit: str, tempo: TempoMap, time: float, inner_time: float) -> Scope:
    """The scope of content that begins inside another scope.

    Args:
        scope: where the clip stands.
        unit: what its content counts in.
        tempo: the tempo of the arrangement.
        time: where in `scope` the clip begins.
        inner_time: the time of the content that sounds there.

    Returns:
        The content's scope, heard as long as the outer one.
    """
    begin_s = scope.to_s(time)
    if unit == "seconds":
        return Scope(unit, lambda t: begin_s + (t - inner_time), scope.start_s, scope.end_s)
    begin_beats = tempo.to_beats(begin_s)
    return Scope(
        unit,
        lambda t: tempo.to_seconds(begin_beats + (t - inner_time)),
        scope.start_s,
        scope.end_s,
    )


def _tempo_at(beats: np.ndarray, points: Sequence[tuple[float, float, bool]]) -> np.ndarray:
    """Tempo at each of some beats, in beats a minute."""
    tempo = np.full(len(beats), points[0][1])
    for (begin, bpm, holds), (end, next_bpm, _) in pairwise([*points, (_MAX_BEATS, 0.0, True)]):
        inside = (beats >= begin) & (beats < end)
        is_last = end == _MAX_BEATS
        ramp = 0.0 if holds or is_last else (next_bpm - bpm) / max(end - begin, _GRID_BEATS)
        tempo[inside] = bpm + ramp * (beats[inside] - begin)
    return tempo
