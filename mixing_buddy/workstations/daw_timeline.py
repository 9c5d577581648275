"""The arrangement of a DAWproject, flattened: which part of which file sounds where on which track.

Timelines nest: lanes hold lanes and clips, a clip shows a part of its content (perhaps looped),
which is audio, audio under time warping, or clips again. See `daw_time` for the terms.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

from mixing_buddy.errors import ProjectError
from mixing_buddy.workstations.daw_time import DEFAULT_BPM, Scope, TempoMap, enter
from mixing_buddy.workstations.project import MAX_NUMBER, MAX_SPEED, MIN_SPEED, Clip

#: Timelines nest no deeper in any project; a clip that contains itself would for ever.
_MAX_DEPTH = 32

#: A clip is not repeated more often: a loop of no length would be for ever.
_MAX_REPEATS = 10_000

#: Audio warped by less than this is played at its own speed.
_SPEED_TOLERANCE = 1e-3

_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")


def read_clips(
    root: Element, path: Path
) -> tuple[dict[str | None, list[Clip]], dict[str | None, list[str]]]:
    """Read the arrangement.

    Args:
        root: the element ``Project``.
        path: the project, in which and beside which audio lies.

    Returns:
        Clips by the id of their track, and what can't be heard here likewise; None as the id of
        what belongs to no track.

    Raises:
        ProjectError: timelines are nested or repeated without end, or a time is no number.
    """
    reader = _Reader(root, path)
    lanes = root.find("Arrangement/Lanes")
    if lanes is not None:
        reader.read(lanes, Scope("beats", reader.tempo.to_seconds), None, 0)
    if root.find("Scenes//Audio") is not None:
        reader.notes[None].append("Clips of the clip launcher are not heard here.")
    return reader.clips, {track: list(dict.fromkeys(n)) for track, n in reader.notes.items()}


def find_automated(root: Element) -> set[str | None]:
    """Ids of the parameters that the arrangement automates."""
    arrangement = root.find("Arrangement")
    return {
        points.find("Target").get("parameter")
        for points in ([] if arrangement is None else arrangement.iter("Points"))
        if points.find("Target") is not None and len(points) > 1
    }


class _Reader:
    """Walks an arrangement and gathers what sounds.

    Args:
        root: the element ``Project``.
        path: the project.
    """

    def __init__(self, root: Element, path: Path):
        self.path = path
        self.clips: dict[str | None, list[Clip]] = defaultdict(list)
        self.notes: dict[str | None, list[str]] = defaultdict(list)
        self.by_id = {each.get("id"): each for each in root.iter() if each.get("id")}
        tempo = root.find("Transport/Tempo")
        bpm = DEFAULT_BPM if tempo is None else self._bpm(tempo)
        points = [
            (
                self._number(point, "time", 0.0),
                self._bpm(point),
                point.get("interpolation", "hold") == "hold",
            )
            for point in root.iterfind("Arrangement/TempoAutomation/RealPoint")
        ]
        self.tempo = TempoMap(bpm, points)

    def read(self, timeline: Element, scope: Scope, track: str | None, depth: int) -> None:
        """Read a timeline of any kind that stands in a scope."""
        if depth > _MAX_DEPTH:
            raise ProjectError(f"{self.path}: timelines are nested more than {_MAX_DEPTH} deep.")
        track = timeline.get("track", track)
        if timeline.tag == "Audio":
            self._read_audio(timeline, scope, track, [])
            return
        unit = timeline.get("timeUnit", scope.unit)
        if unit != scope.unit:
            scope = enter(scope, unit, self.tempo, 0.0, 0.0)
        if timeline.tag == "Warps":
            self._read_warps(timeline, scope, track)
        elif timeline.tag == "Clips":
            for clip in timeline.findall("Clip"):
                if clip.get("enable", "true") not in ("false", "0"):
                    self._read_clip(clip, scope, track, depth)
        elif timeline.tag == "Lanes":
            for child in timeline:
                self.read(child, scope, track, depth + 1)
        elif timeline.tag == "Notes" and len(timeline):
            self.notes[track].append(
                "plays notes: its instrument can't be heard here. Render the track to audio."
            )
        elif timeline.tag == "Video":
            self.notes[track].append("holds video, whose sound is not heard here.")
        elif timeline.tag == "Points":
            target = timeline.find("Target")
            if target is not None and target.get("expression") == "gain":
                self.notes[track].append("has clips with a gain curve, which is not heard here.")

    def _read_clip(self, clip: Element, scope: Scope, track: str | None, depth: int) -> None:
        content = next((each for each in clip if each.tag != "Points"), None)
        if content is None:
            content = self.by_id.get(clip.get("reference"))
        if content is None:
            return
        unit = clip.get("contentTimeUnit", scope.unit)
        time = self._number(clip, "time", 0.0)
        begin = self._number(clip, "playStart", 0.0)
        inner = enter(scope, unit, self.tempo, time, begin)
        if clip.get("duration") is not None:
            end_s = scope.to_s(time + self._number(clip, "duration", 0.0))
        elif clip.get("playStop") is not None:
            end_s = inner.to_s(self._number(clip, "playStop", begin))
        else:
            end_s = scope.end_s
        start_s = scope.to_s(time)
        fades_s = [self._fade_s(clip, name, scope, time) for name in ("fadeInTime", "fadeOutTime")]
        first = len(self.clips[track])
        for part in self._repeat(clip, inner, unit, start_s, end_s):
            window = (max(part.start_s, scope.start_s), min(part.end_s, scope.end_s))
            if window[0] < window[1]:
                part = replace(part, start_s=window[0], end_s=window[1])
                self.read(content, part, track, depth + 1)
        self._fade(self.clips[track], first, fades_s)

    def _repeat(
        self, clip: Element, inner: Scope, unit: str, start_s: float, end_s: float
    ) -> Iterator[Scope]:
        """Yield the scope of a clip's content, or one for each time that a loop goes round."""
        loop_start = self._number(clip, "loopStart", 0.0)
        loop_end = self._number(clip, "loopEnd", 0.0)
        turn_s = inner.to_s(loop_end)
        if loop_end <= loop_start or not start_s < turn_s < end_s:
            yield replace(inner, start_s=start_s, end_s=end_s)
            return
        yield replace(inner, start_s=start_s, end_s=turn_s)
        flat = Scope("seconds", lambda t: t)
        for _ in range(_MAX_REPEATS):
            inner = enter(flat, unit, self.tempo, turn_s, loop_start)
            next_s = inner.to_s(loop_end)
            yield replace(inner, start_s=turn_s, end_s=min(next_s, end_s))
            turn_s = next_s
            if turn_s >= end_s:
                return
        raise ProjectError(f"{self.path}: a clip is repeated more than {_MAX_REPEATS} times.")

    def _fade_s(self, clip: Element, name: str, scope: Scope, time: float) -> float:
        length = self._number(clip, name, 0.0)
        if clip.get("fadeTimeUnit", scope.unit) == "seconds":
            return max(0.0, length)
        beat = self.tempo.to_beats(scope.to_s(time))
        return max(0.0, self.tempo.to_seconds(beat + length) - self.tempo.to_seconds(beat))

    @staticmethod
    def _fade(clips: list[Clip], first: int, fades_s: list[float]) -> None:
        """Put a clip's fades on the first and the last of the pieces that it was made into."""
        if len(clips) > first:
            clips[first] = replace(clips[first], fade_in_s=max(clips[first].fade_in_s, fades_s[0]))
            clips[-1] = replace(clips[-1], fade_out_s=max(clips[-1].fade_out_s, fades_s[1]))

    def _read_warps(self, warps: Element, scope: Scope, track: str | None) -> None:
        points = sorted(
            (self._number(each, "time", 0.0), self._number(each, "contentTime", 0.0))
            for each in warps.findall("Warp")
        )
        audio = warps.find("Audio")
        if audio is None or warps.get("contentTimeUnit", "seconds") != "seconds":
            self.notes[track].append("has warped content of a kind that is not heard here.")
            return
        self._read_audio(audio, scope, track, points)

    def _read_audio(
        self, audio: Element, scope: Scope, track: str | None, warps: list[tuple[float, float]]
    ) -> None:
        """Add a clip for each stretch of audio that plays at one speed."""
        # Where on the arrangement which second of the file sounds.
        anchors = [(scope.to_s(time), second) for time, second in warps or [(0.0, 0.0)]]
        spans = list(pairwise(anchors)) or [(anchors[0], None)]
        duration_s = self._number(audio, "duration", math.inf)
        file = audio.find("File")
        for index, ((begin_s, second), following) in enumerate(spans):
            speed = 1.0
            if following is not None and following[0] > begin_s:
                speed = (following[1] - second) / (following[0] - begin_s)
            if abs(speed - 1.0) < _SPEED_TOLERANCE:
                speed = 1.0
            start_s = scope.start_s if index == 0 else max(begin_s, scope.start_s)
            end_s = scope.end_s if index == len(spans) - 1 else min(following[0], scope.end_s)
            if not start_s < end_s or file is None:
                continue
            if not MIN_SPEED <= speed <= MAX_SPEED:
                self.notes[track].append(f"has audio stretched {speed:.4g} times: it is left out.")
                continue
            offset_s = second + (start_s - begin_s) * speed
            # Warp markers reach no further than the file does.
            end_s = min(end_s, start_s + (duration_s - offset_s) / speed)
            if end_s <= start_s or end_s == math.inf:
                continue
            if speed != 1.0:
                self.notes[track].append(
                    "has stretched audio; it is heard here without pitch correction."
                )
            length_s = end_s - start_s
            source, archive = self._find_audio(file)
            self.clips[track].append(
                Clip(source, start_s, offset_s, length_s, speed=speed, archive=archive)
            )

    def _find_audio(self, file: Element) -> tuple[Path, Path | None]:
        name = file.get("path", "")
        if file.get("external", "false") not in ("true", "1") and not _ABSOLUTE.match(name):
            return Path(name), self.path
        return self.path.parent / name.replace("\\", "/"), None

    def _bpm(self, element: Element) -> float:
        """A tempo in beats a minute."""
        bpm = self._number(element, "value", DEFAULT_BPM)
        if not 1.0 <= bpm <= 10_000.0:
            raise ProjectError(f"{self.path}: a tempo of {bpm:g} beats a minute.")
        return bpm

    def _number(self, element: Element, name: str, default: float) -> float:
        text = element.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not abs(value) <= MAX_NUMBER:
            raise ProjectError(
                f"{self.path}: {name}={text!r} of an element {element.tag} is out of range."
            )
        return value
