"""Corrected stems and their mix as files: at each file's own rate, format and bit depth.

Files are read and written block by block, so that the length of a song costs no memory. Everything
is written into a folder of a temporary name, which is renamed once it is complete.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm.auto import tqdm

from mixing_buddy.advising.applying import PEAK_DBFS
from mixing_buddy.advising.inputs import SongFiles, Track
from mixing_buddy.advising.streams import decode, stream_audio
from mixing_buddy.audio import refusing_sound, sound_name
from mixing_buddy.errors import MixingBuddyError, OutputError, SongError
from mixing_buddy.files import hidden_prefix
from mixing_buddy.loudness import db_to_gain

#: Seconds of the mix that are held at a time.
_BLOCK_S = 10

#: Frames written at a time: libsndfile's Vorbis encoder takes no more than some megabytes.
_WRITE_FRAMES = 1 << 16

#: Formats whose samples may exceed full scale.
_FLOATING = ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        folder: where.
        gains_db: by how much each track was moved, by file name, the common gain included.
        mix: file of the mix.
        common_gain_db: what everything was turned down by so that nothing clips; 0 for nothing.
    """

    folder: Path
    gains_db: Mapping[str, float]
    mix: Path
    common_gain_db: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {
            "folder": str(self.folder),
            "gains_db": dict(self.gains_db),
            "mix": self.mix.name,
            "common_gain_db": self.common_gain_db,
        }


def export_song(
    song: SongFiles,
    gains_db: Mapping[str, float],
    out: str | os.PathLike[str],
    *,
    progress: bool = False,
) -> Export:
    """Write every track with its stem's gain, and the mix of them.

    A track keeps its name, rate, channels, format and bit depth; one that is not moved is copied
    byte by byte. The mix has the format of the first track and the highest rate. Where the mix, or
    a track of an integer format, would clip, everything is turned down by one common gain. Nothing
    is dithered, and tags are not kept in files that are moved.

    Args:
        song: tracks, from `open_song`.
        gains_db: gain in dB by stem; 0 where one is not named.
        out: folder to make.
        progress: show a progress bar.

    Raises:
        MixingBuddyError: only the mix is known.
        SongError: the tracks' numbers of channels don't fit together.
        OutputError: the folder holds files already or can't be written.
        AudioError: a track can't be read.
    """
    out = Path(os.path.expanduser(out))
    if song.is_mix:
        raise MixingBuddyError(
            f"{song.path} is one file, in which no stem can be moved: --apply needs a folder of "
            "stems."
        )
    check_free(out)
    sample_rate = max(track.sample_rate for track in song.tracks)
    num_channels = _common_channels(song)
    gains = {track.path.name: float(gains_db.get(track.stem, 0.0)) for track in song.tracks}
    total = 3 * len(song.tracks) + 2
    with tqdm(total=total, desc="Writing", unit="pass", disable=not progress) as bar:
        peak = _peak(song, gains, sample_rate, num_channels, bar)
        common_gain_db = 0.0 if peak <= 1.0 else PEAK_DBFS - 20.0 * math.log10(peak)
        gains = {name: gain_db + common_gain_db for name, gain_db in gains.items()}
        with refusing_sound(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=out.parent, prefix=hidden_prefix(out)))
            try:
                for track in song.tracks:
                    _write_track(track, gains[track.path.name], part / track.path.name)
                    bar.update(2)
                mix = _write_mix(song, gains, part, sample_rate, num_channels)
                bar.update()
                os.chmod(part, 0o755)
                if out.is_dir():
                    out.rmdir()
                part.rename(out)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return Export(out, gains, out / mix.name, common_gain_db)


def check_free(out: str | os.PathLike[str]) -> None:
    """Make sure that a folder may be written, before work is put into what goes there.

    Raises:
        OutputError: there is a file of that name, or the folder holds something.
    """
    out = Path(os.path.expanduser(out))
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} holds files already: name a new folder.")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: name a new folder.")


def stream_mix(
    song: SongFiles,
    gains_db: Mapping[str, float],
    sample_rate: int,
    num_channels: int,
    *,
    skip_blocks: int = 0,
) -> Iterator[np.ndarray]:
    """Mix the tracks, block by block.

    Args:
        song: from `open_song`.
        gains_db: gain in dB by file name; 0 where one is not named.
        sample_rate: wanted sample rate in Hz.
        num_channels: channels of the mix; mono tracks stand in all of them.
        skip_blocks: blocks of 10 s at the start that are passed over.

    Yields:
        float32 of shape `(num_channels, num_samples)`; it may exceed full scale.
    """
    with ExitStack() as stack:
        streams = [
            stack.enter_context(
                closing(
                    stream_audio(
                        track.path, sample_rate, _BLOCK_S, mono=False, skip_blocks=skip_blocks
                    )
                )
            )
            for track in song.tracks
        ]
        factors = [db_to_gain(gains_db.get(track.path.name, 0.0)) for track in song.tracks]
        while True:
            blocks = [next(stream, None) for stream in streams]
            lengths = [block.shape[1] for block in blocks if block is not None]
            if not lengths:
                return
            mix = np.zeros((num_channels, max(lengths)), np.float32)
            for block, factor in zip(blocks, factors, strict=True):
                if block is not None:
                    mix[:, : block.shape[1]] += block * np.float32(factor)
            yield mix


def _common_channels(song: SongFiles) -> int:
    counts = {track.num_channels for track in song.tracks}
    if len(counts - {1}) > 1:
        raise SongError(
            f"{song.path}: its tracks have {', '.join(map(str, sorted(counts)))} channels: mono "
            "and one other number can be mixed. Leave the odd ones out with --map FILE=skip."
        )
    return max(counts)


def _peak(
    song: SongFiles, gains_db: Mapping[str, float], sample_rate: int, num_channels: int, bar: tqdm
) -> float:
    """Highest sample of the mix, and of each track whose format can't exceed full scale."""
    peaks = [0.0]
    for block in stream_mix(song, gains_db, sample_rate, num_channels):
        peaks.append(float(np.abs(block).max(initial=0.0)))
    bar.update()
    for track in song.tracks:
        gain_db = gains_db[track.path.name]
        # One that is not moved is as loud as its own format could hold.
        if gain_db > 0.0 and soundfile.info(sound_name(track.path)).subtype not in _FLOATING:
            pieces = decode(track.path)
            highest = max(float(np.abs(piece).max(initial=0.0)) for piece in pieces)
            peaks.append(highest * db_to_gain(gain_db))
        bar.update()
    return max(peaks)


def _write_track(track: Track, gain_db: float, path: Path) -> None:
    if gain_db == 0.0:
        shutil.copyfile(track.path, path)
        return
    factor = db_to_gain(gain_db)
    pieces = (piece * factor for piece in decode(track.path, dtype="float64"))
    _write(path, pieces, track, track.sample_rate, track.num_channels)


def _write_mix(
    song: SongFiles,
    gains_db: Mapping[str, float],
    folder: Path,
    sample_rate: int,
    num_channels: int,
) -> Path:
    first = song.tracks[0]
    name = f"mix{first.path.suffix}"
    if name in gains_db:
        name = f"advised mix{first.path.suffix}"
    blocks = stream_mix(song, gains_db, sample_rate, num_channels)
    _write(folder / name, blocks, first, sample_rate, num_channels, duration_s=song.duration_s)
    return folder / name


def _write(
    path: Path,
    pieces: Iterator[np.ndarray] | Sequence[np.ndarray],
    like: Track,
    sample_rate: int,
    num_channels: int,
    *,
    duration_s: float | None = None,
) -> None:
    """Write pieces in the format of a track."""
    info = soundfile.info(sound_name(like.path))
    file_format = info.format
    num_bytes = (duration_s or like.duration_s) * sample_rate * num_channels * 8
    if file_format in ("WAV", "WAVEX") and num_bytes > 2**32:
        file_format = "RF64"  # WAV's own sizes end at 4 GB
    with soundfile.SoundFile(
        sound_name(path),
        "w",
        sample_rate,
        num_channels,
        format=file_format,
        subtype=info.subtype,
    ) as file:
        for piece in pieces:
            for start in range(0, piece.shape[1], _WRITE_FRAMES):
                file.write(piece[:, start : start + _WRITE_FRAMES].T)
