"""How loud audio is: RMS level, share of active frames, BS.1770 loudness."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

#: A 50 ms frame counts as active above this RMS level in dBFS: the level at which a stem
#: counts as audible too, so that the two kinds of gating agree on what silence is.
ACTIVE_FRAME_DBFS = -45.0

_FRAME_S = 0.05
_BS1770_BLOCK_S = 0.4
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_DB = -70.0, -10.0
#: BS.1770's loudness lies this far below ten times the logarithm of power.
_LUFS_OFFSET_DB = 0.691


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


def k_weighted(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Weigh audio by frequency as ITU-R BS.1770-4 does before it measures loudness.

    Args:
        audio: float32 of shape `(..., num_samples)`.
        sample_rate: in Hz.

    Returns:
        float32 of the same shape.
    """
    from scipy.signal import sosfilt

    return sosfilt(_k_weighting(sample_rate), audio, axis=-1).astype(np.float32, copy=False)


def k_weighting_power(frequencies_hz: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the factor by which K-weighting changes power at each frequency.

    Args:
        frequencies_hz: of shape `(num_frequencies,)`.
        sample_rate: in Hz.

    Returns:
        float64 of the same shape.
    """
    from scipy.signal import sosfreqz

    _, response = sosfreqz(_k_weighting(sample_rate), worN=frequencies_hz, fs=sample_rate)
    return np.square(np.abs(response))


def gated_power(powers: np.ndarray, blocks_per_gate: int, blocks_per_hop: int) -> np.ndarray:
    """Average powers over time as the gates of ITU-R BS.1770-4 do: quiet passages don't count.

    Args:
        powers: mean squares of K-weighted audio in short blocks, of shape `(num_blocks, ...)`.
        blocks_per_gate: how many blocks make 400 ms.
        blocks_per_hop: how many blocks lie between one 400 ms and the next.

    Returns:
        Of shape `powers.shape[1:]`; 0 where nothing passes the absolute gate at -70 LUFS. Loudness
        in LUFS is ten times its logarithm, less 0.691.
    """
    span = min(blocks_per_gate, len(powers))
    sums = np.cumsum(np.concatenate([np.zeros_like(powers[:1]), powers]), axis=0, dtype=np.float64)
    starts = np.arange(0, len(powers) - span + 1, blocks_per_hop)
    gates = (sums[starts + span] - sums[starts]) / span
    loud = gates > 10 ** ((_ABSOLUTE_GATE_LUFS + _LUFS_OFFSET_DB) / 10)
    mean = np.where(loud, gates, 0.0).sum(axis=0) / np.maximum(loud.sum(axis=0), 1)
    loud &= gates > mean * db_to_gain(_RELATIVE_GATE_DB) ** 2
    return np.where(loud, gates, 0.0).sum(axis=0) / np.maximum(loud.sum(axis=0), 1)


@lru_cache(maxsize=8)
def _k_weighting(sample_rate: int) -> np.ndarray:
    """Second-order sections of K-weighting: a shelf for the head, then a high pass."""
    quality = 0.7071752369554196
    k, denominator = _resonance(1681.974450955533, quality, sample_rate)
    high = db_to_gain(3.999843853973347)
    slope = high**0.4996667741545416 * k / quality
    shelf = np.array([high + slope + k * k, 2.0 * (k * k - high), high - slope + k * k])
    _, high_pass = _resonance(38.13547087602444, 0.5003270373238773, sample_rate)
    return np.array(
        [
            [*(shelf / denominator[0]), *(denominator / denominator[0])],
            [1.0, -2.0, 1.0, *(high_pass / high_pass[0])],
        ]
    )


def _resonance(frequency_hz: float, quality: float, sample_rate: int) -> tuple[float, np.ndarray]:
    """Warped frequency and denominator of a second-order section by the bilinear transform."""
    k = math.tan(math.pi * frequency_hz / sample_rate)
    return k, np.array([1.0 + k / quality + k * k, 2.0 * (k * k - 1.0), 1.0 - k / quality + k * k])
