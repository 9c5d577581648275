"""Making the advised fader moves: from stems and gains to a mix that can be played.

Stems are kept at their own sample rate and in stereo here; the model hears them otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from mixing_buddy.advice import Advice
from mixing_buddy.audio import read_audio
from mixing_buddy.errors import SongError
from mixing_buddy.flaws import Direction
from mixing_buddy.loudness import db_to_gain, loudness_lufs
from mixing_buddy.rendering import render
from mixing_buddy.songs import load_song_folder
from mixing_buddy.stems import STEMS

#: Highest sample of a mix that had to be turned down, in dBFS: dither and lossy encoders add some.
PEAK_DBFS = -0.3


def advised_change_db(advice: Advice) -> dict[str, float]:
    """Say how far advice moves a fader: by the middle of its range.

    Returns:
        The change in dB of the advised stem, positive for raise; empty where nothing is to be
        moved, or where the advice names no stem or no size.
    """
    if advice.stem is None or advice.direction in (None, Direction.NONE) or advice.min_db is None:
        return {}
    size_db = (advice.min_db + advice.max_db) / 2
    return {advice.stem: size_db if advice.direction is Direction.RAISE else -size_db}


def add_gains(*gains_db: Mapping[str, float]) -> dict[str, float]:
    """Add fader moves up.

    Returns:
        Gain in dB of every stem of `STEMS`.
    """
    return {stem: sum(each.get(stem, 0.0) for each in gains_db) for stem in STEMS}


def read_stems(folder: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a folder of stems as they are.

    Args:
        folder: with bass, drums, other and vocals as .wav or .flac.

    Returns:
        float32 of shape `(4, num_channels, num_samples)`, stems in the order of `STEMS`, with as
        many channels as the stem that has most of them (mono stems stand in the middle), and the
        sample rate in Hz.

    Raises:
        SongError: a stem is missing or unreadable, stems differ in length or sample rate, or in
            their number of channels other than by being mono.
    """
    song = load_song_folder(folder)
    stems, sample_rate = [], 0
    for path in song.stem_paths.values():
        audio, sample_rate = read_audio(path)
        stems.append(audio)
    num_channels = max(len(audio) for audio in stems)
    if odd := {len(audio) for audio in stems} - {1, num_channels}:
        raise SongError(
            f"{song.folder}: stems have {min(odd)} and {num_channels} channels: export all of "
            "them in mono or stereo."
        )
    shape = (num_channels, stems[0].shape[1])
    return np.stack([np.broadcast_to(audio, shape) for audio in stems]), sample_rate


def mix_stems(stems: np.ndarray, gains_db: Mapping[str, float]) -> np.ndarray:
    """Mix stems of any number of channels.

    Args:
        stems: float32 of shape `(4, num_channels, num_samples)`, in the order of `STEMS`.
        gains_db: gain in dB of each stem; 0 where it is not named.

    Returns:
        float32 of shape `(num_channels, num_samples)`; it may exceed full scale.
    """
    gains_db = add_gains(gains_db)
    return np.stack([render(stems[:, channel], gains_db) for channel in range(stems.shape[1])])


def fit_full_scale(mixes: Sequence[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Turn mixes down together, so that none clips and they still compare.

    Args:
        mixes: each of shape `(num_channels, num_samples)`.

    Returns:
        The mixes, and the common gain in dB: 0 where none exceeds full scale.
    """
    peak = max(float(np.abs(mix).max(initial=0.0)) for mix in mixes)
    if peak <= 1.0:
        return list(mixes), 0.0
    gain_db = PEAK_DBFS - 20.0 * math.log10(peak)
    return [mix * np.float32(db_to_gain(gain_db)) for mix in mixes], gain_db


def match_loudness(mixes: Sequence[np.ndarray], sample_rate: int) -> list[np.ndarray]:
    """Turn mixes to the loudness of the first, so that the louder one doesn't win the comparison.

    Args:
        mixes: each of shape `(num_channels, num_samples)`; silent ones stay as they are.
        sample_rate: in Hz.
    """
    measured = [loudness_lufs(mix, sample_rate) for mix in mixes]
    return [
        mix * np.float32(db_to_gain(measured[0] - each))
        if math.isfinite(each) and math.isfinite(measured[0])
        else mix
        for mix, each in zip(mixes, measured, strict=True)
    ]
