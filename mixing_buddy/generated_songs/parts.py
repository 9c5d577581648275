"""Bass lines and accompaniment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixing_buddy.generated_songs.composition import Chord, Note, Plan, Section, pick

BASS_STYLES = (
    "root", "eighths", "octave", "walking", "syncopated", "offbeat", "arpeggio", "sustained",
    "riff", "sixteenths",
)  # fmt: skip
_BASS_OF_GENRE: dict[str, tuple[str, ...]] = {
    "rock": ("eighths", "eighths", "root", "riff", "syncopated"),
    "pop": ("root", "eighths", "syncopated", "octave"),
    "funk": ("syncopated", "riff", "octave", "sixteenths"),
    "soul": ("syncopated", "riff", "walking"),
    "ballad": ("root", "sustained", "arpeggio"),
    "latin": ("syncopated", "root", "arpeggio"),
    "jazz": ("walking",),
    "reggae": ("riff", "syncopated"),
    "house": ("offbeat", "syncopated", "octave", "riff"),
    "techno": ("sixteenths", "offbeat", "riff"),
    "trance": ("offbeat", "sixteenths", "arpeggio"),
    "synthpop": ("eighths", "octave", "sixteenths", "arpeggio"),
    "trap": ("sustained", "riff"),
    "hiphop": ("riff", "sustained", "syncopated"),
    "breakbeat": ("riff", "sustained", "syncopated"),
    "drum_and_bass": ("sustained", "riff", "syncopated"),
    "ambient": ("sustained", "root"),
}
ACCOMPANIMENT_ROLES = ("pad", "strum", "arpeggio", "riff", "stabs", "eighths", "counter")


def _bars(plan: Plan, stem: str) -> Iterator[tuple[Section, int, int]]:
    """Section, bar within it and first step of every bar in which ``stem`` plays."""
    for section in plan.sections:
        if stem in section.stems:
            for bar in range(section.num_bars):
                yield section, bar, (section.start_bar + bar) * plan.groove.steps_per_bar


def _nearest(pitch_class: int, around: float) -> int:
    """The MIDI key of ``pitch_class`` that is nearest to ``around``."""
    return int(round((around - pitch_class) / 12) * 12 + pitch_class)


def _in_range(pitch: int, low: int, high: int) -> int:
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def play_bass(rng: np.random.Generator, plan: Plan) -> tuple[list[Note], dict[str, object]]:
    """Compose a monophonic bass line; returns the notes and the choices made."""
    groove = plan.groove
    num_steps = groove.steps_per_bar
    style = pick(rng, _BASS_OF_GENRE[plan.genre] if rng.random() < 0.85 else BASS_STYLES)
    # Electronic basses go down to 31 Hz, most others stay on a bass guitar's four strings.
    lowest = int(rng.integers(23, 32) if plan.is_electronic else rng.integers(28, 36))
    length = float(rng.uniform(0.45, 1.0))
    jitter_s = 0.001 if plan.is_electronic else float(rng.uniform(0.002, 0.008))
    motif = {name: _bass_motif(rng, groove.steps_per_beat, num_steps) for name in "ab"}
    notes: list[Note] = []

    def add(step: float, steps: float, pitch: int, velocity: float) -> None:
        start_s = max(0.0, groove.time_s(step) + rng.normal(0, jitter_s))
        velocity = float(np.clip(velocity + rng.normal(0, 0.04), 0.2, 1.0))
        pitch = _in_range(pitch, lowest, lowest + 22)
        notes.append(Note(start_s, steps * groove.step_s, pitch, velocity))

    beat = groove.steps_per_beat
    for section, bar, first in _bars(plan, "bass"):
        loud = 0.65 + 0.25 * section.energy
        bar_chords = [section.chord_at(bar + step / num_steps) for step in range(num_steps)]

        def root(step: int, bar_chords: list[Chord] = bar_chords) -> int:
            return _in_range(_nearest(bar_chords[step].root, lowest + 5), lowest, lowest + 11)

        if style == "walking":
            for step in range(0, num_steps, beat):
                tones = bar_chords[step].tones
                pitch = root(step) if step == 0 else _nearest(pick(rng, tones), root(step) + 5)
                if step + beat >= num_steps and rng.random() < 0.6:
                    following = section.chord_at(bar + 1)
                    pitch = _nearest(following.root, lowest + 5) + int(pick(rng, [-1, 1, 2, -2]))
                add(first + step, beat * 0.92, pitch, loud)
        elif style in ("eighths", "sixteenths", "octave", "offbeat", "arpeggio"):
            period = 1 if style == "sixteenths" else max(1, beat // 2)
            for index, step in enumerate(range(0, num_steps, period)):
                pitch, accent = root(step), 0.08 if step % beat == 0 else 0.0
                if style == "octave" and index % 2:
                    pitch += 12
                if style == "arpeggio":
                    tones = bar_chords[step].tones
                    pitch = _nearest(tones[index % len(tones)], root(step) + 4)
                if style == "offbeat" and index % 2 == 0:
                    continue
                if style == "sixteenths" and step % beat == 0 and rng.random() < 0.5:
                    continue
                if rng.random() < 0.06:
                    pitch += int(pick(rng, [7, 12, -5]))
                add(first + step, period * length, pitch, loud + accent)
        elif style in ("syncopated", "riff"):
            for step, steps, tone in motif["a" if bar % 4 < 3 or style == "riff" else "b"]:
                tones = bar_chords[step].tones
                pitch = root(step)
                if tone == 1:
                    pitch = _nearest(tones[len(tones) // 2], pitch + 5)
                elif tone == 2:
                    pitch += 12
                elif tone == 3:
                    pitch = _nearest(pick(rng, plan.scale), pitch + 3)
                add(first + step, steps * (0.6 + 0.4 * length), pitch, loud)
        else:  # root, sustained: one note a chord, or two
            starts = [0] + [
                s for s in range(1, num_steps) if bar_chords[s].root != bar_chords[s - 1].root
            ]
            if style == "root" and len(starts) == 1 and rng.random() < 0.7:
                starts.append(num_steps // 2)
            for start, end in zip(starts, [*starts[1:], num_steps], strict=True):
                add(first + start, (end - start) * 0.96, root(start), loud)
    return notes, {"style": style, "lowest_key": lowest, "note_length": round(length, 2)}


def _bass_motif(
    rng: np.random.Generator, steps_per_beat: int, num_steps: int
) -> list[tuple[int, int, int]]:
    """A bar's rhythm: (step, steps, tone), tone 0 root, 1 middle tone, 2 octave, 3 scale tone."""
    onsets = [0]
    step = 0
    while True:
        step += int(pick(rng, [2, 3, 1, 4, 6], [4, 4, 1, 3, 1]))
        if step >= num_steps:
            break
        onsets.append(step)
    ends = [*onsets[1:], num_steps]
    tones = [0] + [int(pick(rng, [0, 1, 2, 3], [5, 2, 2, 2])) for _ in onsets[1:]]
    longest = 2 * steps_per_beat
    return [
        (start, min(end - start, longest), tone)
        for start, end, tone in zip(onsets, ends, tones, strict=True)
    ]


def play_accompaniment(
    rng: np.random.Generator, plan: Plan, role: str, may_rest: bool = True
) -> tuple[list[Note], dict[str, object]]:
    """Compose one accompanying part.

    Args:
        rng: Source of every choice.
        plan: Time and harmony.
        role: One of :data:`ACCOMPANIMENT_ROLES`.
        may_rest: Whether the part may be left out of some sections.

    Returns:
        The notes and the choices made.
    """
    groove = plan.groove
    num_steps, beat = groove.steps_per_bar, groove.steps_per_beat
    centre = float(rng.uniform(52, 70)) + (7 if role in ("arpeggio", "riff", "counter") else 0)
    density = float(rng.uniform(0.35, 1.0))
    jitter_s = 0.0015 if plan.is_electronic else float(rng.uniform(0.003, 0.012))
    length = float(rng.uniform(0.3, 1.0))
    spread_s = float(rng.uniform(0.004, 0.02)) if role == "strum" else 0.0
    motif = [step for step in range(num_steps) if rng.random() < (0.45 if step % 2 == 0 else 0.2)]
    motif = motif or [0]
    contour = [int(rng.integers(0, 5)) for _ in motif]
    order = pick(rng, ["up", "down", "updown", "random"])
    period = int(pick(rng, [1, 2], [1, 1])) if beat == 4 else 1
    resting = pick(rng, ["verse", "chorus", "none"], [2, 1, 5]) if may_rest else "none"
    notes: list[Note] = []

    def add(step: float, steps: float, pitch: int, velocity: float, late_s: float = 0.0) -> None:
        start_s = max(0.0, groove.time_s(step) + late_s + rng.normal(0, jitter_s))
        velocity = float(np.clip(velocity + rng.normal(0, 0.05), 0.15, 1.0))
        notes.append(Note(start_s, steps * groove.step_s, int(np.clip(pitch, 30, 100)), velocity))

    for section, bar, first in _bars(plan, "other"):
        if section.name == resting and section.energy < 0.7:
            continue
        loud = 0.5 + 0.3 * section.energy
        bar_chords = [section.chord_at(bar + step / num_steps) for step in range(num_steps)]
        changes = [0] + [s for s in range(1, num_steps) if bar_chords[s] != bar_chords[s - 1]]
        if role == "pad":
            for start, end in zip(changes, [*changes[1:], num_steps], strict=True):
                for pitch in voice_chord(bar_chords[start], centre):
                    add(first + start, (end - start) * 1.02, pitch, loud)
        elif role in ("strum", "stabs", "eighths"):
            steps = {
                "strum": motif,
                "stabs": motif[: max(1, len(motif) // 2)],
                "eighths": list(range(0, num_steps, max(1, beat // 2))),
            }[role]
            for index, step in enumerate(steps):
                if role == "eighths" and rng.random() > 0.5 + density / 2:
                    continue
                end = steps[index + 1] if index + 1 < len(steps) else num_steps
                held = min(end - step, 2 * beat) * (length if role == "strum" else 0.5 * length)
                voicing = voice_chord(bar_chords[step], centre)
                for string, pitch in enumerate(voicing if index % 2 == 0 else voicing[::-1]):
                    add(first + step, max(held, 0.5), pitch, loud, string * spread_s)
        elif role == "arpeggio":
            for index, step in enumerate(range(0, num_steps, period)):
                voicing = voice_chord(bar_chords[step], centre)
                ladder = {
                    "up": voicing,
                    "down": voicing[::-1],
                    "updown": voicing + voicing[-2:0:-1],
                    "random": voicing,
                }[order]
                at = int(rng.integers(len(ladder))) if order == "random" else index % len(ladder)
                if rng.random() < 0.4 + 0.6 * density:
                    add(first + step, period * (0.5 + length), ladder[at], loud)
        elif role == "riff":
            for index, step in enumerate(motif):
                end = motif[index + 1] if index + 1 < len(motif) else num_steps
                degree = contour[index]
                pitch = _nearest(plan.scale[degree], centre)
                if step % beat == 0:
                    tones = bar_chords[step].tones
                    pitch = _nearest(tones[degree % len(tones)], centre)
                add(first + step, min(end - step, beat) * (0.5 + length / 2), pitch, loud)
        else:  # counter: slow line of chord tones
            for start in sorted({*changes, num_steps // 2}):
                tones = bar_chords[start].tones
                pitch = _nearest(pick(rng, tones), centre + float(rng.uniform(-4, 4)))
                add(first + start, num_steps // 2 * 0.95, pitch, loud)
    return notes, {"role": role, "centre_key": round(centre, 1), "density": round(density, 2)}


def voice_chord(chord: Chord, centre: float) -> list[int]:
    """MIDI keys of a close voicing of ``chord`` around ``centre``, lowest first."""
    return sorted({_nearest(tone, centre) for tone in chord.tones})
