"""What a user hands in: a mix, or a folder of tracks with any names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mixing_buddy.advising.stem_names import MIX, UNKNOWN_NAME, guess_stems
from mixing_buddy.advising.streams import stream_audio
from mixing_buddy.audio import audio_info, sound_name
from mixing_buddy.errors import MixingBuddyError, SongError
from mixing_buddy.stems import STEMS

#: Suffixes that are taken for audio in a folder.
AUDIO_SUFFIXES: tuple[str, ...] = (
    ".wav",
    ".wave",
    ".flac",
    ".mp3",
    ".ogg",
    ".oga",
    ".opus",
    ".aif",
    ".aiff",
    ".aifc",
)

#: What ``--map`` may say beside the names of stems: the file is left out.
SKIP = "skip"

#: The shortest song, in seconds: below it one beat or word decides.
MIN_DURATION_S = 2.0


@dataclass(frozen=True)
class Track:
    """One file of a song.

    Args:
        path: the file.
        stem: which of `STEMS` it is summed into; None for a mix.
        reason: why it was taken for that, in a few words.
        num_samples: samples a channel.
        sample_rate: in Hz.
        num_channels: number of channels.
    """

    path: Path
    stem: str | None
    reason: str
    num_samples: int
    sample_rate: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def is_unknown(self) -> bool:
        """Whether it was taken as other because nothing in its name is known."""
        return self.reason == UNKNOWN_NAME

    def to_dict(self) -> dict[str, Any]:
        """What it was taken for, as JSON types."""
        return {
            "file": self.path.name,
            "stem": self.stem,
            "reason": self.reason,
            "duration_s": self.duration_s,
            "sample_rate": self.sample_rate,
            "num_channels": self.num_channels,
        }


@dataclass(frozen=True)
class SongFiles:
    """The files of one song.

    Args:
        path: the mix, or the folder.
        tracks: the files that are summed, by name; one without a stem for a mix.
        left_out: files of the folder that are not, with the reason.
    """

    path: Path
    tracks: tuple[Track, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    @property
    def is_mix(self) -> bool:
        """Whether only the mix is known."""
        return self.tracks[0].stem is None

    @property
    def duration_s(self) -> float:
        """Length of the longest track in seconds."""
        return max(track.duration_s for track in self.tracks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the files are taken."""
        notes = []
        unknown = [track.path.name for track in self.tracks if track.is_unknown]
        if unknown:
            notes.append(
                f"Taken as other, since the name says nothing known: {', '.join(unknown)}. "
                "Correct it with --map FILE=STEM."
            )
        lengths = {round(track.duration_s, 3) for track in self.tracks}
        if len(lengths) > 1:
            notes.append(
                f"The tracks are {min(lengths):.1f} to {max(lengths):.1f} s long. All are taken to "
                "start together; the shorter ones are silent from their end on."
            )
        return tuple(notes)


def open_song(path: str | os.PathLike[str], *, mapping: Sequence[str] = ()) -> SongFiles:
    """Look at what a path holds; headers are read, no audio.

    Args:
        path: an audio file, or a folder of them. In a folder each file's stem is guessed from its
            name (`mixing_buddy.advising.stem_names`); a file called mix or master is left out.
        mapping: corrections of the form "FILE=stem", where FILE is a file's name with or without
            its suffix, and stem one of `STEMS` or "skip".

    Raises:
        MixingBuddyError: there is no such path, a correction is malformed or names no file, or no
            file is left.
        AudioError: a file can't be opened as audio.
    """
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise MixingBuddyError(f"{path}: there is no such file or folder.")
    if not path.is_dir():
        if mapping:
            raise MixingBuddyError(f"{path} is one file: --map is for the files of a folder.")
        return _checked(SongFiles(path, (_open_track(path, None, "the mix"),)))
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file() and file.name[0] != "."
    )
    if not files:
        raise SongError(
            f"{path}: no audio files in this folder (looked for {', '.join(AUDIO_SUFFIXES)}). A "
            "folder of songs goes with `mixing-buddy advise --batch FILE`."
        )
    told = _read_mapping(mapping, files)
    tracks, left_out = [], []
    for file, guess in zip(files, guess_stems([file.stem for file in files]), strict=True):
        stem = told.get(file, guess.stem)
        reason = "as you said" if file in told else guess.reason
        if stem in (MIX, SKIP):
            left_out.append((file, reason if stem == SKIP else f"the whole mix, {reason}"))
        else:
            tracks.append(_open_track(file, stem, reason))
    if not tracks:
        raise SongError(
            f"{path}: every file was left out as a mix. Give the mix itself, or --map FILE=STEM."
        )
    return _checked(SongFiles(path, tuple(tracks), tuple(left_out)))


def stream_stems(song: SongFiles, sample_rate: int, block_s: int) -> Iterator[np.ndarray]:
    """Sum a song's tracks into the four stems, block by block.

    Args:
        song: from `open_song`.
        sample_rate: wanted sample rate in Hz.
        block_s: length of a block in seconds.

    Yields:
        float32 of shape `(4, num_samples)` in the order of `STEMS`, or `(1, num_samples)` of a mix.
    """
    num_rows = 1 if song.is_mix else len(STEMS)
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(stream_audio(track.path, sample_rate, block_s)))
            for track in song.tracks
        ]
        while True:
            blocks = [next(stream, None) for stream in streams]
            lengths = [block.shape[1] for block in blocks if block is not None]
            if not lengths:
                return
            stems = np.zeros((num_rows, max(lengths)), np.float32)
            for track, block in zip(song.tracks, blocks, strict=True):
                if block is not None:
                    row = STEMS.index(track.stem) if track.stem else 0
                    stems[row, : block.shape[1]] += block[0]
            yield stems


def _open_track(path: Path, stem: str | None, reason: str) -> Track:
    num_samples, sample_rate = audio_info(path)
    num_channels = soundfile.info(sound_name(path)).channels
    return Track(path, stem, reason, num_samples, sample_rate, num_channels)


def _checked(song: SongFiles) -> SongFiles:
    if song.duration_s < MIN_DURATION_S:
        raise MixingBuddyError(
            f"{song.path}: {song.duration_s:.2f} s long: at least {MIN_DURATION_S:g} s are needed "
            "to judge a balance."
        )
    return song


def _read_mapping(mapping: Sequence[str], files: Sequence[Path]) -> Mapping[Path, str]:
    told: dict[Path, str] = {}
    for text in mapping:
        name, _, stem = text.rpartition("=")
        if not name or stem not in (*STEMS, SKIP):
            raise MixingBuddyError(
                f"--map {text}: write FILE=STEM with one of {', '.join((*STEMS, SKIP))}, as in "
                '"Lead Vox 2.wav=vocals".'
            )
        hits = [file for file in files if file.name == name]
        hits = hits or [file for file in files if file.stem == name]
        if len(hits) != 1:
            what = "no such file" if not hits else f"{len(hits)} files of that name: add the suffix"
            raise MixingBuddyError(f"--map {text}: {what} (there are {_list(files)}).")
        if hits[0] in told:
            raise MixingBuddyError(f"--map {text}: {hits[0].name} was mapped already.")
        told[hits[0]] = stem
    return told


def _list(files: Sequence[Path], most: int = 8) -> str:
    names = [file.name for file in files]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
