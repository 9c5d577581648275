"""Sampled instruments: finding SoundFonts and playing notes with them.

The player is ``tinysoundfont``. It is in none of this project's extras because its metadata
demands ``pyaudio``, which has no Linux wheel and compiles against PortAudio, though it is only
imported for live playback. ``pip install --no-deps tinysoundfont`` gives all that is needed here.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.generated_songs.composition import Note

#: Where Debian's packages fluid-soundfont-gm and musescore-general-soundfont-small put theirs.
SYSTEM_SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
)
_DRUM_BANK = 128
_MAX_VOICES = 96
# sounds_off() fades over 10 ms instead of cutting, and the fade would begin the next render.
_FLUSH_S = 0.25
# Rendered at twice the rate, then decimated: the player interpolates linearly and would fold
# cymbals back into the audible band.
_OVERSAMPLING = 2


class SynthesiserError(MixingBuddyError):
    """No synthesiser or no SoundFont to generate songs with."""


def find_soundfonts() -> list[Path]:
    """SoundFonts that are installed: the one in ``pretty_midi`` and Debian's.

    Raises:
        SynthesiserError: If none is found.
    """
    found = []
    spec = find_spec("pretty_midi")
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).with_name("TimGM6mb.sf2"))
    found = [path for path in (*found, *SYSTEM_SOUNDFONTS) if path.is_file()]
    if not found:
        raise SynthesiserError(
            "no SoundFont found (looked in the pretty_midi package and for "
            f"{', '.join(map(str, SYSTEM_SOUNDFONTS))}): pip install pretty_midi, install Debian's "
            "fluid-soundfont-gm, or name a General MIDI .sf2 file with --soundfont"
        )
    if len(found) == 1:
        warnings.warn(
            f"only one SoundFont found ({found[0].name}): songs will sound alike, and a model "
            "trained on them may not know other instruments. Debian's fluid-soundfont-gm and "
            "musescore-general-soundfont-small give two more.",
            stacklevel=2,
        )
    return found


def check_soundfonts(paths: Sequence[str | Path]) -> list[Path]:
    """Resolve given SoundFonts, or find the installed ones if ``paths`` is empty.

    Raises:
        SynthesiserError: If ``tinysoundfont`` is missing, a path is no file, or none is found.
    """
    if find_spec("tinysoundfont") is None:
        raise SynthesiserError(
            "tinysoundfont is not installed: pip install --no-deps tinysoundfont "
            "(without --no-deps pip compiles pyaudio, which is not needed here)"
        )
    for path in map(Path, paths):
        if not path.is_file():
            raise SynthesiserError(f"SoundFont {path} is not a file")
    return [Path(path).resolve() for path in paths] or find_soundfonts()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SampledInstruments:
    """Plays notes with one SoundFont at one sample rate.

    Rendering the same notes gives the same samples whatever was rendered before.

    Args:
        path: A General MIDI SoundFont (SF2, or SF3 with Vorbis samples).
        sample_rate: Rate of the rendered audio in Hz.

    Raises:
        SynthesiserError: If the file can't be read as a SoundFont.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        from tinysoundfont import Synth

        self.name = path.name
        self.sample_rate = sample_rate
        self._synth = Synth(samplerate=sample_rate * _OVERSAMPLING)
        try:
            self._id = self._synth.sfload(str(path), max_voices=_MAX_VOICES)
        except Exception as error:
            raise SynthesiserError(f"{path} could not be loaded as a SoundFont: {error}") from error
        self.drum_kits = self._programs(_DRUM_BANK)
        self.programs = self._programs(0)
        if not self.programs:
            raise SynthesiserError(f"{path} has no instruments in bank 0: use a General MIDI one")

    def _programs(self, bank: int) -> tuple[int, ...]:
        name = self._synth.sfpreset_name
        return tuple(program for program in range(128) if name(self._id, bank, program))

    def render(
        self, notes: Sequence[Note], program: int, num_samples: int, is_drums: bool = False
    ) -> np.ndarray:
        """Play ``notes`` with one program.

        Args:
            notes: Notes in any order.
            program: General MIDI program, or kit if ``is_drums``.
            num_samples: Length of the result.
            is_drums: Take the program from the percussion bank.

        Returns:
            ``float32`` array of shape ``(num_samples,)``, mono, at whatever level it came.
        """
        synth, rate = self._synth, self.sample_rate * _OVERSAMPLING
        synth.control_change(0, 121, 0)
        synth.pitchbend(0, 8192)
        synth.program_select(0, self._id, _DRUM_BANK if is_drums else 0, program, is_drums)
        total = num_samples * _OVERSAMPLING
        audio = np.zeros((total, 2), dtype=np.float32)
        view = memoryview(audio).cast("B")
        position = 0
        for at, velocity, key in _events(notes, rate):
            at = min(at, total)
            if at > position:
                synth.generate(at - position, buffer=view[position * 8 : at * 8])
                position = at
            if position >= total:
                break
            if velocity:
                synth.noteon(0, key, velocity)
            else:
                synth.noteoff(0, key)
        if position < total:
            synth.generate(total - position, buffer=view[position * 8 :])
        synth.notes_off(0)
        synth.sounds_off(0)
        synth.generate(round(_FLUSH_S * rate))
        return resample_poly(audio[:, 0] + audio[:, 1], 1, _OVERSAMPLING).astype(np.float32)


def _events(notes: Sequence[Note], rate: int) -> list[tuple[int, int, int]]:
    """Sorted (sample, velocity, key); velocity 0 ends a note, and sorts before new ones."""
    events = []
    busy_until: dict[int, int] = {}
    for note in sorted(notes, reverse=True):
        start = round(note.start_s * rate)
        end = start + max(1, round(note.duration_s * rate))
        # A key must be up before it is struck again, else the end of one note ends the next.
        end = min(end, busy_until.get(note.pitch, end))
        busy_until[note.pitch] = start
        events.append((start, max(1, min(127, round(note.velocity * 127))), note.pitch))
        events.append((end, 0, note.pitch))
    return sorted(events)


@cache
def load_instruments(path: Path, sample_rate: int) -> SampledInstruments:
    """The instruments of a SoundFont, loaded once a process."""
    return SampledInstruments(path, sample_rate)
