"""Audio inside a dataset: clips as FLAC bytes, written and read without ffmpeg."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from mixing_buddy.errors import AudioError, RecipeError
from mixing_buddy.labels import decode_labels
from mixing_buddy.loudness import db_to_gain
from mixing_buddy.rendering import with_audio
from mixing_buddy.songs import SAMPLE_RATE

if TYPE_CHECKING:
    from datasets import Dataset

#: Column of the clip of modes with one, and of the clips of modes with several.
AUDIO_COLUMN, CLIPS_COLUMN = "audio", "clips"
#: Column of what all clips of a row were turned down by, in dB, to fit into the file format.
AUDIO_GAIN_COLUMN = "audio_gain_db"

# Largest sample that 16 bits hold without clipping.
_FULL_SCALE = 1.0 - 2.0**-15


def encode_clips(clips: Sequence[np.ndarray]) -> tuple[list[bytes], float]:
    """Encode the clips of one row as FLAC, 16 bit.

    Clips that exceed full scale are turned down, all clips of the row alike, since their levels
    relative to one another are what is learnt from.

    Args:
        clips: float32 of shape `(num_samples,)` at `SAMPLE_RATE`.

    Returns:
        The bytes of each clip's file, and the gain in dB (0 or negative, in steps of 0.1) that
        they were turned down by.
    """
    peak = max(float(np.abs(clip).max(initial=0.0)) for clip in clips)
    over_db = 20.0 * math.log10(max(peak, 1e-9) / _FULL_SCALE)
    gain_db = -math.ceil(over_db * 10.0) / 10.0 if over_db > 0.0 else 0.0
    files = []
    for clip in clips:
        buffer = io.BytesIO()
        samples = clip * np.float32(db_to_gain(gain_db))
        soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        files.append(buffer.getvalue())
    return files, gain_db


def decode_clip(file: bytes, audio_gain_db: float) -> np.ndarray:
    """Decode a clip and bring it back to its level in the mix.

    Args:
        file: bytes of a FLAC file.
        audio_gain_db: the gain that it was turned down by.

    Returns:
        float32 of shape `(num_samples,)`.

    Raises:
        AudioError: the bytes are damaged, or at another sample rate.
    """
    try:
        samples, sample_rate = soundfile.read(io.BytesIO(file), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise AudioError(f"Audio in the dataset can't be decoded ({error.error_string})") from error
    if sample_rate != SAMPLE_RATE:
        raise AudioError(f"Audio in the dataset is {sample_rate} Hz, expected {SAMPLE_RATE} Hz.")
    return samples / np.float32(db_to_gain(audio_gain_db))


def open_embedded(rows: Dataset) -> Dataset:
    """Let rows with embedded audio be read as `RenderTransform` lets recipes be read.

    Args:
        rows: a split of a dataset that holds its audio.

    Returns:
        Rows whose `"clips"` (and `"audio"`) are float32 arrays, at the level of the mix.

    Raises:
        RecipeError: there is no audio in the rows.
    """
    from datasets import Audio, List

    raw = Audio(decode=False)
    if AUDIO_COLUMN in rows.column_names:
        rows = rows.cast_column(AUDIO_COLUMN, raw)
    elif CLIPS_COLUMN in rows.column_names:
        rows = rows.cast_column(CLIPS_COLUMN, List(raw))
    else:
        raise RecipeError(
            "There is no audio in these rows, only recipes: render them with RenderTransform and "
            "the songs."
        )
    return rows.with_transform(_decode)


def _decode(batch: Mapping[str, list[Any]]) -> dict[str, Any]:
    columns = [[clip] for clip in batch[AUDIO_COLUMN]] if AUDIO_COLUMN in batch else None
    clips = [
        [decode_clip(clip["bytes"], gain_db) for clip in of_row]
        for of_row, gain_db in zip(
            columns or batch[CLIPS_COLUMN], batch[AUDIO_GAIN_COLUMN], strict=True
        )
    ]
    return with_audio(decode_labels(batch), clips)
