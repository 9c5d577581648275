"""What a song is made of before any sound: time, harmony, form.

Everything here is drawn from one random generator, so a song is a function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

#: Semitones of the scale degrees of each mode, from the tonic.
MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
}
_MODE_WEIGHTS = (0.3, 0.32, 0.1, 0.1, 0.05, 0.05, 0.08)

#: Common loops as scale degrees counted from 0; the rest are drawn step by step.
_PROGRESSIONS: tuple[tuple[int, ...], ...] = (
    (0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 4, 3), (1, 4, 0, 0), (0, 3, 0, 4),
    (0, 6, 5, 6), (0, 5, 2, 6), (0, 0, 3, 3), (0, 2, 3, 4), (0, 6, 3, 0), (5, 4, 3, 4),
    (0, 1, 3, 0), (2, 5, 1, 4), (0, 4, 1, 3), (0, 0, 0, 0), (0, 6, 0, 6), (0, 3, 6, 2),
    (0, 5, 1, 4), (3, 4, 2, 5), (0, 2, 5, 3), (0, 0, 5, 5, 3, 3, 4, 4),
    (0, 4, 5, 2, 3, 0, 3, 4), (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4),
)  # fmt: skip

#: Where functional harmony tends to go from each degree (relative weights).
_NEXT_DEGREE = np.array(
    [
        [1, 2, 1, 4, 4, 4, 2],
        [1, 0, 1, 2, 5, 1, 1],
        [1, 1, 0, 4, 1, 4, 1],
        [4, 2, 1, 1, 4, 1, 2],
        [5, 1, 1, 3, 1, 4, 1],
        [1, 3, 1, 4, 3, 0, 2],
        [4, 1, 2, 2, 1, 3, 0],
    ],
    dtype=float,
)

#: Genres with the range of tempo (beats a minute) each is drawn from.
GENRES: dict[str, tuple[float, float]] = {
    "rock": (95, 165),
    "pop": (85, 135),
    "funk": (88, 120),
    "soul": (68, 105),
    "ballad": (62, 88),
    "latin": (85, 130),
    "jazz": (90, 175),
    "reggae": (65, 95),
    "house": (116, 132),
    "techno": (124, 145),
    "trance": (130, 145),
    "synthpop": (95, 140),
    "trap": (65, 82),
    "hiphop": (78, 104),
    "breakbeat": (120, 150),
    "drum_and_bass": (155, 175),
    "ambient": (65, 100),
}
_GENRE_WEIGHTS = (11, 12, 8, 7, 7, 6, 5, 4, 8, 5, 4, 8, 6, 6, 5, 4, 3)

#: Genres whose sounds are mostly made by machines.
ELECTRONIC_GENRES = frozenset(
    {"house", "techno", "trance", "synthpop", "trap", "hiphop", "breakbeat", "drum_and_bass"}
    | {"ambient"}
)


class Note(NamedTuple):
    """One note of a part.

    ``pitch`` is a MIDI key (in a drum part: the key of the drum in General MIDI), ``velocity``
    lies in 0 to 1.
    """

    start_s: float
    duration_s: float
    pitch: int
    velocity: float


class Chord(NamedTuple):
    """A chord: its root and all of its tones as pitch classes (0 is C), root first."""

    root: int
    tones: tuple[int, ...]


@dataclass(frozen=True)
class Groove:
    """How steps of the grid become seconds.

    A step is the shortest regular duration: a sixteenth, or a triplet eighth where
    ``steps_per_beat`` is 3. ``swing`` delays every second step, as a fraction of a step.
    """

    tempo_bpm: float
    beats_per_bar: int
    steps_per_beat: int
    swing: float

    @property
    def steps_per_bar(self) -> int:
        """Number of grid steps in a bar."""
        return self.beats_per_bar * self.steps_per_beat

    @property
    def step_s(self) -> float:
        """Duration of a step in seconds."""
        return 60.0 / self.tempo_bpm / self.steps_per_beat

    def time_s(self, step: float) -> float:
        """Time of a step, counted from the start of the song, in seconds."""
        late = self.swing if self.steps_per_beat == 4 and int(step) % 2 == 1 else 0.0
        return (step + late) * self.step_s


@dataclass(frozen=True)
class Section:
    """A run of bars with one arrangement."""

    name: str
    start_bar: int
    num_bars: int
    energy: float
    stems: frozenset[str]
    chords: tuple[Chord, ...]
    bars_per_chord: float

    def chord_at(self, bar: float) -> Chord:
        """Chord that sounds at ``bar`` (fractions count, the section starts at 0)."""
        return self.chords[int(bar / self.bars_per_chord + 1e-6) % len(self.chords)]


@dataclass(frozen=True)
class Plan:
    """The score's frame: who plays where is decided from it."""

    genre: str
    key: int
    mode: str
    half_time: bool
    groove: Groove
    sections: tuple[Section, ...]
    duration_s: float

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes of the key, tonic first."""
        return tuple((self.key + semitones) % 12 for semitones in MODES[self.mode])

    @property
    def is_electronic(self) -> bool:
        """Whether machines make most of the sounds."""
        return self.genre in ELECTRONIC_GENRES


def pick(rng: np.random.Generator, options, weights=None):
    """One of ``options``, as a Python object; ``weights`` need not sum to 1."""
    options = list(options)
    if weights is None:
        return options[int(rng.integers(len(options)))]
    weights = np.asarray(weights, dtype=float)
    return options[int(rng.choice(len(options), p=weights / weights.sum()))]


def compose_plan(rng: np.random.Generator, duration_s: float) -> Plan:
    """Draw tempo, key, harmony and form of a song of ``duration_s`` seconds."""
    genre = pick(rng, GENRES, _GENRE_WEIGHTS)
    # One song in six leaves its genre's habits, so that no tempo belongs to one sound.
    low, high = GENRES[genre] if rng.random() < 0.84 else (65, 175)
    meter = (4, 4)
    if genre in ("ballad", "soul", "jazz", "rock", "reggae") and rng.random() < 0.3:
        meter = pick(rng, [(4, 3), (3, 4), (2, 3)], [3, 2, 1])
    swing = 0.0
    if rng.random() < (0.7 if genre in ("jazz", "hiphop", "soul", "reggae") else 0.2):
        swing = float(rng.uniform(0.1, 0.36))
    groove = Groove(float(rng.uniform(low, high)), *meter, swing)
    mode = pick(rng, MODES, _MODE_WEIGHTS)
    key = int(rng.integers(12))
    return Plan(
        genre=genre,
        key=key,
        mode=mode,
        half_time=bool(rng.random() < 0.15) and groove.tempo_bpm > 100,
        groove=groove,
        sections=_compose_form(rng, groove, key, mode, duration_s, genre),
        duration_s=duration_s,
    )


def _compose_form(
    rng: np.random.Generator, groove: Groove, key: int, mode: str, duration_s: float, genre: str
) -> tuple[Section, ...]:
    """Sections that cover ``duration_s`` and at least begin one bar past it."""
    bar_s = groove.step_s * groove.steps_per_bar
    num_bars = int(np.ceil(duration_s / bar_s)) + 1
    rich = float(rng.uniform(0, 1)) * (1.0 if genre in ("jazz", "soul", "funk") else 0.5)
    bars_per_chord = pick(rng, [1.0, 2.0, 0.5], [6, 3, 1.5])
    loops = [_draw_chords(rng, key, mode, rich) for _ in range(2)]
    unit = int(pick(rng, [4, 8], [3, 1])) if bar_s > 1.2 else 8
    sections: list[Section] = []
    bar = 0
    same_loop = rng.random() < 0.5
    while bar < num_bars:
        name = "verse" if len(sections) % 2 == 0 else "chorus"
        length = unit if rng.random() < 0.8 else max(2, unit // 2)
        energy = float(np.clip(rng.normal(0.5 if name == "verse" else 0.75, 0.15), 0.1, 1.0))
        stems = {"bass", "drums", "other", "vocals"}
        # A stem now and then rests for a section, as in real songs; never two of them.
        if rng.random() < 0.2:
            stems.discard(pick(rng, sorted(stems), [3, 3, 2, 3]))
        chords = loops[0] if name == "verse" or same_loop else loops[1]
        sections.append(
            Section(name, bar, length, energy, frozenset(stems), chords, bars_per_chord)
        )
        bar += length
    return tuple(_keep_stems_present(sections, num_bars))


def _keep_stems_present(sections: list[Section], num_bars: int) -> list[Section]:
    """Put a stem back into every section if it would rest for half of the song."""
    for stem in ("bass", "drums", "other", "vocals"):
        played = sum(
            min(section.num_bars, num_bars - 1 - section.start_bar)
            for section in sections
            if stem in section.stems
        )
        if played <= (num_bars - 1) / 2:
            sections = [replace(part, stems=part.stems | {stem}) for part in sections]
    return sections


def _draw_chords(
    rng: np.random.Generator, key: int, mode: str, richness: float
) -> tuple[Chord, ...]:
    if rng.random() < 0.6:
        degrees = list(pick(rng, _PROGRESSIONS))
        # A rotated loop is another song.
        if rng.random() < 0.3:
            turn = int(rng.integers(len(degrees)))
            degrees = degrees[turn:] + degrees[:turn]
    else:
        degrees = [int(pick(rng, range(7), [5, 1, 1, 2, 1, 2, 1]))]
        for _ in range(int(pick(rng, [1, 2, 3, 3, 3, 5, 7]))):
            degrees.append(int(pick(rng, range(7), _NEXT_DEGREE[degrees[-1]])))
    scale = MODES[mode]
    return tuple(_build_chord(rng, key, scale, mode, degree, richness) for degree in degrees)


def _build_chord(
    rng: np.random.Generator,
    key: int,
    scale: tuple[int, ...],
    mode: str,
    degree: int,
    richness: float,
) -> Chord:
    def tone(offset: int) -> int:
        return (key + scale[(degree + offset) % 7]) % 12

    root = tone(0)
    tones = [root, tone(2), tone(4)]
    draw = rng.random()
    if draw < 0.08:
        tones[1] = tone(pick(rng, [1, 3]))  # suspended
    elif draw < 0.13:
        tones = [root, tone(4)]  # power chord
    elif mode == "minor" and degree == 4 and draw < 0.5:
        tones[1] = (root + 4) % 12  # major dominant
    if rng.random() < richness:
        tones.append(tone(6))
        if rng.random() < richness:
            tones.append(tone(8))
    return Chord(root, tuple(tones))
