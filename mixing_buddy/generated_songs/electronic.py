"""Synthesised instruments made with numpy: tones and drum machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from mixing_buddy.generated_songs import drums
from mixing_buddy.generated_songs.composition import Note, pick

WAVES = ("saw", "square", "triangle", "sine", "fm", "organ")


@dataclass(frozen=True)
class Timbre:
    """A synthesiser patch; times in seconds.

    ``brightness`` is the share of the bright waveform (the rest is a sine), falling to
    ``dark_brightness`` within ``brightness_decay_s``: a cheap closing filter. ``glide_semitones``
    is a pitch drop at the onset, as in the 808's bass drum.
    """

    wave: str
    voices: int
    detune_cents: float
    attack_s: float
    decay_s: float
    sustain: float
    release_s: float
    brightness: float
    dark_brightness: float
    brightness_decay_s: float
    sub: float
    fm_ratio: float
    fm_index: float
    glide_semitones: float
    drive: float


def draw_timbre(rng: np.random.Generator, role: str) -> Timbre:
    """Draw a patch for a ``role``: "bass", "sub", "pad", "pluck" or "lead"."""
    weights = {
        "bass": (5, 4, 1, 0.5, 3, 0.5),
        "sub": (0, 0, 1, 5, 0.5, 0),
        "pad": (6, 2, 2, 0.5, 1, 2),
        "pluck": (4, 3, 2, 1, 4, 1),
        "lead": (5, 4, 1, 1, 1, 0.5),
    }[role]
    slow = role == "pad"
    bright = float(rng.uniform(0.4, 1.0))
    return Timbre(
        wave=pick(rng, WAVES, weights),
        voices=int(pick(rng, [1, 2, 3], [4, 3, 2] if role in ("bass", "lead") else [2, 2, 4]))
        if role != "sub"
        else 1,
        detune_cents=float(rng.uniform(3, 22)),
        attack_s=float(rng.uniform(0.05, 0.5)) if slow else float(rng.uniform(0.002, 0.015)),
        decay_s=float(rng.uniform(0.08, 0.7)) if role != "sub" else float(rng.uniform(0.6, 1.5)),
        sustain=float(rng.uniform(0.0, 0.4)) if role == "pluck" else float(rng.uniform(0.4, 0.95)),
        release_s=float(rng.uniform(0.1, 0.6)) if slow else float(rng.uniform(0.01, 0.12)),
        brightness=bright,
        dark_brightness=bright * float(rng.uniform(0.15, 1.0)),
        brightness_decay_s=float(rng.uniform(0.05, 0.6)),
        sub=float(rng.uniform(0, 0.6)) if role == "bass" else 0.0,
        fm_ratio=float(pick(rng, [0.5, 1, 1, 2, 3, 3.5, 7])),
        fm_index=float(rng.uniform(0.8, 5)),
        glide_semitones=float(rng.uniform(2, 14)) if role == "sub" and rng.random() < 0.6 else 0.0,
        drive=float(rng.uniform(0.5, 4)) if role in ("bass", "sub") else 0.0,
    )


def saw(phase: np.ndarray, increment: np.ndarray | float) -> np.ndarray:
    """Band-limited sawtooth by the differentiated parabolic waveform (Välimäki 2005).

    Args:
        phase: Unwrapped phase in cycles, of shape ``(num_samples,)``.
        increment: Cycles per sample, scalar or ``(num_samples,)``.

    Returns:
        ``float32`` array of shape ``(num_samples,)``, within about -1 to 1.
    """
    parabola = (2.0 * (phase % 1.0) - 1.0) ** 2
    return (np.diff(parabola, prepend=parabola[:1]) / (4.0 * increment)).astype(np.float32)


def _oscillate(timbre: Timbre, frequency: np.ndarray, rate: int, start: float) -> np.ndarray:
    increment = frequency / rate
    phase = np.cumsum(increment) + start
    if timbre.wave == "saw":
        return saw(phase, increment)
    if timbre.wave == "square":
        return 0.7 * (saw(phase, increment) - saw(phase + 0.5, increment))
    if timbre.wave == "triangle":
        return (4.0 * np.abs(phase % 1.0 - 0.5) - 1.0).astype(np.float32)
    angle = (2 * np.pi * (phase % 64.0)).astype(np.float32)
    if timbre.wave == "organ":
        return (np.sin(angle) + 0.6 * np.sin(2 * angle) + 0.3 * np.sin(4 * angle)) / 1.9
    if timbre.wave == "fm":
        time_s = np.arange(len(phase), dtype=np.float32) / rate
        index = timbre.fm_index * (0.15 + 0.85 * np.exp(-time_s / timbre.brightness_decay_s))
        return np.sin(angle + index.astype(np.float32) * np.sin(timbre.fm_ratio * angle))
    return np.sin(angle)


def render_tones(
    rng: np.random.Generator, notes: Sequence[Note], timbre: Timbre, num_samples: int, rate: int
) -> np.ndarray:
    """Play ``notes`` with a synthesised ``timbre``.

    Returns:
        ``float32`` array of shape ``(num_samples,)`` at ``rate`` Hz.
    """
    audio = np.zeros(num_samples, dtype=np.float32)
    for note in notes:
        start = round(note.start_s * rate)
        held = max(1, round(note.duration_s * rate))
        length = min(held + round(timbre.release_s * rate), num_samples - start)
        if length <= 1:
            continue
        time_s = np.arange(length, dtype=np.float32) / rate
        semitones = note.pitch - 69 + timbre.glide_semitones * np.exp(-time_s / 0.03)
        frequency = (440.0 * 2.0 ** (semitones / 12)).astype(np.float64)
        tone = np.zeros(length, dtype=np.float32)
        for voice in range(timbre.voices):
            offset = (voice - (timbre.voices - 1) / 2) * timbre.detune_cents
            tone += _oscillate(timbre, frequency * 2 ** (offset / 1200), rate, rng.random())
        tone /= timbre.voices**0.5
        bright = timbre.dark_brightness + (timbre.brightness - timbre.dark_brightness) * np.exp(
            -time_s / timbre.brightness_decay_s
        )
        pure = np.sin((2 * np.pi * (np.cumsum(frequency / rate) % 1.0)).astype(np.float32))
        tone = bright * tone + (1 - bright + timbre.sub) * pure
        audio[start : start + length] += (
            tone * _envelope(timbre, time_s, held / rate) * note.velocity
        )
    if timbre.drive:
        audio = np.tanh((1 + timbre.drive) * audio)
    return audio


def _envelope(timbre: Timbre, time_s: np.ndarray, held_s: float) -> np.ndarray:
    level = timbre.sustain + (1 - timbre.sustain) * np.exp(-time_s / timbre.decay_s)
    level *= np.minimum(1.0, time_s / timbre.attack_s)
    return level * np.clip(1 - (time_s - held_s) / timbre.release_s, 0, 1)


def build_drum_machine(rng: np.random.Generator, rate: int) -> dict[int, np.ndarray]:
    """Draw a kit: one sound per percussion key, ``float32`` arrays of shape ``(num_samples,)``."""

    def time(duration_s: float) -> np.ndarray:
        return np.arange(round(duration_s * rate)) / rate

    def noise(duration_s: float, band: tuple[float, float]) -> np.ndarray:
        low, high = band[0], min(band[1], rate * 0.49)
        sos = butter(2, [low, high], "bandpass", fs=rate, output="sos")
        return sosfilt(sos, rng.standard_normal(round(duration_s * rate)))

    def tuned(duration_s: float, high: float, low: float, sweep_s: float) -> np.ndarray:
        at = time(duration_s)
        frequency = low + (high - low) * np.exp(-at / sweep_s)
        return np.sin(2 * np.pi * np.cumsum(frequency) / rate)

    def decay(sound: np.ndarray, decay_s: float) -> np.ndarray:
        return sound * np.exp(-time(len(sound) / rate)[: len(sound)] / decay_s)

    kit: dict[int, np.ndarray] = {}
    low = float(rng.uniform(40, 62))
    boom_s = float(rng.uniform(0.07, 0.35))
    kick = decay(
        tuned(0.8, low * float(rng.uniform(3, 9)), low, float(rng.uniform(0.01, 0.05))), boom_s
    )
    kick[: round(0.01 * rate)] += float(rng.uniform(0, 0.6)) * decay(
        noise(0.01, (800, 9000)), 0.003
    )
    kit[drums.KICK] = np.tanh(float(rng.uniform(1, 4)) * kick)
    body = float(rng.uniform(150, 260))
    snare = float(rng.uniform(0.3, 0.9)) * decay(tuned(0.4, body * 1.6, body, 0.02), 0.06)
    snare += decay(
        noise(0.4, (float(rng.uniform(300, 1500)), 11500)), float(rng.uniform(0.05, 0.18))
    )
    kit[drums.SNARE] = snare
    clap = np.zeros(round(0.4 * rate))
    for onset_s in (0.0, 0.011, 0.023, 0.034):
        burst = decay(
            noise(0.35, (700, 5000)), 0.006 if onset_s < 0.03 else float(rng.uniform(0.05, 0.14))
        )
        first = round(onset_s * rate)
        clap[first : first + len(burst)] += burst[: len(clap) - first]
    kit[drums.CLAP] = clap
    kit[drums.RIM] = decay(tuned(0.1, 1800, float(rng.uniform(700, 1700)), 0.01), 0.012)
    floor = float(rng.uniform(5000, 8500))
    metal = sum(
        np.sign(np.sin(2 * np.pi * frequency * time(1.5)))
        for frequency in rng.uniform(2200, 9000, 6)
    )
    hiss = noise(1.5, (floor, 11900)) + float(rng.uniform(0, 0.2)) * sosfilt(
        butter(3, floor, "highpass", fs=rate, output="sos"), metal
    )
    kit[drums.CLOSED_HAT] = 0.7 * decay(hiss[: round(0.2 * rate)], float(rng.uniform(0.015, 0.05)))
    kit[drums.PEDAL_HAT] = kit[drums.CLOSED_HAT]
    kit[drums.OPEN_HAT] = 0.6 * decay(hiss[: round(0.8 * rate)], float(rng.uniform(0.12, 0.35)))
    kit[drums.CRASH] = 0.5 * decay(noise(1.5, (2500, 11900)), float(rng.uniform(0.3, 0.6)))
    kit[drums.RIDE] = 0.5 * decay(hiss[: round(0.8 * rate)], 0.2)
    for key, pitch in ((drums.LOW_TOM, 85), (drums.MID_TOM, 120), (drums.HIGH_TOM, 165)):
        pitch *= float(rng.uniform(0.85, 1.2))
        kit[key] = decay(tuned(0.6, pitch * 1.7, pitch, 0.05), 0.16)
    kit[drums.SHAKER] = 0.6 * decay(noise(0.12, (4500, 11500)), 0.03)
    kit[drums.TAMBOURINE] = 0.6 * decay(noise(0.25, (6000, 11500)), 0.06)
    bell = np.sign(tuned(0.3, 560, 560, 1)) + np.sign(tuned(0.3, 845, 845, 1))
    kit[drums.COWBELL] = 0.4 * decay(bell, 0.07)
    for key, pitch in ((drums.HIGH_CONGA, 330), (drums.LOW_CONGA, 220), (drums.CLAVES, 2400)):
        kit[key] = decay(tuned(0.3, pitch * 1.1, pitch, 0.02), 0.02 if key == drums.CLAVES else 0.1)
    return {key: sound.astype(np.float32) for key, sound in kit.items()}


def render_drum_machine(
    notes: Sequence[Note], kit: dict[int, np.ndarray], num_samples: int, rate: int
) -> np.ndarray:
    """Play ``notes`` with a ``kit``; returns ``float32`` of shape ``(num_samples,)``."""
    audio = np.zeros(num_samples, dtype=np.float32)
    for note in notes:
        sound = kit[note.pitch]
        start = round(note.start_s * rate)
        if start < num_samples:
            end = min(num_samples, start + len(sound))
            audio[start:end] += note.velocity * sound[: end - start]
    return audio
