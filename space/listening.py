"""The model, and everything that is done with a song once it lies in a folder or file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Before torch: on ZeroGPU this package stands in for CUDA until a request holds the GPU.
try:
    import spaces
except ImportError:
    spaces = None

import numpy as np
import torch
from settings import GPU_DURATION_S, MAX_QUESTION_CHARACTERS, Settings
from uploads import read_checked

from mixing_buddy import MixingBuddy
from mixing_buddy.advising.applying import (
    add_gains,
    advised_change_db,
    fit_full_scale,
    match_loudness,
    mix_stems,
    read_stems,
)
from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.comparing import SongComparison, compare_songs
from mixing_buddy.advising.inputs import SongFiles, open_song
from mixing_buddy.advising.plots import levels_over_time, plot_song_levels
from mixing_buddy.advising.ranking import Ranking
from mixing_buddy.advising.windows import Window, iter_windows
from mixing_buddy.audio import write_audio
from mixing_buddy.loudness import db_to_gain
from mixing_buddy.stems import ADVISED_STEMS, STEMS

SETTINGS = Settings.from_environment()

Playable = tuple[int, np.ndarray]


def _load() -> MixingBuddy:
    on_gpu = torch.cuda.is_available()
    return MixingBuddy.from_pretrained(
        SETTINGS.model, revision=SETTINGS.revision, dtype="bfloat16" if on_gpu else "auto"
    )


BUDDY = _load()
NUM_PARAMETERS = sum(parameter.numel() for parameter in BUDDY.model.parameters())
MODEL_NAME = "nano" if SETTINGS.model is None else Path(SETTINGS.model).name


@dataclass(frozen=True)
class Song:
    """A song that lies on disk, checked.

    Args:
        path: a folder of stems, or a mix.
        faders_db: where the visitor moved the stems' faders, in dB; empty for a mix.
        kind: "example", "stems" or "mix".
    """

    path: Path
    faders_db: Mapping[str, float]
    kind: str

    @property
    def has_stems(self) -> bool:
        """Whether its stems are known."""
        return self.path.is_dir()


@dataclass(frozen=True)
class Heard:
    """What the model says of a song.

    Args:
        song: the song.
        advice: the advice on it.
        ranking: how likely each piece of advice is.
    """

    song: Song
    advice: SongAdvice
    ranking: Ranking

    @property
    def changes_db(self) -> dict[str, float]:
        """The advised change, by the middle of its range."""
        return advised_change_db(self.advice)


def clean_question(question: str | None) -> str | None:
    """Make a visitor's words fit to stand in a prompt; None if nothing is left."""
    # What looks like a special token would end the visitor's turn, or stand for audio.
    plain = re.sub(r"<[|/]?|[|]>", " ", question or "")
    plain = " ".join(plain.split())[:MAX_QUESTION_CHARACTERS]
    return plain or None


def _run_model(
    windows: list[Window], anchor: str | None, question: str | None
) -> tuple[SongAdvice, Ranking]:
    return BUDDY.advise_and_rank(windows, anchor=anchor, question=question)


if spaces is not None:
    _run_model = spaces.GPU(duration=GPU_DURATION_S)(_run_model)


def listen(song: Song, anchor: str | None, question: str | None = None) -> Heard:
    """Ask the model about a song.

    Raises:
        MixingBuddyError: there is nothing to judge.
    """
    files = open_song(song.path)
    windows = list(
        iter_windows(files, faders_db=dict(song.faders_db), mode=BUDDY.usual_mode(files))
    )
    return Heard(song, *_run_model(windows, anchor, clean_question(question)))


def render_before_and_after(
    heard: Heard, *, is_matched: bool
) -> tuple[Playable, Playable | None, float]:
    """Make what the players play.

    Args:
        heard: a song and the advice on it.
        is_matched: turn the mix after the change to the loudness of that before.

    Returns:
        The mix before, the mix after (None without stems or without a change), and the common gain
        in dB that keeps both from clipping.
    """
    song, after = heard.song, None
    if not song.has_stems:
        before, sample_rate = read_checked(song.path)
    else:
        stems, sample_rate = read_stems(song.path)
        before = mix_stems(stems, song.faders_db)
        if heard.changes_db:
            after = mix_stems(stems, add_gains(song.faders_db, heard.changes_db))
    mixes = [before] if after is None else [before, after]
    if is_matched:
        mixes = match_loudness(mixes, sample_rate)
    mixes, gain_db = fit_full_scale(mixes)
    playable = [(sample_rate, _to_int16(mix)) for mix in mixes]
    return playable[0], playable[1] if after is not None else None, gain_db


def draw_levels(heard: Heard) -> bytes:
    """Draw levels over time, of each stem where stems are known; a PNG."""
    song = heard.song
    if not song.has_stems:
        mix, sample_rate = read_checked(song.path)
        return plot_song_levels({"mix": levels_over_time(mix, sample_rate)})
    stems, sample_rate = read_stems(song.path)
    levels = {
        stem: levels_over_time(
            audio * np.float32(db_to_gain(song.faders_db.get(stem, 0.0))), sample_rate
        )
        for stem, audio in zip(STEMS, stems, strict=True)
    }
    return plot_song_levels(levels, heard.changes_db)


def measure(a: Song, b: Song, anchor: str | None) -> SongComparison:
    """Measure what to move in A to stand as in B; both need stems."""
    with tempfile.TemporaryDirectory(prefix="mixing-buddy-") as folder:
        return compare_songs(
            _as_moved(a, Path(folder, "A")), _as_moved(b, Path(folder, "B")), anchor=anchor
        )


def answers_by_advice(heard: Heard) -> dict[tuple[str | None, str | None], int]:
    """Count the answers on windows by the stem and direction that they name."""
    counts: dict[tuple[str | None, str | None], int] = {}
    for window in heard.advice.windows:
        direction = window.advice.direction
        stem = window.advice.stem if window.advice.stem in ADVISED_STEMS else None
        key = (stem, direction.value if direction else None)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _as_moved(song: Song, folder: Path) -> SongFiles:
    """Write stems as the faders make them, where any was moved."""
    if not song.faders_db:
        return open_song(song.path)
    stems, sample_rate = read_stems(song.path)
    folder.mkdir()
    for stem, audio in zip(STEMS, stems, strict=True):
        gain = np.float32(db_to_gain(song.faders_db.get(stem, 0.0)))
        write_audio(folder / f"{stem}.wav", gain * audio, sample_rate)
    return open_song(folder)


def _to_int16(mix: np.ndarray) -> np.ndarray:
    """Full scale at 1.0, `(num_channels, num_samples)`, to what gradio plays."""
    return np.round(np.clip(mix.T, -1.0, 1.0) * 32767.0).astype(np.int16)
