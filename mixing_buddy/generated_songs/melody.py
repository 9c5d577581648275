"""Lead melodies in phrases, with rests to breathe in."""

from __future__ import annotations

import numpy as np

from mixing_buddy.generated_songs.composition import Note, Plan, Section, pick

MELODY_STYLES = ("sung", "long", "rhythmic", "rap", "chopped")


def play_melody(
    rng: np.random.Generator, plan: Plan, style: str, lowest: int, highest: int
) -> tuple[list[Note], dict[str, object]]:
    """Compose a monophonic lead between the MIDI keys ``lowest`` and ``highest``.

    Args:
        rng: Source of every choice.
        plan: Time and harmony.
        style: One of :data:`MELODY_STYLES`.
        lowest: Lowest MIDI key.
        highest: Highest MIDI key.

    Returns:
        The notes, which never overlap, and the choices made.
    """
    groove = plan.groove
    num_steps, beat = groove.steps_per_bar, groove.steps_per_beat
    bar_s = groove.step_s * num_steps
    # A breath every 3 to 6 seconds, whatever the tempo.
    phrase_bars = int(np.clip(round(float(rng.uniform(3, 6)) / bar_s), 1, 4))
    rest_beats = float(pick(rng, [0.5, 1.0, 1.5, 2.0], [2, 3, 2, 1]))
    step_s = groove.step_s
    base = {"sung": 0.3, "long": 0.7, "rhythmic": 0.2, "rap": 0.15, "chopped": 0.17}[style]
    usual_steps = max(1, round(base / step_s))
    legato = float(rng.uniform(0.8, 1.0)) if style != "chopped" else float(rng.uniform(0.4, 0.8))
    jitter_s = 0.003 if style == "chopped" or plan.is_electronic else 0.012
    scale = sorted(plan.scale)
    ladder = [key for key in range(lowest, highest + 1) if key % 12 in scale]
    notes: list[Note] = []
    for section in plan.sections:
        if "vocals" not in section.stems:
            continue
        rhythms: list[list[tuple[int, int]]] = []
        position = len(ladder) // 2
        for index, bar in enumerate(range(0, section.num_bars, phrase_bars)):
            steps = min(phrase_bars, section.num_bars - bar) * num_steps
            steps = max(2, steps - round(rest_beats * beat))
            if index % 2 == 0 or rng.random() < 0.3 or not rhythms:
                rhythms.append(_draw_rhythm(rng, steps, usual_steps, style, beat))
            first = (section.start_bar + bar) * num_steps
            for step, length in rhythms[-1]:
                if step >= steps:
                    break
                length = min(length, steps - step)
                on_beat = step % beat == 0
                position = _move(rng, position, ladder, style)
                chord = section.chord_at(bar + step / num_steps)
                if on_beat and style != "rap" and ladder[position] % 12 not in chord.tones:
                    position = _to_chord(position, ladder, chord.tones)
                start_s = max(0.0, groove.time_s(first + step) + rng.normal(0, jitter_s))
                notes.append(
                    Note(
                        start_s,
                        max(0.06, length * step_s * legato),
                        ladder[position],
                        _accent(rng, section, on_beat),
                    )
                )
    notes = _without_overlaps(notes)
    return notes, {"style": style, "phrase_bars": phrase_bars, "rest_beats": rest_beats}


def _accent(rng: np.random.Generator, section: Section, on_beat: bool) -> float:
    loud = 0.6 + 0.25 * section.energy + (0.06 if on_beat else 0.0)
    return float(np.clip(loud + rng.normal(0, 0.05), 0.3, 1.0))


def _draw_rhythm(
    rng: np.random.Generator, steps: int, usual: int, style: str, beat: int
) -> list[tuple[int, int]]:
    rhythm: list[tuple[int, int]] = []
    step = int(pick(rng, [0, beat // 2, beat], [4, 2, 1]))
    while step < steps:
        factor = float(pick(rng, [0.5, 1, 1, 1.5, 2, 3], [2, 4, 4, 2, 2, 1]))
        if style in ("rap", "chopped"):
            factor = float(pick(rng, [1, 1, 2], [4, 4, 1]))
        length = max(1, round(usual * factor))
        if rng.random() > 0.08:
            rhythm.append((step, length))
        step += length
    return rhythm or [(0, steps)]


def _move(rng: np.random.Generator, position: int, ladder: list[int], style: str) -> int:
    leaps = [0, 1, -1, 2, -2, 3, -3, 4]
    weights = [3, 5, 6, 2, 2, 1, 1, 0.5]
    if style in ("rap", "chopped"):
        weights = [12, 2, 2, 1, 1, 0.2, 0.2, 0.2]
    # The pull towards the middle keeps the line in the singer's comfortable range.
    drift = (len(ladder) / 2 - position) / len(ladder)
    if rng.random() < abs(drift):
        return int(np.clip(position + np.sign(drift), 0, len(ladder) - 1))
    return int(np.clip(position + int(pick(rng, leaps, weights)), 0, len(ladder) - 1))


def _to_chord(position: int, ladder: list[int], tones: tuple[int, ...]) -> int:
    near = sorted(range(len(ladder)), key=lambda index: (abs(index - position), index))
    return next((index for index in near if ladder[index] % 12 in tones), position)


def _without_overlaps(notes: list[Note]) -> list[Note]:
    notes = sorted(notes)
    clean = []
    for index, note in enumerate(notes):
        if index + 1 < len(notes):
            room_s = notes[index + 1].start_s - note.start_s - 0.005
            if room_s < 0.03:
                continue
            note = note._replace(duration_s=min(note.duration_s, room_s))
        clean.append(note)
    return clean
