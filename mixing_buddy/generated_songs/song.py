"""One generated song, from its seed to four stems."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.generated_songs import effects, instruments
from mixing_buddy.generated_songs.balance import (
    DEFAULT_SPREAD_DB,
    balance_stems,
    integrated_loudness_lufs,
)
from mixing_buddy.generated_songs.composition import compose_plan
from mixing_buddy.generated_songs.soundfonts import check_soundfonts
from mixing_buddy.stems import STEMS

#: Raised whenever the same seed gives other songs than before.
GENERATOR_VERSION = "2"
DEFAULT_SAMPLE_RATE = 24_000
_FADE_S = 0.03
_MIN_DURATION_S = 5.0


class GenerationError(MixingBuddyError):
    """Songs can't be generated as asked."""


def check_settings(duration_s: float, spread_db: float, sample_rate: int) -> None:
    """Raise :class:`GenerationError` if a setting makes no song."""
    if not duration_s >= _MIN_DURATION_S:
        raise GenerationError(f"duration_s is {duration_s}: a song needs {_MIN_DURATION_S} s")
    if not spread_db >= 0:
        raise GenerationError(f"spread_db is {spread_db}: a standard deviation is 0 or more")
    if sample_rate < 16_000:
        raise GenerationError(f"sample_rate is {sample_rate} Hz: use 16000 or more")


def song_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random generator of one song: independent of every other song, split and seed."""
    words = [seed, zlib.crc32(split.encode()), index]
    return np.random.default_rng(np.random.SeedSequence(words))


def generate_song(
    seed: int,
    index: int = 0,
    split: str = "train",
    *,
    duration_s: float = 40.0,
    spread_db: float = DEFAULT_SPREAD_DB,
    soundfonts: Sequence[str | Path] = (),
    sample_rate: int = DEFAULT_SAMPLE_RATE,
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Compose, render and balance one song.

    Args:
        seed: Seed of the corpus, 0 or more.
        index: Number of the song in the corpus.
        split: Name of the split; the same index in another split is another song.
        duration_s: Length of the song in seconds.
        spread_db: Standard deviation in dB of each stem's level around the convention.
        soundfonts: Paths of SoundFonts; each instrument draws one. Empty: all that are installed.
        sample_rate: In Hz.

    Returns:
        The four stems by name, ``float32`` arrays of shape ``(num_samples,)``, and the choices
        that were made, as plain values.

    Raises:
        GenerationError: If a setting makes no song.
        SynthesiserError: If synthesiser or SoundFonts are missing.
    """
    check_settings(duration_s, spread_db, sample_rate)
    rng = song_generator(seed, split, index)
    # Each part has a generator of its own: a new drum sound does not change the melody.
    form, bass, drums, other, vocals, levels = rng.spawn(6)
    plan = compose_plan(form, duration_s)
    num_samples = round(duration_s * sample_rate)
    studio = instruments.Studio(tuple(check_soundfonts(soundfonts)), sample_rate, num_samples)
    beat_s = plan.groove.step_s * plan.groove.steps_per_beat

    def finish(part_rng, stem, audio, choices):
        settings = effects.draw_effects(part_rng, stem)
        audio = effects.apply_effects(part_rng, audio, settings, sample_rate, beat_s)
        rounded = {name: round(value, 3) for name, value in settings.items()}
        return audio, {**choices, "effects": rounded}

    raw: dict[str, np.ndarray] = {}
    tracks: dict[str, object] = {}
    for stem, part_rng, make in (
        ("bass", bass, instruments.make_bass),
        ("drums", drums, instruments.make_drums),
        ("vocals", vocals, instruments.make_vocals),
    ):
        raw[stem], tracks[stem] = finish(part_rng, stem, *make(part_rng, plan, studio))
    raw["other"] = np.zeros(num_samples, dtype=np.float32)
    tracks["other"] = []
    for audio, choices in instruments.make_accompaniment(other, plan, studio):
        audio, choices = finish(other, "other", audio, choices)
        loudness_lufs = integrated_loudness_lufs(audio, sample_rate)
        if np.isfinite(loudness_lufs):
            level_db = float(other.normal(0, 3)) - loudness_lufs - 20
            raw["other"] += audio * np.float32(10 ** (level_db / 20))
            tracks["other"].append(choices)
    fade = np.ones(num_samples, dtype=np.float32)
    fade[-round(_FADE_S * sample_rate) :] = np.linspace(1, 0, round(_FADE_S * sample_rate))
    balanced, balance = balance_stems(
        levels, {stem: raw[stem] * fade for stem in STEMS}, sample_rate, spread_db
    )
    return balanced, {
        "genre": plan.genre,
        "key": plan.key,
        "mode": plan.mode,
        "tempo_bpm": round(plan.groove.tempo_bpm, 2),
        "beats_per_bar": plan.groove.beats_per_bar,
        "steps_per_beat": plan.groove.steps_per_beat,
        "swing": round(plan.groove.swing, 3),
        "half_time": plan.half_time,
        "sections": [
            {
                "name": section.name,
                "start_bar": section.start_bar,
                "num_bars": section.num_bars,
                "stems": sorted(section.stems),
                "chords": [list(chord.tones) for chord in section.chords],
                "bars_per_chord": section.bars_per_chord,
            }
            for section in plan.sections
        ],
        "tracks": tracks,
        "balance": balance,
    }
