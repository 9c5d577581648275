"""How loud each stem stands in the mix: the convention, its natural spread, and the levelling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.signal import sosfilt

from mixing_buddy.stems import STEMS

#: Usual loudness of each stem relative to the vocals, in LU: halfway between two sources, rounded
#: to 0.5, because each misses something.
#:
#: - Medians over the 87 mixes of The Mix Evaluation Dataset (De Man and Reiss 2017; MixologyDB's
#:   transcription, MIT License, (c) 2023 Michael Clemens) that have all four groups: bass -10.0,
#:   drums -6.3, other -1.8. Raw tracks and faders only: bus gains and compressors, which bring
#:   bass and drums forward, are not in that data.
#: - Medians over the finished stems of four electronic songs (Software-Entwicklungskit, CC0 1.0):
#:   bass +5.0, drums +1.8, other -2.8.
#:
#: ``benchmarks/stem_balance_convention.py`` computes both.
CONVENTION_LU: Mapping[str, float] = {"bass": -2.5, "drums": -2.5, "other": -2.5, "vocals": 0.0}

#: Standard deviation in dB of each stem's level around the convention: what engineers differ by on
#: the same song, from The Mix Evaluation Dataset (2.9 with all engineers, 2.4 without outlying
#: ones; faders and raw loudness only). See ``docs/consensus.md``.
DEFAULT_SPREAD_DB = 2.5

#: Range that the loudness of a finished mix is drawn from, in LUFS.
MIX_LOUDNESS_LUFS = (-20.0, -16.0)
_PEAK_CEILING = 0.98
_BLOCK_S, _HOP_S = 0.4, 0.1
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0


@lru_cache(maxsize=8)
def _k_weighting(sample_rate: int) -> np.ndarray:
    """Second-order sections of BS.1770-4's K-weighting at any rate.

    The standard gives coefficients at 48 kHz only; they are those of a high shelf of 4 dB at
    1681.97 Hz and a high-pass at 38.14 Hz through the bilinear transform.
    """
    tan_shelf = np.tan(np.pi * 1681.974450955533 / sample_rate)
    gain = 10 ** (3.999843853973347 / 20)
    middle, q = gain**0.4996667741545416, 0.7071752369554196
    square = tan_shelf**2
    norm = 1 + tan_shelf / q + square
    shelf = [
        (gain + middle * tan_shelf / q + square) / norm,
        2 * (square - gain) / norm,
        (gain - middle * tan_shelf / q + square) / norm,
        1.0,
        2 * (square - 1) / norm,
        (1 - tan_shelf / q + square) / norm,
    ]
    tan_pass, q = np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    square = tan_pass**2
    norm = 1 + tan_pass / q + square
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (square - 1) / norm, (1 - tan_pass / q + square) / norm]
    return np.array([shelf, high_pass])


def integrated_loudness_lufs(audio: np.ndarray, sample_rate: int) -> float:
    """Gated loudness by ITU-R BS.1770-4 of a mono signal.

    In scipy, not by :mod:`mixing_buddy.loudness`, so that workers need not import torch: with many
    of them that costs more time and memory than the songs.

    Args:
        audio: Array of shape ``(num_samples,)``.
        sample_rate: In Hz.

    Returns:
        Loudness in LUFS; ``-inf`` if no block passes the gates.
    """
    if not len(audio):
        return float("-inf")
    hop = round(_HOP_S * sample_rate)
    weighted = sosfilt(_k_weighting(sample_rate), audio)
    short = np.add.reduceat(weighted**2, np.arange(0, len(audio) - len(audio) % hop or 1, hop))
    num_hops = round(_BLOCK_S / _HOP_S)
    if len(short) < num_hops:
        return float("-inf")
    blocks = np.convolve(short, np.ones(num_hops), "valid") / (hop * num_hops)
    loudness = -0.691 + 10 * np.log10(blocks + 1e-20)
    blocks = blocks[loudness > _ABSOLUTE_GATE_LUFS]
    if not len(blocks):
        return float("-inf")
    threshold = -0.691 + 10 * np.log10(blocks.mean()) + _RELATIVE_GATE_LU
    blocks = blocks[-0.691 + 10 * np.log10(blocks) > threshold]
    return float(-0.691 + 10 * np.log10(blocks.mean()))


def balance_stems(
    rng: np.random.Generator,
    stems: Mapping[str, np.ndarray],
    sample_rate: int,
    spread_db: float,
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Give each stem its conventional loudness plus a natural deviation.

    Args:
        rng: Source of deviations and of the mix's loudness.
        stems: One array of shape ``(num_samples,)`` for each of the four stems, none silent.
        sample_rate: In Hz.
        spread_db: Standard deviation of each stem's deviation, in dB.

    Returns:
        The stems at their levels, and what was decided: for each stem the convention and the
        deviation, and the common offset, so that a stem's loudness in LUFS is the sum of the three.
    """
    deviation_db = {stem: float(rng.normal(0.0, spread_db)) for stem in STEMS}
    target_lufs = float(rng.uniform(*MIX_LOUDNESS_LUFS))
    levelled = {}
    for stem in STEMS:
        wanted = CONVENTION_LU[stem] + deviation_db[stem]
        gain_db = wanted - integrated_loudness_lufs(stems[stem], sample_rate)
        levelled[stem] = stems[stem] * np.float32(10 ** (gain_db / 20))
    mix = sum(levelled.values())
    offset_db = target_lufs - integrated_loudness_lufs(mix, sample_rate)
    peak = max(float(np.abs(audio).max()) for audio in (*levelled.values(), mix))
    # All stems alike: a file that clips is worse than a quiet one.
    offset_db = min(offset_db, 20 * float(np.log10(_PEAK_CEILING / peak)))
    gain = np.float32(10 ** (offset_db / 20))
    balanced = {stem: levelled[stem] * gain for stem in STEMS}
    return balanced, {
        "stems": {
            stem: {
                "convention_lu": CONVENTION_LU[stem],
                "deviation_db": deviation_db[stem],
                "loudness_lufs": integrated_loudness_lufs(balanced[stem], sample_rate),
            }
            for stem in STEMS
        },
        "offset_lufs": offset_db,
        "mix_loudness_lufs": integrated_loudness_lufs(mix * gain, sample_rate),
        "mix_peak_dbfs": 20 * float(np.log10(np.abs(mix * gain).max())),
    }
