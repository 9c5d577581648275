"""What every workstation's project is read into: tracks, their faders and their clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mixing_buddy.errors import ProjectError

#: No time, tempo or gain in a project is larger; what is, is damage.
MAX_NUMBER = 1e9

#: Speeds that audio is played at; clips stretched further are left out.
MIN_SPEED, MAX_SPEED = 0.05, 20.0


@dataclass(frozen=True)
class Clip:
    """A piece of an audio file on the timeline of a track.

    Args:
        path: the audio file; its name inside `archive` where it is packed into the project.
        start_s: where on the timeline it begins, in seconds.
        offset_s: where in the file it begins to play, in seconds.
        length_s: how long it lasts on the timeline, in seconds.
        gain_db: its own gain in dB, -inf for silence.
        is_inverted: its polarity is turned round.
        speed: seconds of the file that pass in a second of the timeline.
        loop_s: the part of the file that is repeated once it has been played, in seconds; an end
            of None is the end of the file.
        fade_in_s: length of the fade at its start, in seconds.
        fade_out_s: length of the fade at its end, in seconds.
        archive: the ZIP file that holds the audio, None for a file on disk.
    """

    path: Path
    start_s: float
    offset_s: float
    length_s: float
    gain_db: float = 0.0
    is_inverted: bool = False
    speed: float = 1.0
    loop_s: tuple[float, float | None] | None = None
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    archive: Path | None = None

    @property
    def end_s(self) -> float:
        """Where on the timeline it ends, in seconds."""
        return self.start_s + self.length_s


@dataclass(frozen=True)
class Track:
    """A track of a project.

    Args:
        number: place in the project, from 1, as the workstation numbers it. Names may repeat, so
            this is what changes are keyed by.
        name: its name, which may be empty.
        fader_db: its volume in dB, -inf for a fader that is all the way down; None where the
            project states none that could be read.
        files: its clips, by start; empty for folders, and for tracks that hold no audio.
        is_muted: its own mute button is on.
        is_soloed: its own solo button is on.
        parent: number of the folder, group or bus that it plays into, None for the master.
        is_automated: its volume is automated, so the fader alone doesn't say how loud it is.
        max_fader_db: top of its fader, in dB.
    """

    number: int
    name: str
    fader_db: float | None
    files: tuple[Clip, ...] = ()
    is_muted: bool = False
    is_soloed: bool = False
    parent: int | None = None
    is_automated: bool = False
    max_fader_db: float = math.inf

    @property
    def label(self) -> str:
        """How messages call it, such as ``track 3 ("Lead Vox")``."""
        return f'track {self.number} ("{self.name}")' if self.name else f"track {self.number}"


@dataclass(frozen=True)
class Project:
    """A project, as far as balance is concerned.

    Args:
        path: its file.
        tracks: its tracks, in the order of the file; the one at index i is number i + 1.
        notes: text that goes with the whole project, lines joined by a line feed.
        warnings: what the project holds that can't be heard here, in whole sentences.
    """

    path: Path
    tracks: tuple[Track, ...]
    notes: str = ""
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def ancestors(self, track: Track) -> Iterator[Track]:
        """Yield the folders, groups and buses that a track plays through, nearest first."""
        seen = {track.number}
        while track.parent is not None and track.parent not in seen:
            seen.add(track.parent)
            track = self.tracks[track.parent - 1]
            yield track

    def gain_db(self, track: Track) -> float:
        """Gain in dB from a track's clips to the master: its own fader and those it plays through.

        Returns:
            The sum, -inf where one of them is all the way down. A fader that could not be read
            counts as 0 dB.
        """
        return sum(each.fader_db or 0.0 for each in (track, *self.ancestors(track)))

    def is_audible(self, track: Track) -> bool:
        """Whether mute and solo buttons let a track through.

        A muted track is silent, soloed or not. Where anything is soloed, a track sounds if it, a
        folder around it, or something inside it is.
        """
        chain = (track, *self.ancestors(track))
        if any(each.is_muted for each in chain):
            return False
        if not any(each.is_soloed for each in self.tracks):
            return True
        return any(each.is_soloed for each in chain)

    def heard_tracks(self) -> list[Track]:
        """Tracks with audio that sound in the mix."""
        return [
            track
            for track in self.tracks
            if track.files and self.is_audible(track) and self.gain_db(track) > -math.inf
        ]

    def assign_stems(self, guess: Callable[[str], str | None]) -> dict[int, str | None]:
        """Guess which stem each track with audio belongs to.

        Args:
            guess: from a name to one of `STEMS`, or None where the name doesn't say.

        Returns:
            Stem by the number of the track. What a track's own name leaves open, the names of the
            folders around it decide, then those of its files; None where all of them leave it open.
        """
        stems = {}
        for track in self.tracks:
            if track.files:
                names = [track.name, *(each.name for each in self.ancestors(track))]
                names += [clip.path.name for clip in track.files]
                stems[track.number] = next(filter(None, map(guess, names)), None)
        return stems


@dataclass(frozen=True)
class FaderMove:
    """What was done to a track's fader.

    Args:
        track: the track as it was.
        wanted_db: the change that was asked for, in dB.
        new_db: where the fader is now, in dB.
    """

    track: Track
    wanted_db: float
    new_db: float

    @property
    def change_db(self) -> float:
        """The change that was made, in dB; smaller than the one wanted at the end of a fader."""
        if math.isinf(self.new_db):
            return 0.0
        return self.new_db - self.track.fader_db

    @property
    def is_clamped(self) -> bool:
        """Whether the fader came to its end before the wanted change was made."""
        return abs(self.change_db - self.wanted_db) > 0.005


def plan_moves(project: Project, changes_db: dict[int, float]) -> list[FaderMove]:
    """Work out where faders end up.

    Args:
        project: the project.
        changes_db: wanted change in dB by number of the track.

    Returns:
        A move for each track whose change is not 0. One that stands above the top of its range
        already is never lowered by being raised; one that is all the way down stays there.

    Raises:
        ProjectError: there is no such track, it has no fader, or a change is no number.
    """
    moves = []
    for number, change_db in sorted(changes_db.items()):
        if not 1 <= number <= len(project.tracks):
            raise ProjectError(
                f"{project.path}: there is no track {number}: it has {len(project.tracks)}."
            )
        track = project.tracks[number - 1]
        if not math.isfinite(change_db):
            raise ProjectError(f"{project.path}: {track.label}: a change of {change_db} dB.")
        if change_db == 0.0:
            continue
        if track.fader_db is None:
            raise ProjectError(
                f"{project.path}: {track.label} has no fader that could be read: move it by "
                f"{change_db:+.1f} dB by hand, or leave it out."
            )
        top_db = max(track.max_fader_db, track.fader_db)
        moves.append(FaderMove(track, change_db, min(track.fader_db + change_db, top_db)))
    return moves
