"""Hearing a project: its tracks, with their faders, summed into the four stems.

Heard are clips where they stand, with their gains, fades (taken as straight lines), loops and
speeds, through the faders of their tracks and of the folders around them. Tracks that mute and
solo buttons silence are left out. Not heard are plugins, instruments, sends, pan and automation:
`Project.warnings` says which of these a project has.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from mixing_buddy.advising.inputs import SKIP
from mixing_buddy.advising.stem_names import guess_stem
from mixing_buddy.audio import audio_info, read_audio, refusing_sound, resample, to_mono
from mixing_buddy.errors import AudioError, ProjectError
from mixing_buddy.loudness import db_to_gain
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS
from mixing_buddy.workstations.dawproject import DAMAGED
from mixing_buddy.workstations.formats import read_project
from mixing_buddy.workstations.project import Clip, Project, Track

#: A project that ends later holds a stray clip rather than a longer song.
_MAX_HOURS = 4.0

#: Faders and gains of a track add up to less in any project.
_MAX_GAIN_DB = 120.0

_BLOCK_S = 30
#: What is read around a piece, so that its resampling knows its surroundings.
_MARGIN_S = 0.02
_MAX_REPEATS = 100_000

#: Share of what is free that one packed file may take.
_MAX_SHARE_OF_DISK = 0.5


@dataclass(frozen=True)
class HeardProject:
    """A project, ready to be listened to.

    Args:
        project: the project.
        stems: stem by number of the track, for the tracks with audio; "mix" for those that are
            left out because they hold the whole mix, "skip" for those that the user left out.
        folder: where its four stems lie, mono at 24 kHz, as long as the project is open.
        unknown: numbers of the tracks that were taken as other because no name says what they are.
    """

    project: Project
    stems: Mapping[int, str]
    folder: Path
    unknown: frozenset[int] = frozenset()

    def track_changes_db(self, stem_changes_db: Mapping[str, float]) -> dict[int, float]:
        """Spread changes of stems over tracks: the same change on each track of a stem.

        Args:
            stem_changes_db: change in dB by stem.

        Returns:
            Change in dB by number of the track. A track inside one that is moved is not moved
            twice; those without a fader, or with one all the way down, are left out.
        """
        moved = {
            number: stem_changes_db[stem]
            for number, stem in self.stems.items()
            if stem_changes_db.get(stem)
            and self.project.tracks[number - 1].fader_db not in (None, -math.inf)
        }
        tracks = self.project.tracks
        return {
            number: change_db
            for number, change_db in moved.items()
            if not any(a.number in moved for a in self.project.ancestors(tracks[number - 1]))
        }


@contextlib.contextmanager
def open_project(
    path: str | Path, *, mapping: Sequence[str] = (), progress: bool = False
) -> Iterator[HeardProject]:
    """Read a project and render its stems into a folder that goes when the block ends.

    Args:
        path: the project.
        mapping: where the guess by a track's name is wrong: "TRACK=STEM", with the name or the
            number of a track, and one of `STEMS`, or "skip" to leave it out.
        progress: show a progress bar.

    Yields:
        The project and the folder of its stems, to be given to `MixingBuddy.advise`.

    Raises:
        ProjectError: it can't be read, a correction is malformed or names no track with audio, or
            nothing in it can be heard.
    """
    project = read_project(path)
    stems = project.assign_stems(_guess) | _read_mapping(project, mapping)
    unknown = frozenset(number for number, stem in stems.items() if stem is None)
    stems |= dict.fromkeys(unknown, "other")
    with tempfile.TemporaryDirectory(prefix="mixing-buddy-") as folder:
        render_stems(project, stems, Path(folder), progress=progress)
        yield HeardProject(project, stems, Path(folder), unknown)


def render_stems(
    project: Project, stems: Mapping[int, str], folder: Path, *, progress: bool = False
) -> None:
    """Render a project's tracks into one file for each stem.

    Args:
        project: the project.
        stems: stem by number of the track; tracks of none of `STEMS` are left out.
        folder: where the files go: bass.wav, drums.wav, other.wav and vocals.wav, float, mono at
            `SAMPLE_RATE`, of one length. Memory is constant in that length.
        progress: show a progress bar.

    Raises:
        ProjectError: an audio file is missing or can't be read, nothing sounds, or the project
            is longer than 4 hours.
        OutputError: the place for temporary files is full.
    """
    tracks = [track for track in project.heard_tracks() if stems.get(track.number) in STEMS]
    if not tracks:
        raise ProjectError(
            f"{project.path}: no track with audio sounds: unmute some, or render instruments."
        )
    with tempfile.TemporaryDirectory(prefix="mixing-buddy-") as unpacked:
        files = _Files(Path(unpacked))
        pieces = [
            piece
            for track in tracks
            for clip in track.files
            for piece in _pieces(project, track, clip, STEMS.index(stems[track.number]), files)
        ]
        end_s = max((piece.clip.end_s for piece in pieces), default=0.0)
        if end_s <= 0.0:
            raise ProjectError(f"{project.path}: none of its clips sounds.")
        if end_s > 3600.0 * _MAX_HOURS:
            raise ProjectError(
                f"{project.path}: it lasts {end_s / 3600.0:.1f} hours: move or delete the clip "
                f"that stands beyond {_MAX_HOURS:g} hours."
            )
        num_samples = max(1, round(end_s * SAMPLE_RATE))
        with contextlib.ExitStack() as stack:
            outputs = [
                stack.enter_context(
                    soundfile.SoundFile(
                        folder / f"{stem}.wav", "w", SAMPLE_RATE, 1, subtype="FLOAT"
                    )
                )
                for stem in STEMS
            ]
            starts = range(0, num_samples, _BLOCK_S * SAMPLE_RATE)
            for start in tqdm(starts, desc="Rendering", unit="block", disable=not progress):
                end = min(start + _BLOCK_S * SAMPLE_RATE, num_samples)
                block = np.zeros((len(STEMS), end - start), dtype=np.float32)
                for piece in pieces:
                    piece.add_to(block[piece.stem], start, files)
                for output, samples in zip(outputs, block, strict=True):
                    with refusing_sound(Path(output.name)):
                        output.write(samples)


@dataclass(frozen=True)
class _Piece:
    """A clip without loops, or one turn of a loop.

    Args:
        clip: where and how it sounds.
        whole: the clip that it is a piece of, whose fades it has.
        path: its audio on disk.
        gain: factor from the file to the mix, negative where polarity is turned round.
        stem: index of the stem that it belongs to.
        where: how messages call it.
    """

    clip: Clip
    whole: Clip
    path: Path
    gain: float
    stem: int
    where: str

    def add_to(self, block: np.ndarray, start: int, files: _Files) -> None:
        """Add what sounds of it to a block of shape `(num_samples,)` that begins at `start`."""
        clip = self.clip
        first = max(start, round(clip.start_s * SAMPLE_RATE))
        last = min(start + len(block), round(clip.end_s * SAMPLE_RATE))
        if first >= last:
            return
        times_s = np.arange(first, last) / SAMPLE_RATE
        begin_s = clip.offset_s + (times_s[0] - clip.start_s) * clip.speed
        length_s = (last - first) / SAMPLE_RATE * clip.speed
        audio, audio_start_s = files.read(self.path, begin_s, begin_s + length_s, self.where)
        if clip.speed == 1.0:
            skip = round((begin_s - audio_start_s) * SAMPLE_RATE)
            audio = audio[skip : skip + last - first]
        else:
            wanted_s = begin_s + np.arange(last - first) / SAMPLE_RATE * clip.speed
            places = (wanted_s - audio_start_s) * SAMPLE_RATE
            audio = np.interp(places, np.arange(len(audio)), audio).astype(np.float32)
        gains = np.full(len(times_s), self.gain)
        if self.whole.fade_in_s > 0.0:
            gains *= np.clip((times_s - self.whole.start_s) / self.whole.fade_in_s, 0.0, 1.0)
        if self.whole.fade_out_s > 0.0:
            gains *= np.clip((self.whole.end_s - times_s) / self.whole.fade_out_s, 0.0, 1.0)
        block[first - start : last - start] += audio * gains.astype(np.float32)


class _Files:
    """The audio files of a project, as mono at `SAMPLE_RATE`.

    Args:
        folder: where those that are packed into the project are unpacked to.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._unpacked: dict[tuple[Path, Path], Path] = {}
        self._infos: dict[Path, tuple[int, int]] = {}

    def find(self, clip: Clip, where: str) -> Path:
        """Where a clip's audio lies on disk."""
        if clip.archive is None:
            return clip.path
        key = (clip.archive, clip.path)
        if key not in self._unpacked:
            target = self._folder / f"{len(self._unpacked)}{clip.path.suffix[:8]}"
            try:
                with zipfile.ZipFile(clip.archive) as archive:
                    self._check_room(archive.getinfo(clip.path.as_posix()).file_size, where)
                    with archive.open(clip.path.as_posix()) as source, target.open("wb") as file:
                        shutil.copyfileobj(source, file)
            except (KeyError, OSError, *DAMAGED) as e:
                raise ProjectError(
                    f"{where} plays {clip.path}, which can't be taken out of {clip.archive} ({e})."
                ) from e
            self._unpacked[key] = target
        return self._unpacked[key]

    def _check_room(self, num_bytes: int, where: str) -> None:
        """Raise where unpacking would fill the disk: a kilobyte may unpack to a megabyte."""
        if num_bytes > _MAX_SHARE_OF_DISK * shutil.disk_usage(self._folder).free:
            raise ProjectError(
                f"{where} plays a file of {num_bytes / 1e9:.1f} GB, for which there is too little "
                "space to unpack it. Free some, or set TMPDIR to another folder."
            )

    def info(self, path: Path, where: str) -> tuple[int, int]:
        """Number of samples and sample rate of a file."""
        if path not in self._infos:
            try:
                self._infos[path] = audio_info(path)
            except (AudioError, OSError) as error:
                raise ProjectError(f"{where}: {error}") from error
        return self._infos[path]

    def read(
        self, path: Path, start_s: float, end_s: float, where: str
    ) -> tuple[np.ndarray, float]:
        """Read from a file, silence before its start and after its end included.

        Returns:
            Mono at `SAMPLE_RATE`, reaching beyond what was asked for, and its start in seconds.
        """
        total, rate = self.info(path, where)
        # Beginning where a sample of the file and one of the result coincide keeps pieces aligned.
        step = rate // math.gcd(rate, SAMPLE_RATE)
        first = math.floor((start_s - _MARGIN_S) * rate / step) * step
        last = math.ceil((end_s + _MARGIN_S) * rate)
        begin, end = min(max(first, 0), total), min(max(last, 0), total)
        audio = np.zeros(last - first, dtype=np.float32)
        if begin < end:
            try:
                part, _ = read_audio(path, start_s=begin / rate, duration_s=(end - begin) / rate)
            except AudioError as error:
                raise ProjectError(f"{where}: {error}") from error
            audio[begin - first : end - first] = to_mono(part)
        return resample(audio, rate, SAMPLE_RATE), first / rate


def _pieces(
    project: Project, track: Track, clip: Clip, stem: int, files: _Files
) -> Iterator[_Piece]:
    """Yield a clip in pieces without loops."""
    where = f"{project.path}: {track.label}"
    path = files.find(clip, where)
    gain_db = clip.gain_db + project.gain_db(track)
    if gain_db > _MAX_GAIN_DB:
        raise ProjectError(f"{where}: its faders and gains add up to {gain_db:+.0f} dB.")
    gain = db_to_gain(gain_db) * (-1.0 if clip.is_inverted else 1.0)
    for part in _unroll(clip, path, where, files):
        yield _Piece(part, clip, path, gain, stem, where)


def _unroll(clip: Clip, path: Path, where: str, files: _Files) -> Iterator[Clip]:
    if clip.loop_s is None:
        yield clip
        return
    total, rate = files.info(path, where)
    begin_s, end_s = clip.loop_s
    end_s = total / rate if end_s is None else end_s
    if end_s <= begin_s:
        yield clip
        return
    if (clip.length_s * clip.speed) / (end_s - begin_s) > _MAX_REPEATS:
        raise ProjectError(f"{where}: a clip is repeated more than {_MAX_REPEATS} times.")
    offset_s, start_s = begin_s + (clip.offset_s - begin_s) % (end_s - begin_s), clip.start_s
    while start_s < clip.end_s:
        length_s = min((end_s - offset_s) / clip.speed, clip.end_s - start_s)
        yield replace(clip, start_s=start_s, offset_s=offset_s, length_s=length_s)
        start_s, offset_s = start_s + max(length_s, 1.0 / SAMPLE_RATE), begin_s


def _read_mapping(project: Project, mapping: Sequence[str]) -> dict[int, str]:
    told: dict[int, str] = {}
    for text in mapping:
        name, _, stem = text.rpartition("=")
        if not name or stem not in (*STEMS, SKIP):
            raise ProjectError(
                f"--map {text}: write TRACK=STEM with one of {', '.join((*STEMS, SKIP))}, as in "
                '"Lead Vox=vocals" or 7=vocals.'
            )
        numbers = [track.number for track in project.tracks if track.files and track.name == name]
        if not numbers and name.isdecimal():
            numbers = [t.number for t in project.tracks if t.files and t.number == int(name)]
        if not numbers:
            raise ProjectError(f"--map {text}: no track with audio is called {name}.")
        told |= dict.fromkeys(numbers, stem)
    return told


def _guess(name: str) -> str | None:
    """What a name says, None where no word in it is known."""
    guess = guess_stem(name)
    return guess.stem if guess.word is not None else None
