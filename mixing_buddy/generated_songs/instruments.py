"""Which instrument plays a part: sampled, synthesised, sung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixing_buddy.generated_songs import drums, effects, electronic, parts
from mixing_buddy.generated_songs.composition import Note, Plan, pick
from mixing_buddy.generated_songs.melody import play_melody
from mixing_buddy.generated_songs.soundfonts import load_instruments
from mixing_buddy.generated_songs.voice import Singer, draw_singer, sing

#: General MIDI programs (counted from 0) of sampled basses: acoustic, finger, pick, fretless,
#: slap, slap, synth, synth.
BASS_PROGRAMS = (32, 33, 34, 35, 36, 37, 38, 39)
DRUM_KITS = (0, 8, 16, 24, 25, 32, 40)
#: Programs by the roles that suit them.
ROLE_PROGRAMS: dict[str, tuple[int, ...]] = {
    "pad": (4, 5, 16, 17, 18, 19, 21, 48, 49, 50, 51, 61, 62, 63, 88, 89, 90, 91, 94, 95),
    "strum": (0, 24, 25, 26, 27, 28, 29, 30, 104, 105),
    "arpeggio": (0, 4, 6, 8, 10, 11, 12, 24, 25, 27, 45, 46, 80, 81, 84, 98, 108),
    "riff": (0, 7, 12, 13, 26, 27, 29, 30, 45, 62, 80, 81, 84, 87, 107),
    "stabs": (0, 1, 2, 4, 7, 16, 18, 28, 55, 61, 62, 63, 81),
    "eighths": (0, 1, 2, 4, 5, 24, 25, 27, 29, 30, 45, 48),
    "counter": (11, 21, 40, 41, 42, 48, 49, 60, 68, 71, 73, 89),
}
#: Sampled leads: choir and voices, synthesiser leads and voices, then instruments that sing.
LEAD_PROGRAMS: dict[int, float] = {
    52: 3, 53: 5, 54: 4, 85: 4, 91: 1, 80: 1.5, 81: 1.5, 82: 1, 22: 1, 40: 1.5, 42: 0.7, 56: 1,
    59: 0.5, 64: 0.8, 65: 1.5, 66: 1.2, 68: 1, 71: 1, 73: 1.5, 75: 0.7, 78: 0.7,
}  # fmt: skip
_SILENCE = 1e-4


@dataclass(frozen=True)
class Studio:
    """What parts are rendered with: SoundFonts, sample rate and length of the song."""

    soundfonts: tuple[Path, ...]
    sample_rate: int
    num_samples: int

    def play_sampled(
        self, rng: np.random.Generator, notes: Sequence[Note], program: int, is_drums: bool = False
    ) -> tuple[np.ndarray, dict[str, object]]:
        """Play notes with a SoundFont drawn at random; the nearest program if it lacks one."""
        font = load_instruments(pick(rng, self.soundfonts), self.sample_rate)
        programs = font.drum_kits if is_drums else font.programs
        program = min(programs, key=lambda other: (abs(other - program), other))
        audio = font.render(notes, program, self.num_samples, is_drums)
        return audio, {"soundfont": font.name, "program": program}


def is_silent(audio: np.ndarray) -> bool:
    """Whether nothing worth levelling came out (an instrument may lack the keys of a part)."""
    return float(np.sqrt(np.mean(audio**2))) < _SILENCE


def make_bass(
    rng: np.random.Generator, plan: Plan, studio: Studio
) -> tuple[np.ndarray, dict[str, object]]:
    """Compose and render the bass, without effects."""
    notes, choices = parts.play_bass(rng, plan)
    if rng.random() < (0.6 if plan.is_electronic else 0.1):
        kind = "sub" if rng.random() < (0.7 if choices["style"] == "sustained" else 0.3) else "bass"
        timbre = electronic.draw_timbre(rng, kind)
        audio = electronic.render_tones(rng, notes, timbre, studio.num_samples, studio.sample_rate)
        return audio, {**choices, "synth": kind, "wave": timbre.wave}
    weights = (2, 5, 3, 2, 1, 1, 2, 2) if not plan.is_electronic else (1, 2, 2, 1, 1, 1, 5, 5)
    audio, used = studio.play_sampled(rng, notes, pick(rng, BASS_PROGRAMS, weights))
    return audio, {**choices, **used}


def make_drums(
    rng: np.random.Generator, plan: Plan, studio: Studio
) -> tuple[np.ndarray, dict[str, object]]:
    """Compose and render the drums, without effects."""
    notes, choices = drums.play_drums(rng, plan)
    font_has_kits = any(
        load_instruments(path, studio.sample_rate).drum_kits for path in studio.soundfonts
    )
    machine = rng.random() < (0.5 if plan.is_electronic else 0.06)
    if machine or not font_has_kits:
        kit = electronic.build_drum_machine(rng, studio.sample_rate)
        # Half of the machines keep only kick and snare; cymbals and percussion are sampled.
        if font_has_kits and rng.random() < 0.5:
            struck = (drums.KICK, drums.SNARE, drums.CLAP)
            audio, used = _sampled_drums(
                rng, plan, studio, [n for n in notes if n.pitch not in struck]
            )
            synthesised = electronic.render_drum_machine(
                [n for n in notes if n.pitch in struck], kit, studio.num_samples, studio.sample_rate
            )
            return audio + synthesised * 0.7, {**choices, **used, "machine": "kick and snare"}
        audio = electronic.render_drum_machine(notes, kit, studio.num_samples, studio.sample_rate)
        return audio, {**choices, "machine": "all"}
    audio, used = _sampled_drums(rng, plan, studio, notes)
    return audio, {**choices, **used}


def _sampled_drums(
    rng: np.random.Generator, plan: Plan, studio: Studio, notes: Sequence[Note]
) -> tuple[np.ndarray, dict[str, object]]:
    weights = (1, 1, 2, 4, 5, 0.5, 0.3) if plan.is_electronic else (5, 4, 4, 0.7, 0.5, 2, 1)
    program = pick(rng, DRUM_KITS, weights)
    fonts = tuple(
        path for path in studio.soundfonts if load_instruments(path, studio.sample_rate).drum_kits
    )
    studio = Studio(fonts, studio.sample_rate, studio.num_samples)
    return studio.play_sampled(rng, notes, program, is_drums=True)


def make_accompaniment(
    rng: np.random.Generator, plan: Plan, studio: Studio
) -> list[tuple[np.ndarray, dict[str, object]]]:
    """Compose and render one to three accompanying parts, without effects."""
    count = int(pick(rng, [1, 2, 3], [3, 4, 3]))
    roles = [str(role) for role in rng.permutation(parts.ACCOMPANIMENT_ROLES)[:count]]
    made = []
    for index, role in enumerate(roles):
        # The first part plays wherever the stem does, so that the stem is never empty.
        notes, choices = parts.play_accompaniment(rng, plan, role, may_rest=index > 0)
        audio = np.zeros(studio.num_samples, dtype=np.float32)
        used: dict[str, object] = {}
        if rng.random() > (0.5 if plan.is_electronic else 0.12):
            program = pick(rng, ROLE_PROGRAMS[role])
            audio, used = studio.play_sampled(rng, notes, program)
        if is_silent(audio):
            kind = "pad" if role in ("pad", "counter") else "pluck"
            timbre = electronic.draw_timbre(rng, kind)
            audio = electronic.render_tones(
                rng, notes, timbre, studio.num_samples, studio.sample_rate
            )
            used = {"synth": kind, "wave": timbre.wave}
        made.append((audio, {**choices, **used}))
    return made


def make_vocals(
    rng: np.random.Generator, plan: Plan, studio: Studio
) -> tuple[np.ndarray, dict[str, object]]:
    """Compose and render the lead, without effects.

    A little over half of the leads are sung by formant synthesis; some are a synthesiser or
    instrument shaped by a singer's formants (talk box, vocoder); the rest are sampled leads.
    """
    kind = pick(rng, ["sung", "talk_box", "sampled"], [0.56, 0.1, 0.34])
    weights = [10, 3, 4, 2 if plan.genre in ("hiphop", "trap", "pop", "funk") else 0.5, 0.5]
    if plan.is_electronic:
        weights[4] = 2.5
    style = pick(rng, ["sung", "long", "rhythmic", "rap", "chopped"], weights)
    singer = draw_singer(rng, style)
    notes, choices = play_melody(rng, plan, style, singer.lowest, singer.highest)
    choices = {**choices, "kind": kind}
    if kind != "sung":
        lead = pick(rng, list(LEAD_PROGRAMS), list(LEAD_PROGRAMS.values()))
        shift = 12 if lead in (73, 75, 78, 40) and singer.lowest < 55 else 0
        moved = [note._replace(pitch=note.pitch + shift) for note in notes]
        audio, used = np.zeros(studio.num_samples, dtype=np.float32), {}
        if kind == "sampled" and rng.random() < 0.88:
            audio, used = studio.play_sampled(rng, moved, lead)
        if is_silent(audio):
            timbre = electronic.draw_timbre(rng, "lead")
            audio = electronic.render_tones(
                rng, _carrier_notes(rng, plan, notes, kind), timbre, studio.num_samples,
                studio.sample_rate,
            )  # fmt: skip
            used = {"synth": "lead", "wave": timbre.wave}
        if kind == "talk_box" or (used.get("program") in (80, 81, 82) and rng.random() < 0.4):
            audio = sing(rng, notes, singer, studio.num_samples, studio.sample_rate, audio)
        return _chop(rng, plan, studio, audio, style), {**choices, **used}
    audio = sing(rng, notes, singer, studio.num_samples, studio.sample_rate)
    if rng.random() < 0.3:
        audio = audio + _second_voice(rng, plan, studio, notes, singer, choices)
    return _chop(rng, plan, studio, audio, style), {**choices, "singer": singer.describe()}


def _carrier_notes(
    rng: np.random.Generator, plan: Plan, notes: Sequence[Note], kind: str
) -> list[Note]:
    """Half of the vocoders are played in chords instead of the melody."""
    if kind != "talk_box" or rng.random() < 0.5:
        return list(notes)
    bar_s = plan.groove.step_s * plan.groove.steps_per_bar
    chords = []
    for section in plan.sections:
        for bar in range(section.num_bars):
            for pitch in parts.voice_chord(section.chord_at(bar), 55):
                chords.append(Note((section.start_bar + bar) * bar_s, bar_s, pitch, 0.7))
    return chords


def _second_voice(
    rng: np.random.Generator,
    plan: Plan,
    studio: Studio,
    notes: Sequence[Note],
    singer: Singer,
    choices: dict[str, object],
) -> np.ndarray:
    """A doubling, or a harmony two steps of the scale above or below."""
    steps = int(pick(rng, [0, 2, -2], [3, 2, 1]))
    scale = sorted(plan.scale)
    ladder = [key for key in range(24, 108) if key % 12 in scale]
    late_s = float(rng.uniform(0.005, 0.025))
    moved = []
    for note in notes:
        nearest = min(range(len(ladder)), key=lambda at: abs(ladder[at] - note.pitch))
        pitch = ladder[nearest + steps] if steps else note.pitch
        moved.append(note._replace(pitch=pitch, start_s=note.start_s + late_s))
    level_db = float(rng.uniform(-10, -3))
    choices["second_voice"] = {"scale_steps": steps, "level_db": round(level_db, 1)}
    voice = sing(rng, moved, singer, studio.num_samples, studio.sample_rate)
    return voice * np.float32(10 ** (level_db / 20))


def _chop(
    rng: np.random.Generator, plan: Plan, studio: Studio, audio: np.ndarray, style: str
) -> np.ndarray:
    if style != "chopped" or rng.random() < 0.4:
        return audio
    return effects.chop(rng, audio, plan.groove.step_s, studio.sample_rate)
