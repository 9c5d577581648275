"""How loud audio is: RMS level, share of active frames, BS.1770 loudness."""

from __future__ import annotations

import math

import numpy as np

#: A 50 ms frame counts as active above this RMS level in dBFS: the level at which a stem
#: counts as audible too, so that the two kinds of gating agree on what silence is.
ACTIVE_FRAME_DBFS = -45.0

_FRAME_S = 0.05
_BS1770_BLOCK_S = 0.4


def db_to_gain(gain_db: float) -> float:
    """Turn decibels into the factor that samples are multiplied by."""
    return 10.0 ** (gain_db / 20.0)


def rms_dbfs(audio: np.ndarray) -> float:
    """Root mean square level over all samples of all channels.

    Args:
        audio: `(num_samples,)` or `(num_channels, num_samples)`, full scale at 1.0.

    Returns:
        The level in dB relative to an RMS of 1.0 (a full-scale sine is at -3.01 dBFS);
        -inf for digital silence and for no samples at all.
    """
    audio = np.asarray(audio)
    power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
    return 10.0 * math.log10(power) if power > 0.0 else -math.inf


def active_fraction(
    audio: np.ndarray, sample_rate: int, *, threshold_dbfs: float = ACTIVE_FRAME_DBFS
) -> float:
    """Share of 50 ms frames whose RMS level lies above a threshold.

    Args:
        audio: `(num_samples,)`.
        sample_rate: in Hz.
        threshold_dbfs: level above which a frame is active.

    Returns:
        0.0 to 1.0. A last frame that is not full is left out; audio shorter than one frame
        counts as one frame.
    """
    audio = np.asarray(audio)
    frame = min(round(_FRAME_S * sample_rate), len(audio))
    if frame == 0:
        return 0.0
    num_frames = len(audio) // frame
    frames = audio[: num_frames * frame].reshape(num_frames, frame)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(np.mean(power > db_to_gain(threshold_dbfs) ** 2))


def loudness_lufs(audio: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness after ITU-R BS.1770-4 (K-weighting, gated).

    Args:
        audio: `(num_samples,)` or `(num_channels, num_samples)`, up to 5 channels. The
            standard measures blocks of 400 ms: shorter audio is repeated to fill one.
        sample_rate: in Hz.

    Returns:
        Loudness in LUFS; -inf where no block passes the absolute gate at -70 LUFS.
    """
    import torch
    import torchaudio.functional

    audio = np.atleast_2d(np.asarray(audio, dtype=np.float32))
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        return -math.inf
    block = math.ceil(_BS1770_BLOCK_S * sample_rate)
    if audio.shape[1] < block:
        audio = np.tile(audio, (1, math.ceil(block / audio.shape[1])))
    # torchaudio's filters clip at full scale, and K-weighting adds up to 4 dB: keep away.
    scale = min(1.0, 0.5 / peak)
    measured = torchaudio.functional.loudness(torch.from_numpy(audio * scale).double(), sample_rate)
    loudness = float(measured) - 20.0 * math.log10(scale)
    return loudness if math.isfinite(loudness) else -math.inf
