"""Audio files of any length and rate, block by block, in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from mixing_buddy.audio import audio_info, resample, sound_name, to_mono
from mixing_buddy.errors import AudioError

#: Frames decoded at a time.
_READ_FRAMES = 1 << 16

#: Largest filter, as the product of the ratio's two numbers. All usual rates need far smaller ones;
#: odd ones (such as 44,101 Hz) are rounded, anew in each block, so that no drift adds up: the end
#: of a block of 10 s is off by a millisecond or less.
_MAX_FILTER = 20_000_000


def stream_audio(
    path: str | os.PathLike[str],
    sample_rate: int,
    block_s: int,
    *,
    mono: bool = True,
    skip_blocks: int = 0,
) -> Iterator[np.ndarray]:
    """Decode, resample and cut a file.

    The blocks are those of the whole file resampled at once: each is resampled with what stands
    before and after it.

    Args:
        path: a file that libsndfile reads, of any rate and number of channels.
        sample_rate: wanted sample rate in Hz.
        block_s: length of a block in seconds.
        mono: average the channels.
        skip_blocks: blocks at the start that are passed over.

    Yields:
        float32 of shape `(num_channels, num_samples)`, the last block as long as what is left.

    Raises:
        AudioError: as `mixing_buddy.audio.read_audio`.
    """
    total, rate = audio_info(path)
    limit = max(1, math.isqrt(_MAX_FILTER * sample_rate // rate))
    ratio = Fraction(rate, sample_rate).limit_denominator(limit)
    margin = _margin(ratio)
    size_in, size_out = block_s * rate, block_s * sample_rate
    left_out = math.ceil(total * sample_rate / rate)
    pieces = decode(path, mono=mono)
    held: np.ndarray | None = None
    is_done = False
    for index in range(math.ceil(total / size_in)):
        while not is_done and (held is None or held.shape[1] < size_in + 2 * margin):
            piece = next(pieces, None)
            is_done = piece is None
            if held is None and piece is not None:
                held = np.concatenate([np.zeros((len(piece), margin), np.float32), piece], axis=1)
            elif piece is not None:
                held = np.concatenate([held, piece], axis=1)
        num_out = min(size_out, left_out)
        if index >= skip_blocks:
            around = resample(held[:, : size_in + 2 * margin], ratio.numerator, ratio.denominator)
            start = margin * ratio.denominator // ratio.numerator
            block = around[:, start : start + num_out]
            yield np.pad(block, ((0, 0), (0, num_out - block.shape[1])))
        left_out -= num_out
        held = held[:, size_in:]


def decode(
    path: str | os.PathLike[str], *, mono: bool = False, dtype: str = "float32"
) -> Iterator[np.ndarray]:
    """Decode a file piece by piece at its own rate.

    Args:
        path: a file that libsndfile reads.
        mono: average the channels.
        dtype: "float32" or "float64".

    Yields:
        `(num_channels, num_samples)`.

    Raises:
        AudioError: the file is unreadable or shorter than it says, or holds NaN or infinite
            samples.
    """
    path = Path(path)
    done = 0
    try:
        with soundfile.SoundFile(sound_name(path)) as file:
            while done < file.frames:
                frames = file.read(_READ_FRAMES, dtype=dtype, always_2d=True)
                if len(frames) == 0:
                    raise AudioError(
                        f"{path}: truncated: its header promises {file.frames} samples a channel, "
                        f"reading stopped at {done}. Export or copy it again."
                    )
                finite = np.isfinite(frames).all(axis=1)
                if not finite.all():
                    first_s = (done + int(np.flatnonzero(~finite)[0])) / file.samplerate
                    raise AudioError(
                        f"{path}: NaN or infinite samples, the first at {first_s:.3f} s. "
                        "Find the plug-in that made them and export the file again."
                    )
                done += len(frames)
                yield to_mono(frames.T)[np.newaxis] if mono else frames.T
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: the file can't be decoded ({error.error_string}) It is truncated, damaged "
            "or no audio: export or copy it again."
        ) from error


def _margin(ratio: Fraction) -> int:
    """Samples that must stand around a block, so that its edges are resampled rightly."""
    if ratio == 1:
        return 0
    # What `resample`'s filter reaches (64 zero crossings at a roll-off of 0.95), in whole periods
    # of the ratio, so that a block starts at an output sample.
    reach = math.ceil(64 * ratio.numerator / (min(ratio.numerator, ratio.denominator) * 0.95))
    return (reach // ratio.numerator + 2) * ratio.numerator
