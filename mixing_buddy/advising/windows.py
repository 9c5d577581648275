"""The windows of a user's song that are worth listening to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixing_buddy.audio import read_audio, resample, to_mono
from mixing_buddy.chunks import CHUNK_SAMPLES, find_chunks, reason_to_skip_mixture
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.rendering import render
from mixing_buddy.songs import SAMPLE_RATE, load_song_folder, load_stems
from mixing_buddy.stems import ADVISED_STEMS, STEMS


@dataclass(frozen=True)
class Window:
    """A part of a song, as the model hears it.

    Args:
        clip: mono mix at `SAMPLE_RATE`, of shape `(CHUNK_SAMPLES,)`, padded with zeros if need be.
        start_s: start in the song, in seconds.
        duration_s: length of the music in it, in seconds.
        audible_stems: stems that sound in it; all of `STEMS` where only the mix is known.
    """

    clip: np.ndarray
    start_s: float
    duration_s: float
    audible_stems: tuple[str, ...] = STEMS

    @property
    def advised_stems(self) -> tuple[str, ...]:
        """Audible stems that may be target or anchor."""
        return tuple(stem for stem in self.audible_stems if stem in ADVISED_STEMS)


def read_windows(path: str | Path, *, faders_db: Mapping[str, float] | None = None) -> list[Window]:
    """Read a song and cut it into the windows that can be judged.

    Args:
        path: a mix (audio file), or a folder of the stems bass, drums, other and vocals.
        faders_db: gain in dB for some stems of a folder; gating looks at the stems as they stand.

    Returns:
        Windows of 10 s by start, silent ones left out.

    Raises:
        MixingBuddyError: if the path can't be read or everything in it is silent, or if faders are
            to be moved in a mix.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MixingBuddyError(f"{path}: there is no such file or folder.")
    faders_db = dict(faders_db or {})
    if unknown := sorted(set(faders_db) - set(STEMS)):
        raise MixingBuddyError(
            f"There is no fader {', '.join(unknown)}: the stems are {', '.join(STEMS)}."
        )
    if path.is_dir():
        windows = _windows_of_stems(path, faders_db)
    elif faders_db:
        raise MixingBuddyError(
            f"{path} is one file: faders can only be moved on a folder of stems."
        )
    else:
        windows = _windows_of_mix(path)
    if not windows:
        raise MixingBuddyError(
            f"{path}: nothing to judge: every window of the mix is silent or nearly so, or has "
            f"fewer than two of {', '.join(ADVISED_STEMS)}."
        )
    return windows


def _windows_of_stems(path: Path, faders_db: Mapping[str, float]) -> list[Window]:
    song = load_song_folder(path)
    stems = load_stems(song)
    mix = render(stems, {stem: faders_db.get(stem, 0.0) for stem in STEMS})
    return [
        Window(
            _cut(mix, round(chunk.start_s * SAMPLE_RATE)),
            chunk.start_s,
            chunk.duration_s,
            chunk.audible_stems,
        )
        for chunk in find_chunks(song, stems).chunks
    ]


def _windows_of_mix(path: Path) -> list[Window]:
    audio, sample_rate = read_audio(path)
    mix = resample(to_mono(audio), sample_rate, SAMPLE_RATE)
    windows = []
    for index in range(max(1, len(mix) // CHUNK_SAMPLES)):
        start = index * CHUNK_SAMPLES
        part = mix[start : start + CHUNK_SAMPLES]
        if reason_to_skip_mixture(part) is None:
            windows.append(Window(_cut(mix, start), start / SAMPLE_RATE, len(part) / SAMPLE_RATE))
    return windows


def _cut(mix: np.ndarray, start: int) -> np.ndarray:
    part = mix[start : start + CHUNK_SAMPLES]
    return np.pad(part, (0, CHUNK_SAMPLES - len(part)))
