"""Audio files in and out: float32 arrays of shape `(num_channels, num_samples)`."""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from mixing_buddy.errors import AudioError, OutputError
from mixing_buddy.files import refusing, replacing

#: Size fields that writers of a stream leave where they could not know the length.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)

#: Sample rates in Hz that any converter works at; others stand in damaged headers, and would make
#: filters and blocks of any size.
_MIN_SAMPLE_RATE, _MAX_SAMPLE_RATE = 1_000, 1_000_000


def read_audio(
    path: str | os.PathLike[str], *, start_s: float = 0.0, duration_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Read an audio file, or a part of it.

    Args:
        path: a file that libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF); any sample rate.
        start_s: where to start, in seconds.
        duration_s: how much to read, in seconds; None reads to the end.

    Returns:
        The samples, float32 of shape `(num_channels, num_samples)` with full scale at 1.0,
        and the sample rate in Hz.

    Raises:
        AudioError: the file is missing, unreadable, empty or shorter than it says, holds NaN
            or infinite samples, or ends before the part that was asked for.
    """
    path = Path(path)
    _check_is_file(path)
    _check_wav_is_complete(path)
    try:
        with soundfile.SoundFile(sound_name(path)) as file:
            sample_rate, total = file.samplerate, file.frames
            _check_sample_rate(path, sample_rate)
            start = round(start_s * sample_rate)
            count = total - start if duration_s is None else round(duration_s * sample_rate)
            if total == 0:
                raise AudioError(
                    f"{path}: the file holds no samples (zero length). Export it again."
                )
            if start < 0 or count <= 0 or start + count > total:
                raise AudioError(
                    f"{path}: {count / sample_rate:g} s from {start_s:g} s were asked for, "
                    f"but the file is {total / sample_rate:g} s long."
                )
            file.seek(start)
            frames = file.read(count, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: the file can't be decoded ({error.error_string}) It is truncated, damaged "
            "or no audio: export or copy it again."
        ) from error
    except MemoryError as error:
        raise AudioError(
            f"{path}: its header promises {total} samples a channel, which don't fit into memory."
        ) from error
    if len(frames) < count:
        raise AudioError(
            f"{path}: truncated: its header promises {total} samples a channel, reading stopped "
            f"at {start + len(frames)}. Export or copy it again."
        )
    if not np.isfinite(frames).all():
        first = int(np.flatnonzero(~np.isfinite(frames).all(axis=1))[0]) + start
        raise AudioError(
            f"{path}: NaN or infinite samples, the first at {first / sample_rate:.3f} s. "
            "Find the plug-in that made them and export the file again."
        )
    return np.ascontiguousarray(frames.T), sample_rate


def audio_info(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the header of an audio file.

    Returns:
        The number of samples a channel, and the sample rate in Hz.

    Raises:
        AudioError: the file is missing, unreadable or empty.
    """
    path = Path(path)
    _check_is_file(path)
    _check_wav_is_complete(path)
    try:
        info = soundfile.info(sound_name(path))
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: the file can't be opened as audio ({error.error_string}) "
            "Export or copy it again."
        ) from error
    if info.frames == 0:
        raise AudioError(f"{path}: the file holds no samples (zero length). Export it again.")
    _check_sample_rate(path, info.samplerate)
    return info.frames, info.samplerate


def write_audio(
    path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int, *, subtype: str | None = None
) -> None:
    """Write a WAV or FLAC file; the same samples always give the same bytes.

    The file is written under a temporary name and then renamed, so that nobody ever sees
    half a file.

    Args:
        path: where to; the suffix, `.wav` or `.flac`, chooses the format.
        audio: `(num_channels, num_samples)` or `(num_samples,)`, full scale at 1.0.
        sample_rate: in Hz.
        subtype: "FLOAT" (WAV only, its default), "PCM_24" (the default of FLAC) or "PCM_16".

    Raises:
        AudioError: another suffix or subtype, samples that are not finite, or samples beyond
            full scale in an integer format (nothing is ever clipped or normalised unasked).
        OutputError: nothing can be written there.
    """
    path = Path(path)
    file_format = path.suffix.lower().lstrip(".").upper()
    if file_format not in ("WAV", "FLAC"):
        raise AudioError(f"{path}: can't write {path.suffix!r} files: name it .wav or .flac.")
    subtype = subtype or ("FLOAT" if file_format == "WAV" else "PCM_24")
    if subtype not in ("PCM_16", "PCM_24") and (file_format, subtype) != ("WAV", "FLOAT"):
        raise AudioError(f"{path}: {file_format} files of type {subtype!r} are not written here.")
    frames = np.atleast_2d(np.asarray(audio, dtype=np.float32)).T
    if frames.ndim != 2:
        raise AudioError(f"{path}: audio of shape {np.shape(audio)} is not (channels, samples).")
    if not np.isfinite(frames).all():
        raise AudioError(f"{path}: not written: there are NaN or infinite samples in the audio.")
    peak = float(np.abs(frames).max(initial=0.0))
    if subtype != "FLOAT" and peak > 1.0:
        raise AudioError(
            f"{path}: the audio peaks at {20 * math.log10(peak):+.1f} dBFS and would clip in an "
            "integer file: write a .wav (float), or scale every stem of the song alike."
        )
    with refusing_sound(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if subtype == "FLOAT":
                from scipy.io import wavfile

                # Not by libsndfile: it stamps the time of writing into float files (PEAK chunk).
                wavfile.write(temporary, sample_rate, frames)
            else:
                soundfile.write(temporary, frames, sample_rate, format=file_format, subtype=subtype)


@contextlib.contextmanager
def refusing_sound(path: Path) -> Iterator[None]:
    """Say of a sound that can't be written which one it is, as `mixing_buddy.files.refusing` does.

    Raises:
        OutputError: the system or libsndfile refused to write in the block.
    """
    try:
        with refusing(path):
            yield
    # soundfile asserts that all frames were written, which they are not on a full disk.
    except (soundfile.LibsndfileError, AssertionError) as error:
        raise OutputError(
            f"{path}: can't be written ({error or 'the disk is full'}). Choose another place, or "
            "make room there."
        ) from error


def sound_name(path: str | os.PathLike[str]) -> str | bytes:
    """A file's name as soundfile takes it, whatever bytes it is made of.

    As text it refuses names that are no UTF-8, such as those out of archives of other systems.
    """
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


def to_mono(audio: np.ndarray) -> np.ndarray:
    """Average the channels.

    Args:
        audio: float32 of shape `(num_channels, num_samples)` or `(num_samples,)`.

    Returns:
        float32 of shape `(num_samples,)`.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim == 1:
        return audio
    return audio[0] if len(audio) == 1 else audio.mean(axis=0, dtype=np.float32)


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample with a windowed sinc (Kaiser window, 64 zero crossings).

    Args:
        audio: float32 of shape `(..., num_samples)`.
        rate_in: its sample rate in Hz.
        rate_out: the wanted sample rate in Hz.

    Returns:
        float32 of shape `(..., ceil(num_samples * rate_out / rate_in))`; the array itself
        where the rates are equal.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if rate_in == rate_out:
        return audio
    # Heavy, and not needed by sources that are at the model's rate already.
    import torch
    import torchaudio.functional

    num_threads = torch.get_num_threads()
    # With more threads a forked process (`datasets` forks to build) would wait for ever for
    # those of its parent, and the rounding of the sums could depend on their number.
    torch.set_num_threads(1)
    try:
        resampled = torchaudio.functional.resample(
            torch.from_numpy(np.ascontiguousarray(audio)),
            rate_in,
            rate_out,
            lowpass_filter_width=64,
            rolloff=0.95,
            resampling_method="sinc_interp_kaiser",
            beta=14.77,
        )
    finally:
        torch.set_num_threads(num_threads)
    return resampled.numpy()


def _check_is_file(path: Path) -> None:
    """Raise unless there is a file: a pipe or a device would be waited for, or read for ever."""
    if path.is_file():
        return
    if path.exists():
        raise AudioError(f"{path}: this is no file: a folder, a pipe or a device can't be read.")
    raise AudioError(f"{path}: there is no such file.")


def _check_sample_rate(path: Path, sample_rate: int) -> None:
    if not _MIN_SAMPLE_RATE <= sample_rate <= _MAX_SAMPLE_RATE:
        raise AudioError(
            f"{path}: its header says {sample_rate} Hz, which no sound has: it is damaged. Export "
            "or copy it again."
        )


def _check_wav_is_complete(path: Path) -> None:
    """Raise if a WAV file ends before its data chunk does: libsndfile reads on in silence."""
    file_size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(12)
        if len(header) < 12 or header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                held = file_size - file.tell()
                if size not in _UNKNOWN_SIZES and held < size:
                    raise AudioError(
                        f"{path}: truncated: its header promises {size} bytes of samples, the "
                        f"file holds {held}. Export or copy it again."
                    )
                return
            file.seek(size + size % 2, os.SEEK_CUR)
