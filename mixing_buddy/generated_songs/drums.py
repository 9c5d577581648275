"""Drum parts: patterns by style, variation, ghost notes and fills."""

from __future__ import annotations

import numpy as np

from mixing_buddy.generated_songs.composition import Note, Plan, pick

# Keys of General MIDI's percussion map.
KICK, RIM, SNARE, CLAP = 36, 37, 38, 39
CLOSED_HAT, PEDAL_HAT, OPEN_HAT = 42, 44, 46
LOW_TOM, MID_TOM, HIGH_TOM = 45, 47, 50
CRASH, RIDE = 49, 51
TAMBOURINE, COWBELL, SHAKER = 54, 56, 70
HIGH_CONGA, LOW_CONGA, CLAVES = 63, 64, 75

_Pattern = dict[int, str]

#: Patterns of one bar of sixteenths; a digit is a velocity in tenths, "." is silence.
_STRAIGHT: dict[str, tuple[_Pattern, ...]] = {
    "rock": (
        {KICK: "9.......9.......", SNARE: "....9.......9...", CLOSED_HAT: "7.5.7.5.7.5.7.5."},
        {KICK: "9.....8.9.......", SNARE: "....9.......9...", CLOSED_HAT: "7.5.7.5.7.5.7.5."},
        {KICK: "9.9.......8.....", SNARE: "....9.......9..2", RIDE: "7.5.7.5.7.5.7.5."},
        {KICK: "9..8..8...9.....", SNARE: "....9.......9...", OPEN_HAT: "7...7...7...7..."},
        {KICK: "9...8...9.8.....", SNARE: "....9.......9...", CRASH: "7...6...7...6..."},
    ),
    "pop": (
        {KICK: "9.......8.8.....", SNARE: "....8.......8...", CLOSED_HAT: "6.4.6.4.6.4.6.4."},
        {KICK: "9.....8.........", SNARE: "....8.......8...", CLOSED_HAT: "6343634363436343"},
        {KICK: "9..8....8.......", CLAP: "....8.......8...", SHAKER: "5353535353535353"},
        {KICK: "9.......9.......", RIM: "....7.......7...", TAMBOURINE: "..5...5...5...5."},
    ),
    "funk": (
        {KICK: "9..8..........8.", SNARE: "....9..2.2..9..3", CLOSED_HAT: "7555755575557555"},
        {KICK: "9.8...8..8......", SNARE: "....9..3.3..9...", CLOSED_HAT: "6.5.6.5.6.5.6.55"},
        {KICK: "8..8..8...8..8..", SNARE: "....9.......9.2.", OPEN_HAT: "..5...5...5...5."},
    ),
    "four": (
        {KICK: "9...9...9...9...", CLAP: "....8.......8...", OPEN_HAT: "..7...7...7...7."},
        {KICK: "9...9...9...9...", SNARE: "....7.......7..4", CLOSED_HAT: "4.7.4.7.4.7.4.7."},
        {KICK: "9...9...9...9...", CLOSED_HAT: "5373537353735373", CLAP: "............8..."},
        {KICK: "9...9...9...9.6.", RIM: "...5..5...5...5.", SHAKER: "4365436543654365"},
        {KICK: "9...9...9...9...", RIDE: "..6...6...6...6.", SNARE: "....8.......8..."},
    ),
    "half_time": (
        {KICK: "9.....7.........", SNARE: "........9.......", CLOSED_HAT: "6.4.6.4.6.4.6.4."},
        {KICK: "9.9.......8.....", SNARE: "........9.......", RIDE: "7...6...7...6..."},
    ),
    "latin": (
        {KICK: "8..7...8..7.....", RIM: "..7..7..7...7...", HIGH_CONGA: "..5.6...5.6...65"},
        {KICK: "8...8...8...8...", SNARE: "...7..7....7..7.", SHAKER: "6454645464546454"},
        {KICK: "8..8..8.8..8..8.", COWBELL: "6...6.6.6...6.6.", LOW_CONGA: "......5.......66"},
        {KICK: "8.....7.8.....7.", CLAVES: "7..7...7..7.7...", SHAKER: "5353535353535353"},
    ),
    "trap": (
        {KICK: "9......7..8.....", SNARE: "........9.......", CLOSED_HAT: "6.6.6.6.6.6666.6"},
        {KICK: "9.....8......7..", CLAP: "........9.......", CLOSED_HAT: "6.6.66666.6.6.66"},
        {KICK: "9..9......9.....", SNARE: "........9......4", CLOSED_HAT: "7464746474647464"},
    ),
    "hiphop": (
        {KICK: "9..7...7..8.....", SNARE: "....9.......9...", CLOSED_HAT: "6.5.6.5.6.5.6.5."},
        {KICK: "9......78.......", SNARE: "....9..2....9...", CLOSED_HAT: "6.4.6.4.6.446.4."},
        {KICK: "9.8.......89....", CLAP: "....8.......8...", SHAKER: "5.4.5.4.5.4.5.4."},
    ),
    "breakbeat": (
        {KICK: "9.9.......9.....", SNARE: "....9..4.4..9..4", CLOSED_HAT: "7.6.7.6.7.6.7.6."},
        {KICK: "9.....9...9.....", SNARE: "....9....4..9...", RIDE: "6.6.6.6.6.6.6.6."},
        {KICK: "9.........9.....", SNARE: "....9..3.3....9.", CLOSED_HAT: "6464646464646464"},
    ),
    "ballad": (
        {KICK: "8.......7.......", SNARE: "....7.......7...", CLOSED_HAT: "5...4...5...4..."},
        {KICK: "8.......6.6.....", RIM: "....6.......6...", CLOSED_HAT: "5.3.5.3.5.3.5.3."},
        {KICK: "8.....6.........", SNARE: "........7.......", RIDE: "5...4...5...4..."},
    ),
    "one_drop": (
        {KICK: "........9.......", RIM: "........8.......", CLOSED_HAT: "6.4.6.4.6.4.6.4."},
        {KICK: "8.......9.......", SNARE: "........8.....3.", CLOSED_HAT: "..6...6...6...6."},
    ),
    "jazz": (
        {KICK: "4...3...4...3...", RIDE: "7...7..57...7..5", PEDAL_HAT: "....6.......6..."},
        {KICK: "5.........4.....", RIDE: "7...7..57...7..5", SNARE: "..........3...4."},
    ),
    "ambient": (
        {KICK: "7...............", SHAKER: "4.3.4.3.4.3.4.3.", RIM: "..........4....."},
        {KICK: "7.........5.....", SNARE: "........5.......", RIDE: "4.......4......."},
    ),
}
#: Patterns for bars of other lengths: waltz (12 sixteenths), 12/8 and 6/8 (triplet eighths).
_OTHER_METERS: dict[tuple[int, int], tuple[_Pattern, ...]] = {
    (3, 4): (
        {KICK: "9...........", SNARE: "....7...7...", CLOSED_HAT: "6.4.6.4.6.4."},
        {KICK: "9.........6.", RIM: "........7...", RIDE: "6...5...5..."},
    ),
    (4, 3): (
        {KICK: "9.....8.....", SNARE: "...9.....9..", CLOSED_HAT: "6.56.56.56.5"},
        {KICK: "9....88.....", SNARE: "...9.....9..", RIDE: "645645645645"},
    ),
    (2, 3): (
        {KICK: "9....6", SNARE: "...8..", CLOSED_HAT: "645645"},
        {KICK: "9.....", RIM: "...7..", RIDE: "6.56.5"},
    ),
}
_STYLES_OF_GENRE: dict[str, tuple[str, ...]] = {
    "rock": ("rock", "rock", "half_time"),
    "pop": ("pop", "pop", "rock", "four"),
    "funk": ("funk", "funk", "breakbeat"),
    "soul": ("pop", "funk", "hiphop"),
    "ballad": ("ballad", "ballad", "half_time"),
    "latin": ("latin",),
    "jazz": ("jazz",),
    "reggae": ("one_drop", "one_drop", "pop"),
    "house": ("four",),
    "techno": ("four",),
    "trance": ("four",),
    "synthpop": ("pop", "four", "rock"),
    "trap": ("trap",),
    "hiphop": ("hiphop", "hiphop", "trap"),
    "breakbeat": ("breakbeat", "funk"),
    "drum_and_bass": ("breakbeat",),
    "ambient": ("ambient", "half_time", "ballad"),
}
_CYMBALS = frozenset({CLOSED_HAT, PEDAL_HAT, OPEN_HAT, RIDE, SHAKER, TAMBOURINE, CRASH})
_FILL_ORDERS = (
    (SNARE, HIGH_TOM, MID_TOM, LOW_TOM),
    (SNARE, SNARE, SNARE, SNARE),
    (HIGH_TOM, MID_TOM, LOW_TOM, KICK),
    (SNARE, KICK, SNARE, KICK),
    (CLAP, CLAP, SNARE, CLAP),
)


def play_drums(rng: np.random.Generator, plan: Plan) -> tuple[list[Note], dict[str, object]]:
    """Compose the drum part.

    Returns:
        The notes (keys of General MIDI's percussion map), and the choices made.
    """
    groove = plan.groove
    meter = (groove.beats_per_bar, groove.steps_per_beat)
    if meter == (4, 4):
        style = pick(rng, _STYLES_OF_GENRE[plan.genre])
        if plan.half_time:
            style = "half_time"
        elif rng.random() < 0.08:
            style = pick(rng, _STRAIGHT)
        library = _STRAIGHT[style]
    else:
        style, library = f"{meter[0]} beats of {meter[1]}", _OTHER_METERS[meter]
    patterns = {
        name: _vary(rng, dict(pick(rng, library)), groove.steps_per_bar)
        for name in ("verse", "chorus")
    }
    jitter_s = float(rng.uniform(0.0, 0.002 if plan.is_electronic else 0.009))
    drag_s = float(rng.normal(0, 0.0 if plan.is_electronic else 0.005))
    ghosts = float(rng.uniform(0, 0.25)) if rng.random() < 0.4 else 0.0
    balance = {key: float(rng.uniform(0.75, 1.05)) for key in range(35, 82)}
    cymbal_level = float(rng.uniform(0.55, 1.0))
    fill_order = pick(rng, _FILL_ORDERS)
    notes: list[Note] = []

    def hit(step: float, key: int, velocity: float) -> None:
        velocity *= balance[key] * (cymbal_level if key in _CYMBALS else 1.0)
        start_s = groove.time_s(step) + rng.normal(0, jitter_s)
        start_s += drag_s if key in (SNARE, CLAP) else 0.0
        notes.append(Note(max(0.0, start_s), 0.12, key, float(np.clip(velocity, 0.05, 1.0))))

    for section in plan.sections:
        if "drums" not in section.stems:
            continue
        pattern = patterns[section.name]
        loudness = 0.8 + 0.25 * section.energy
        for bar in range(section.num_bars):
            first = (section.start_bar + bar) * groove.steps_per_bar
            is_last = bar == section.num_bars - 1
            fill_steps = 0
            if is_last and rng.random() < 0.65:
                fill_steps = groove.steps_per_beat * int(pick(rng, [1, 2, groove.beats_per_bar]))
                fill_steps = min(fill_steps, groove.steps_per_bar)
            if bar == 0 and rng.random() < 0.45:
                hit(first, CRASH, 0.8 * loudness)
            for key, steps in pattern.items():
                for step, mark in enumerate(steps):
                    if step >= groove.steps_per_bar - fill_steps and key not in (KICK, PEDAL_HAT):
                        continue
                    if mark != ".":
                        spread = 0.02 if plan.is_electronic else 0.07
                        velocity = int(mark) / 9 * loudness * (1 + rng.normal(0, spread))
                        hit(first + step, key, velocity)
                    elif key == SNARE and step % 2 == 1 and rng.random() < ghosts:
                        hit(first + step, key, 0.25 * loudness)
            for index in range(fill_steps):
                if rng.random() < 0.8:
                    drum = fill_order[index * 4 // fill_steps]
                    step = first + groove.steps_per_bar - fill_steps + index
                    hit(step, drum, (0.6 + 0.3 * index / fill_steps) * loudness)
            if style == "trap" and rng.random() < 0.35:
                start = first + 2 * int(rng.integers(7))
                for index in range(6):
                    hit(start + index / 3, CLOSED_HAT, 0.3 + 0.07 * index)
    choices = {"style": style, "jitter_ms": round(jitter_s * 1000, 2), "ghosts": round(ghosts, 3)}
    return notes, choices


def _vary(rng: np.random.Generator, pattern: _Pattern, num_steps: int) -> _Pattern:
    """Change a pattern a little: moved kicks, thinner or thicker cymbals, other instruments."""
    kick = list(pattern.get(KICK, "." * num_steps))
    for step in range(1, num_steps):
        if kick[step] != "." and rng.random() < 0.12:
            kick[step] = "."
        elif kick[step] == "." and rng.random() < 0.05:
            kick[step] = "7"
    pattern[KICK] = "".join(kick)
    swaps = {
        CLOSED_HAT: (RIDE, SHAKER, OPEN_HAT, TAMBOURINE),
        SNARE: (CLAP, RIM),
        RIDE: (CLOSED_HAT,),
    }
    for old, options in swaps.items():
        if old in pattern and rng.random() < 0.12:
            new = pick(rng, options)
            if new not in pattern:
                pattern[new] = pattern.pop(old)
    for key in sorted(_CYMBALS & set(pattern)):
        draw = rng.random()
        if draw < 0.12:
            pattern[key] = "".join(
                mark if step % 2 == 0 else "." for step, mark in enumerate(pattern[key])
            )
        elif draw < 0.24:
            pattern[key] = "".join("4" if mark == "." else mark for mark in pattern[key])
    if rng.random() < 0.2:
        extra = pick(rng, [TAMBOURINE, SHAKER, COWBELL, HIGH_CONGA])
        period = int(pick(rng, [2, 4, 3]))
        offset = int(rng.integers(period))
        pattern.setdefault(
            extra, "".join("5" if step % period == offset else "." for step in range(num_steps))
        )
    return pattern
