from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixing_buddy.loudness import (
    _k_weighting,
    active_fraction,
    db_to_gain,
    gated_power,
    k_weighted,
    loudness_lufs,
    rms_dbfs,
)

RATE = 24_000


def sine(frequency, duration_s=2.0, amplitude=1.0, rate=RATE):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(duration_s * rate) / rate)).astype(
        np.float32
    )


@given(st.floats(-60.0, 60.0))
def test_gain_moves_level_by_itself_and_its_inverse_undoes_it(gain_db):
    audio = sine(440.0, 0.1)
    assert rms_dbfs(audio * db_to_gain(gain_db)) == pytest.approx(
        rms_dbfs(audio) + gain_db, abs=1e-3
    )
    assert db_to_gain(gain_db) * db_to_gain(-gain_db) == pytest.approx(1.0)


def test_levels_of_known_signals():
    assert rms_dbfs(sine(1000.0)) == pytest.approx(-3.01, abs=0.01)
    assert rms_dbfs(np.ones(10)) == pytest.approx(0.0)
    assert rms_dbfs(np.zeros(10)) == rms_dbfs(np.zeros(0)) == -math.inf


@given(st.integers(0, 40))
def test_active_fraction_is_the_share_of_frames_that_sound(num_active):
    audio = np.zeros(40 * 1200, dtype=np.float32)
    audio[: num_active * 1200] = 0.1
    assert active_fraction(audio, RATE) == pytest.approx(num_active / 40)
    assert active_fraction(audio[:0], RATE) == 0.0


def test_a_full_scale_sine_at_997_hz_has_the_loudness_that_the_standard_says():
    # ITU-R BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01 LKFS, in two 3 dB more.
    assert loudness_lufs(sine(997.0), RATE) == pytest.approx(-3.01, abs=0.1)
    assert loudness_lufs(np.stack([sine(997.0)] * 2), RATE) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("gain_db", [-30.0, -6.0, 6.0, 18.0])
def test_loudness_follows_gain_beyond_full_scale_too(gain_db):
    audio = np.random.default_rng(0).normal(0, 0.1, RATE * 2).astype(np.float32)
    moved = loudness_lufs(audio * np.float32(db_to_gain(gain_db)), RATE)
    assert moved == pytest.approx(loudness_lufs(audio, RATE) + gain_db, abs=0.01)


def test_short_and_silent_audio():
    assert loudness_lufs(sine(997.0, 0.1), RATE) == pytest.approx(-3.01, abs=0.3)
    assert loudness_lufs(np.zeros(RATE), RATE) == -math.inf
    assert loudness_lufs(np.zeros(0), RATE) == -math.inf
    assert loudness_lufs(np.full(RATE, 1e-7, np.float32), RATE) == -math.inf


@given(frequency_hz=st.floats(25.0, 10_000.0), silent_share=st.floats(0.0, 0.8))
@settings(max_examples=15)
def test_gated_power_of_weighted_audio_is_the_loudness_of_the_standard(frequency_hz, silent_share):
    times_s = np.arange(10 * 24_000) / 24_000
    tone = 0.1 * np.sin(2 * np.pi * frequency_hz * times_s) * (times_s > 10 * silent_share)
    weighted = k_weighted(tone.astype(np.float32), 24_000).reshape(-1, 320)
    power = gated_power(np.square(weighted).mean(1), blocks_per_gate=30, blocks_per_hop=6)
    # Gates that begin elsewhere than the standard's leave a little more or less of the edge out.
    assert 10 * np.log10(power) - 0.691 == pytest.approx(loudness_lufs(tone, 24_000), abs=0.3)


def test_gated_power_of_silence_is_none_and_of_little_audio_its_mean():
    assert gated_power(np.zeros((100, 2)), 30, 6).tolist() == [0.0, 0.0]
    assert gated_power(np.array([0.1, 0.3]), 30, 6) == pytest.approx(0.2)


def test_k_weighting_has_the_coefficients_of_the_standard_at_its_rate():
    shelf, high_pass = _k_weighting(48_000)
    expected = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    assert shelf == pytest.approx([*expected, 1.0, -1.69065929318241, 0.73248077421585], abs=1e-7)
    expected = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    assert high_pass == pytest.approx(expected, abs=1e-7)
