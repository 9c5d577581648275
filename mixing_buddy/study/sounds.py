"""The sounds of a study: what people hear of a row, all equally loud."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixing_buddy.audio import write_audio
from mixing_buddy.errors import StudyError
from mixing_buddy.loudness import db_to_gain, loudness_lufs
from mixing_buddy.schema import DIFFERENTIAL, STEMS_MODE
from mixing_buddy.songs import SAMPLE_RATE

#: Loudness of every mix (EBU R 128's, which leaves 23 dB for peaks); less where one would not fit.
LOUDNESS_LUFS = -23.0

#: No sample of any sound lies above this, in dBFS.
PEAK_DBFS = -1.0


def listening_clips(
    row: Mapping[str, Any], clips: Sequence[np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """Turn what a model hears of a row into what people hear.

    Models hear a differential row as four parts and a row of stems without their sum; people get
    whole mixes, beside the stems where those were given.

    Args:
        row: a dataset row.
        clips: its clips, each float32 of shape `(num_samples,)`, in the order of its `audios`.

    Returns:
        Label and sound, the mix first.
    """
    if row["mode"] == DIFFERENTIAL:
        target_a, backing_a, target_b, backing_b = clips
        return [("Mix A", target_a + backing_a), ("Mix B", target_b + backing_b)]
    if row["mode"] == STEMS_MODE:
        names = [clip["name"].capitalize() for clip in row["audios"]]
        return [("Mix", np.sum(clips, axis=0)), *zip(names, clips, strict=True)]
    return [("Mix", clips[0])]


def gain_to(target_lufs: float, clip: np.ndarray) -> float:
    """Gain in dB that brings a clip of shape `(num_samples,)` to a loudness.

    Raises:
        StudyError: the clip is silent.
    """
    loudness = loudness_lufs(clip, SAMPLE_RATE)
    if not math.isfinite(loudness):
        raise StudyError("a mix without a sound can't be brought to any loudness")
    return target_lufs - loudness


def common_loudness(groups: Sequence[Sequence[np.ndarray]]) -> float:
    """Highest loudness, up to `LOUDNESS_LUFS`, at which nothing in a study clips.

    Args:
        groups: sounds that share one gain, the first of each being the mix that it is for; each of
            shape `(num_samples,)`.

    Returns:
        Loudness in LUFS.

    Raises:
        StudyError: a mix is silent.
    """
    target_lufs = LOUDNESS_LUFS
    for group in groups:
        peak = max(float(np.abs(sound).max()) for sound in group)
        peak_dbfs = 20 * math.log10(peak) + gain_to(LOUDNESS_LUFS, group[0])
        target_lufs = min(target_lufs, LOUDNESS_LUFS + PEAK_DBFS - peak_dbfs)
    return target_lufs


def write_sound(path: Path, sound: np.ndarray, gain_db: float) -> None:
    """Write a sound as FLAC of 16 bits: without loss, and every browser plays it.

    Args:
        path: a name that ends in ``.flac``.
        sound: float32 of shape `(num_samples,)` at `SAMPLE_RATE`.
        gain_db: what to raise it by, in dB.
    """
    write_audio(path, sound * np.float32(db_to_gain(gain_db)), SAMPLE_RATE, subtype="PCM_16")
