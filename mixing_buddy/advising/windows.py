"""The windows of a user's song that are worth listening to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mixing_buddy.advising.inputs import SongFiles, open_song, stream_stems
from mixing_buddy.chunks import CHUNK_S, CHUNK_SAMPLES, MIN_STEM_DBFS, reason_to_skip_mixture
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.loudness import db_to_gain, loudness_lufs, rms_dbfs
from mixing_buddy.prompts import Mode
from mixing_buddy.rendering import render
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import ADVISED_STEMS, STEMS


@dataclass(frozen=True)
class Window:
    """A part of a song, as the model hears it.

    Args:
        clip: mono mix at `SAMPLE_RATE`, of shape `(CHUNK_SAMPLES,)`, padded with zeros if need be.
        start_s: start in the song, in seconds.
        duration_s: length of the music in it, in seconds.
        audible_stems: stems that sound in it; all of `STEMS` where only the mix is known.
        levels_lufs: measured loudness (BS.1770, of the mono sum) of each audible stem with its
            fader moved, and of "mix"; empty where nothing was measured.
        tracks: each audible stem by itself, as `clip` is and with its fader moved, where the model
            is to hear them one by one; empty where it is to hear the mix.
    """

    clip: np.ndarray
    start_s: float
    duration_s: float
    audible_stems: tuple[str, ...] = STEMS
    levels_lufs: Mapping[str, float] = field(default_factory=dict)
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def mode(self) -> Mode:
        """What the model hears: "single_mix" or "stems"."""
        return "stems" if self.tracks else "single_mix"

    @property
    def heard(self) -> dict[str, np.ndarray]:
        """What the model hears, by name: each track, or "mix"."""
        return dict(self.tracks) or {"mix": self.clip}

    def names_heard(self, anchor: str) -> list[str]:
        """Names of what is heard in the order of a question: the anchor's track before others."""
        return sorted(self.heard, key=lambda name: name != anchor)

    @property
    def advised_stems(self) -> tuple[str, ...]:
        """Audible stems that may be target or anchor."""
        return tuple(stem for stem in self.audible_stems if stem in ADVISED_STEMS)


def read_windows(
    path: str | Path,
    *,
    faders_db: Mapping[str, float] | None = None,
    mapping: Sequence[str] = (),
    mode: Mode = "single_mix",
) -> list[Window]:
    """Read a song and cut it into the windows that can be judged.

    Args:
        path: a mix (audio file), or a folder of tracks; see `open_song`.
        faders_db: gain in dB for some stems of a folder; gating looks at the stems as they stand.
        mapping: as for `open_song`.
        mode: what the model is to hear: "single_mix", or "stems" for the tracks one by one.

    Returns:
        Windows of 10 s by start, silent ones left out.

    Raises:
        MixingBuddyError: if the path can't be read or everything in it is silent, or if faders are
            to be moved, or tracks to be heard, in a mix.
    """
    return list(iter_windows(open_song(path, mapping=mapping), faders_db=faders_db, mode=mode))


def count_windows(song: SongFiles) -> int:
    """How many windows of 10 s a song has, silent ones included."""
    return max(1, math.floor(song.duration_s / CHUNK_S))


def iter_windows(
    song: SongFiles,
    *,
    faders_db: Mapping[str, float] | None = None,
    measure: bool = False,
    mode: Mode = "single_mix",
) -> Iterator[Window]:
    """Cut a song of any length into windows, one at a time, in constant memory.

    The end of the song that fills no whole window is dropped, unless the song is shorter than one.

    Args:
        song: from `open_song`.
        faders_db: as for `read_windows`.
        measure: measure loudness, too.
        mode: as for `read_windows`.

    Yields:
        Windows of 10 s by start, silent ones left out; one at least.

    Raises:
        MixingBuddyError: as `read_windows`.
    """
    faders_db = dict(faders_db or {})
    if unknown := sorted(set(faders_db) - set(STEMS)):
        raise MixingBuddyError(
            f"There is no fader {', '.join(unknown)}: the stems are {', '.join(STEMS)}."
        )
    if song.is_mix and faders_db:
        raise MixingBuddyError(
            f"{song.path} is one file: faders can only be moved on a folder of stems."
        )
    if song.is_mix and mode == "stems":
        raise MixingBuddyError(
            f"{song.path} is one file: only the tracks of a folder can be heard one by one."
        )
    gains_db = {stem: faders_db.get(stem, 0.0) for stem in STEMS}
    num_found = 0
    for index, block in enumerate(stream_stems(song, SAMPLE_RATE, round(CHUNK_S))):
        if index > 0 and block.shape[1] < CHUNK_SAMPLES:
            break
        window = _window(block, index * CHUNK_S, gains_db, is_mix=song.is_mix, measure=measure)
        if window is not None:
            num_found += 1
            yield _with_tracks(window, block, gains_db) if mode == "stems" else window
    if num_found == 0:
        raise MixingBuddyError(
            f"{song.path}: nothing to judge: every window of the mix is silent or nearly so, or "
            f"has fewer than two of {', '.join(ADVISED_STEMS)}."
        )


def _window(
    stems: np.ndarray, start_s: float, gains_db: Mapping[str, float], *, is_mix: bool, measure: bool
) -> Window | None:
    """Make a window of stems `(4, num_samples)` or of a mix `(1, num_samples)`, if of any use."""
    if reason_to_skip_mixture(stems.sum(axis=0)) is not None:
        return None
    audible = STEMS
    if not is_mix:
        audible = tuple(
            stem
            for stem, samples in zip(STEMS, stems, strict=True)
            if rms_dbfs(samples) > MIN_STEM_DBFS
        )
        if sum(stem in ADVISED_STEMS for stem in audible) < 2:
            return None
    mix = stems[0] if is_mix else render(stems, gains_db)
    levels_lufs = {}
    if measure:
        if not is_mix:
            for stem in audible:
                measured = loudness_lufs(stems[STEMS.index(stem)], SAMPLE_RATE)
                levels_lufs[stem] = measured + gains_db[stem]
        levels_lufs["mix"] = loudness_lufs(mix, SAMPLE_RATE)
        # Next to nothing but rumble: the standard's gate lets no block through.
        levels_lufs = {name: lufs for name, lufs in levels_lufs.items() if math.isfinite(lufs)}
    clip = np.pad(mix, (0, CHUNK_SAMPLES - len(mix)))
    return Window(clip, start_s, len(mix) / SAMPLE_RATE, audible, levels_lufs)


def _with_tracks(window: Window, stems: np.ndarray, gains_db: Mapping[str, float]) -> Window:
    """Add the tracks of a window, made of stems `(4, num_samples)`."""
    padding = (0, CHUNK_SAMPLES - stems.shape[1])
    tracks = {
        stem: np.pad(samples * np.float32(db_to_gain(gains_db[stem])), padding)
        for stem, samples in zip(STEMS, stems, strict=True)
        if stem in window.audible_stems
    }
    return replace(window, tracks=tracks)
