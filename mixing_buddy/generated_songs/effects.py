"""Track effects: saturation, compression, equaliser, echo, reverb, gating.

Equaliser and reverb are one multiplication in the frequency domain, so a 40 s track costs three
Fourier transforms whatever it goes through.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter

from mixing_buddy.generated_songs.composition import pick

#: Chance of reverb, and range of its wet level in dB, for each kind of track.
_REVERB: Mapping[str, tuple[float, float, float]] = {
    "bass": (0.1, -30, -20),
    "drums": (0.6, -26, -9),
    "other": (0.7, -24, -6),
    "vocals": (0.8, -22, -7),
}


def draw_effects(rng: np.random.Generator, stem: str) -> dict[str, float]:
    """Draw the settings of a track's effects; a missing entry is an effect not used."""
    # Released vocals and backings are brightened, basses deepened: without this the long-term
    # spectra of generated stems came out 5 to 10 dB away from those of real ones.
    bright = {"vocals": 1.0, "other": 0.5}.get(stem, 0.0)
    settings: dict[str, float] = {
        "tilt_db_per_octave": float(np.clip(rng.normal(0.7 * bright, 0.7), -1.6, 2.2)),
        "low_shelf_db": float(rng.normal(2.0 if stem == "bass" else 0.0, 2.5)),
        "high_shelf_db": float(rng.normal(3.0 * bright, 2.5)),
        "bell_hz": float(np.exp(rng.uniform(np.log(150), np.log(6000)))),
        "bell_db": float(rng.normal(0, 3.0)),
    }
    if stem in ("vocals", "other") and rng.random() < 0.7:
        settings["high_pass_hz"] = float(rng.uniform(60, 180))
    if rng.random() < (0.35 if stem != "vocals" else 0.12):
        settings["low_pass_hz"] = float(np.exp(rng.uniform(np.log(2500), np.log(11000))))
    if rng.random() < 0.4:
        settings["drive_db"] = float(rng.uniform(0, 14 if stem != "vocals" else 8))
    if rng.random() < 0.55:
        settings["compressor_ratio"] = float(rng.uniform(1.5, 6))
        settings["compressor_threshold_db"] = float(rng.uniform(-10, 2))
        settings["compressor_release_s"] = float(rng.uniform(0.05, 0.3))
    chance, low, high = _REVERB[stem]
    if rng.random() < chance:
        settings["reverb_db"] = float(rng.uniform(low, high))
        settings["reverb_s"] = float(np.exp(rng.uniform(np.log(0.25), np.log(3.0))))
    if stem in ("vocals", "other") and rng.random() < 0.18:
        settings["echo_beats"] = float(pick(rng, [0.5, 0.75, 1.0]))
        settings["echo_db"] = float(rng.uniform(-16, -8))
    return settings


def apply_effects(
    rng: np.random.Generator,
    audio: np.ndarray,
    settings: Mapping[str, float],
    sample_rate: int,
    beat_s: float,
) -> np.ndarray:
    """Send a track through its effects.

    Args:
        rng: Source of the reverb's noise.
        audio: ``float32`` array of shape ``(num_samples,)``.
        settings: From :func:`draw_effects`.
        sample_rate: In Hz.
        beat_s: Duration of a beat, for echoes in time.

    Returns:
        ``float32`` array of shape ``(num_samples,)``.
    """
    level = float(np.sqrt(np.mean(np.square(audio[np.abs(audio) > 1e-4])))) if audio.any() else 0.0
    if level <= 0.0:
        return audio
    audio = audio / np.float32(level)
    if "drive_db" in settings:
        # Relative to three times the RMS, so that the knee sits among the peaks at 0 dB.
        gain = np.float32(10 ** (settings["drive_db"] / 20) / 3)
        audio = np.tanh(audio * gain) / gain
    if "compressor_ratio" in settings:
        audio = _compress(audio, settings, sample_rate)
    return _filter(rng, audio, settings, sample_rate, beat_s)


def _compress(audio: np.ndarray, settings: Mapping[str, float], sample_rate: int) -> np.ndarray:
    hop = sample_rate // 200
    padded = np.pad(audio, (0, -len(audio) % hop)).reshape(-1, hop)
    envelope_db = 10 * np.log10(np.mean(padded**2, axis=1) + 1e-8)
    over_db = np.maximum(0.0, envelope_db - settings["compressor_threshold_db"])
    cut_db = over_db * (1 - 1 / settings["compressor_ratio"])
    keep = np.exp(-1 / (200 * settings["compressor_release_s"]))
    # The larger of the instant and the decaying cut: fast attack, slow release.
    slow_db = lfilter([1 - keep], [1, -keep], cut_db)
    gain = 10 ** (-np.maximum(cut_db, slow_db) / 20)
    at = (np.arange(len(audio)) / hop).astype(np.float32)
    return audio * np.interp(at, np.arange(len(gain)) + 0.5, gain).astype(np.float32)


def _filter(
    rng: np.random.Generator,
    audio: np.ndarray,
    settings: Mapping[str, float],
    sample_rate: int,
    beat_s: float,
) -> np.ndarray:
    tail_s = max(settings.get("reverb_s", 0.0), 0.1)
    size = next_fast_len(len(audio) + round(tail_s * sample_rate), real=True)
    hz = np.maximum(np.arange(size // 2 + 1, dtype=np.float32) * (sample_rate / size), 20.0)
    octaves = np.log2(hz)
    gain_db = settings["tilt_db_per_octave"] * (octaves - np.float32(np.log2(900)))
    gain_db += settings["low_shelf_db"] / (1 + (hz / 180) ** 2)
    gain_db += settings["high_shelf_db"] / (1 + (4500 / hz) ** 2)
    distance = octaves - np.float32(np.log2(settings["bell_hz"]))
    gain_db += settings["bell_db"] * np.exp(-(distance**2) * 2)
    if "high_pass_hz" in settings:
        gain_db -= 10 * np.log10(1 + (settings["high_pass_hz"] / hz) ** 4)
    if "low_pass_hz" in settings:
        gain_db -= 10 * np.log10(1 + (hz / settings["low_pass_hz"]) ** 4)
    response = np.exp(gain_db * np.float32(np.log(10) / 20))
    spectrum = rfft(audio, size)
    dry = spectrum * response
    wet = dry
    if "echo_beats" in settings:
        # A feedback delay is 1 / (1 - g z^-d); damped echoes sit behind the voice.
        gain = 10 ** (settings["echo_db"] / 20)
        turn = np.exp(-2j * np.pi * (hz * (settings["echo_beats"] * beat_s) % 1.0))
        loop = gain * turn / (1 + hz / 6000)
        wet = dry + dry * loop * (1 + 0.6 * loop)
    if "reverb_db" in settings:
        length = round(settings["reverb_s"] * sample_rate)
        time_s = np.arange(length, dtype=np.float32) / sample_rate
        tail = rng.standard_normal(length, dtype=np.float32)
        # 60 dB down after reverb_s.
        tail *= np.exp(-6.9 * time_s / settings["reverb_s"])
        tail[: round(0.008 * sample_rate)] = 0.0
        tail *= 10 ** (settings["reverb_db"] / 20) / np.sqrt(np.sum(tail**2))
        wet = wet + dry * rfft(tail, size) / np.sqrt(1 + (hz / 3500) ** 2)
    return irfft(wet, size)[: len(audio)].astype(np.float32)


def chop(
    rng: np.random.Generator, audio: np.ndarray, step_s: float, sample_rate: int
) -> np.ndarray:
    """Gate a track rhythmically, in a pattern of 16 steps of ``step_s`` seconds."""
    pattern = rng.random(16) < 0.62
    pattern[0] = True
    steps = np.arange(len(audio)) / (sample_rate * step_s)
    gate = pattern[steps.astype(int) % 16] & (steps % 1.0 < 0.85)
    # 4 ms ramps instead of clicks.
    ramp = max(1, round(0.004 * sample_rate))
    smooth = np.convolve(gate.astype(np.float32), np.full(ramp, 1 / ramp, np.float32), "same")
    return audio * smooth
