"""A singing voice made with numpy: a glottal source shaped by moving formants.

A sawtooth (the glottal flow's derivative falls by about 6 dB an octave after radiation at the
lips) and noise go through a short-time Fourier transform; each frame is multiplied by the
spectral envelope of that instant's vowel or consonant. This allows formants that really move, at
the cost of one transform a voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, rfft
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from mixing_buddy.generated_songs.composition import Note, pick
from mixing_buddy.generated_songs.electronic import saw

#: First three formants in Hz of English vowels (averages of men; Peterson & Barney 1952).
VOWELS: dict[str, tuple[float, float, float]] = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "uh": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
_HIGHER_FORMANTS = (3450.0, 4500.0)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 220.0, 320.0])
#: (share of syllables, seconds, centre of the noise in Hz or 0, voiced)
_CONSONANTS: dict[str, tuple[float, float, float, bool]] = {
    "none": (0.22, 0.0, 0.0, True),
    "plosive": (0.24, 0.055, 3200.0, False),
    "fricative": (0.2, 0.09, 6500.0, False),
    "hiss": (0.08, 0.07, 3000.0, False),
    "nasal": (0.16, 0.07, 0.0, True),
    "liquid": (0.1, 0.05, 0.0, True),
}
_CONTROL_RATE = 200
_FRAME = 512
_HOP = 128


@dataclass(frozen=True)
class Singer:
    """A singer's voice and habits."""

    tract_scale: float
    vibrato_hz: float
    vibrato_cents: float
    glide_s: float
    scoop_semitones: float
    jitter_cents: float
    breath: float
    tilt_db_per_octave: float
    formant_levels: tuple[float, ...]
    consonant_level: float
    vowels: tuple[str, ...]
    lowest: int
    highest: int

    def describe(self) -> dict[str, object]:
        """The singer as plain values for a metadata file."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
            if key != "formant_levels"
        }


def draw_singer(rng: np.random.Generator, style: str) -> Singer:
    """Draw a singer for a melody of ``style`` (see :mod:`.melody`)."""
    scale = float(rng.uniform(0.92, 1.32))
    # Short vocal tracts (high formants) belong to high voices.
    lowest = int(np.clip(round(43 + 35 * (scale - 0.92) + rng.normal(0, 2)), 40, 60))
    tuned = rng.random() < 0.25  # pitch-corrected, as in much electronic music
    count = int(pick(rng, [1, 3, 5, 8], [1, 2, 4, 6])) if style != "chopped" else 2
    names = tuple(str(name) for name in rng.permutation(list(VOWELS))[:count])
    return Singer(
        tract_scale=scale,
        vibrato_hz=float(rng.uniform(4.5, 6.5)),
        vibrato_cents=0.0 if tuned else float(rng.uniform(0, 55)),
        glide_s=0.004 if tuned else float(rng.uniform(0.02, 0.09)),
        scoop_semitones=0.0 if tuned else float(rng.uniform(0, 1.6)),
        jitter_cents=2.0 if tuned else float(rng.uniform(4, 16)),
        breath=float(rng.uniform(0.01, 0.25)),
        tilt_db_per_octave=float(rng.uniform(-2.5, 3.5)),
        formant_levels=tuple(
            float(level) for level in (1, 0.7, 0.45, 0.35, 0.25) * rng.uniform(0.6, 1.6, 5)
        ),
        consonant_level=float(rng.uniform(0.5, 2.0)),
        vowels=names,
        lowest=lowest,
        highest=lowest + int(rng.integers(12, 20)),
    )


def sing(
    rng: np.random.Generator,
    notes: Sequence[Note],
    singer: Singer,
    num_samples: int,
    sample_rate: int,
    carrier: np.ndarray | None = None,
) -> np.ndarray:
    """Sing ``notes``, one syllable each.

    Args:
        rng: Source of syllables and noise.
        notes: Notes sorted by time, not overlapping.
        singer: The voice.
        num_samples: Length of the result.
        sample_rate: In Hz.
        carrier: Sound of shape ``(num_samples,)`` to be shaped instead of the glottal source, as
            in a vocoder or talk box.

    Returns:
        ``float32`` array of shape ``(num_samples,)``.
    """
    control = _draw_controls(rng, notes, singer, num_samples / sample_rate)
    at_s = np.arange(num_samples, dtype=np.float64) / sample_rate * _CONTROL_RATE
    grid = np.arange(len(control["pitch"]))
    level = np.interp(at_s, grid, control["level"]).astype(np.float32)
    if carrier is None:
        pitch = np.interp(at_s, grid, control["pitch"])
        increment = 440.0 * 2.0 ** ((pitch - 69) / 12) / sample_rate
        source = saw(np.cumsum(increment), increment)
    else:
        source = carrier / (float(np.sqrt(np.mean(carrier**2))) * 2 + 1e-9)
    noise = rng.standard_normal(num_samples, dtype=np.float32)
    return _shape(source * level, noise, control, singer, sample_rate)


def _draw_controls(
    rng: np.random.Generator, notes: Sequence[Note], singer: Singer, duration_s: float
) -> dict[str, np.ndarray]:
    """Pitch, levels and formants at the control rate."""
    count = int(np.ceil(duration_s * _CONTROL_RATE)) + 2
    pitch = np.full(count, float(notes[0].pitch) if notes else 60.0)
    level, breath, hiss = np.zeros(count), np.zeros(count), np.zeros(count)
    hiss_hz = np.full(count, 5000.0)
    vibrato = np.zeros(count)
    formants = np.tile(np.array(VOWELS["uh"])[:, None], (1, count))
    names = list(_CONSONANTS)
    weights = [_CONSONANTS[name][0] for name in names]
    last_end_s = -1.0
    for note in notes:
        first = min(count - 1, round(note.start_s * _CONTROL_RATE))
        last = min(count, first + max(3, round(note.duration_s * _CONTROL_RATE)))
        length = last - first
        if length < 2:
            continue
        pitch[first:] = note.pitch
        time_s = np.arange(length) / _CONTROL_RATE
        if singer.scoop_semitones and rng.random() < 0.4:
            pitch[first:last] -= singer.scoop_semitones * np.exp(-time_s / 0.05)
        vibrato[first:last] = np.clip((time_s - 0.18) / 0.25, 0, 1)
        fade = np.minimum(1, (time_s[::-1] + 0.005) / 0.06) * (1 - 0.25 * time_s / time_s[-1])
        level[first:last] = note.velocity * fade
        vowel = np.array(VOWELS[pick(rng, singer.vowels)])
        formants[:, first:] = vowel[:, None]
        if rng.random() < 0.25:  # diphthong
            other = np.array(VOWELS[pick(rng, singer.vowels)])
            middle = first + length // 2
            formants[:, middle:] = other[:, None]
        kind = pick(rng, names, weights)
        _, consonant_s, centre_hz, voiced = _CONSONANTS[kind]
        end = min(last, first + max(1, round(consonant_s * _CONTROL_RATE)))
        if kind == "none" or end - first >= length * 0.7:
            pass
        elif voiced:
            level[first:end] *= 0.45
            formants[:, first:end] = np.array([[260.0], [1200.0], [2300.0]])
        else:
            level[first:end] = 0.0
            onset = max(first, end - 4) if kind == "plosive" else first
            hiss[onset:end] = singer.consonant_level * note.velocity * rng.uniform(0.5, 1.2)
            hiss_hz[first:end] = centre_hz * rng.uniform(0.7, 1.25)
        if note.start_s - last_end_s > 0.45 and first > 60 and rng.random() < 0.6:
            inhale = slice(first - 55, first - 12)
            breath[inhale] = np.hanning(43) * singer.breath * 0.8
        last_end_s = note.start_s + note.duration_s
    width = singer.glide_s * _CONTROL_RATE
    pitch = gaussian_filter1d(pitch, max(0.3, width))
    wander = gaussian_filter1d(rng.standard_normal(count), 6) * 3.5 * singer.jitter_cents / 100
    wave = np.sin(2 * np.pi * singer.vibrato_hz * np.arange(count) / _CONTROL_RATE)
    vibrato = uniform_filter1d(vibrato, 9)
    level = gaussian_filter1d(level, 2.0)
    return {
        "pitch": pitch + wander + wave * vibrato * singer.vibrato_cents / 100,
        "level": level,
        "breath": gaussian_filter1d(breath, 2.0) + level * singer.breath,
        "hiss": gaussian_filter1d(hiss, 1.0),
        "hiss_hz": hiss_hz,
        "formants": gaussian_filter1d(formants, 4.0, axis=1),
    }


def _shape(
    source: np.ndarray,
    noise: np.ndarray,
    control: dict[str, np.ndarray],
    singer: Singer,
    sample_rate: int,
) -> np.ndarray:
    """Multiply each frame's spectrum by its envelope and overlap-add."""
    num_samples = len(source)
    window = np.sqrt(np.hanning(_FRAME + 1)[:-1]).astype(np.float32)
    num_frames = num_samples // _HOP + _FRAME // _HOP
    padding = (_FRAME, num_frames * _HOP + _FRAME - num_samples)
    num_frames += _FRAME // _HOP

    def analyse(sound: np.ndarray, active: np.ndarray) -> np.ndarray:
        frames = sliding_window_view(np.pad(sound, padding), _FRAME)[::_HOP][:num_frames]
        return rfft(frames[active] * window, axis=1)

    centre_s = (np.arange(num_frames) * _HOP + _FRAME / 2 - _FRAME) / sample_rate
    at = np.clip(centre_s * _CONTROL_RATE, 0, len(control["level"]) - 1)
    grid = np.arange(len(control["level"]))

    def sample(values: np.ndarray) -> np.ndarray:
        return np.interp(at, grid, values).astype(np.float32)

    breath, hiss = sample(control["breath"]), sample(control["hiss"])
    active = (sample(control["level"]) + breath + hiss) > 1e-4
    hz = np.arange(_FRAME // 2 + 1, dtype=np.float32) * sample_rate / _FRAME
    tract = np.zeros((int(active.sum()), len(hz)), dtype=np.float32)
    scales = singer.tract_scale * np.ones(5, dtype=np.float32)
    for index, (width, weight) in enumerate(zip(_BANDWIDTHS, singer.formant_levels, strict=True)):
        if index < 3:
            centre = sample(control["formants"][index])[active] * scales[index]
        else:
            centre = np.full(len(tract), _HIGHER_FORMANTS[index - 3] * scales[index], np.float32)
        distance = (hz[None, :] - centre[:, None]) * np.float32(2 / width)
        tract += np.float32(weight) / np.sqrt(1 + distance * distance)
    slope = 10 ** (singer.tilt_db_per_octave / 20 * np.log2(np.maximum(hz, 60) / 500))
    tract *= slope.astype(np.float32)
    octaves = (
        np.log2(np.maximum(hz, 40))[None, :] - np.log2(sample(control["hiss_hz"]))[active, None]
    )
    friction = hiss[active, None] * np.exp(-0.5 * (octaves / 0.45) ** 2).astype(np.float32) * 0.5
    # Breath is brighter than the voiced sound; it passes the same vocal tract.
    airy = tract * breath[active, None] * np.minimum(2.0, 0.3 + hz / 2500)[None, :]
    spectrum = analyse(source, active) * tract + analyse(noise, active) * (airy + friction) * 0.3
    frames = np.zeros((num_frames, _FRAME), dtype=np.float32)
    frames[active] = irfft(spectrum, _FRAME, axis=1) * window
    out = np.zeros((num_frames + _FRAME // _HOP, _HOP), dtype=np.float32)
    for part in range(_FRAME // _HOP):
        out[part : part + num_frames] += frames[:, part * _HOP : (part + 1) * _HOP]
    return out.reshape(-1)[_FRAME : _FRAME + num_samples] / 2
