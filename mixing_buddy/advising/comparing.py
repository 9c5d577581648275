"""Two versions of one song: how far their stems differ in level, by measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.inputs import SongFiles, stream_stems
from mixing_buddy.chunks import CHUNK_S, CHUNK_SAMPLES, MIN_STEM_DBFS
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.loudness import loudness_lufs, rms_dbfs
from mixing_buddy.songs import SAMPLE_RATE
from mixing_buddy.stems import STEMS

#: Rate of the envelopes by which versions are lined up, and how far apart they may start.
_ENVELOPE_HZ, _MAX_OFFSET_S = 50, 30.0
#: A shift is believed where onsets agree so well, and so much better than without it.
_MIN_CORRELATION, _MIN_GAIN = 0.5, 0.2


@dataclass(frozen=True)
class StemComparison:
    """How a stem stands in my mix and in a reference, window by window.

    Args:
        stem: the stem.
        windows_db: start in seconds of each window in which the stem and the anchor sound in both,
            and what the fader in my mix would have to do there to stand as in the reference.
        needed_db: the median of these, None where there is no such window.
    """

    stem: str
    windows_db: tuple[tuple[float, float], ...]
    needed_db: float | None

    @property
    def spread_db(self) -> float | None:
        """Middle half of the windows, from its lower to its upper end; None for no windows."""
        if not self.windows_db:
            return None
        low_db, high_db = np.percentile([value for _, value in self.windows_db], [25, 75])
        return float(high_db - low_db)


@dataclass(frozen=True)
class SongComparison:
    """My mix beside a reference balance of the same song, by measurement alone.

    Args:
        stems: each stem that sounds in both.
        anchor: what levels are relative to; None for the median stem of each window.
        num_windows: windows of 10 s that were compared.
        mix_db: median difference in loudness of the whole mixes, mine minus the reference.
        notes: what a user should know.
    """

    stems: tuple[StemComparison, ...]
    anchor: str | None
    num_windows: int
    mix_db: float
    notes: tuple[str, ...] = ()

    @property
    def changes_db(self) -> dict[str, float]:
        """What to move in my mix, by stem."""
        return {each.stem: each.needed_db for each in self.stems if each.needed_db is not None}

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        stems = [
            {
                "stem": each.stem,
                "needed_db": each.needed_db,
                "spread_db": each.spread_db,
                "windows": [{"start_s": start, "needed_db": db} for start, db in each.windows_db],
            }
            for each in self.stems
        ]
        return {
            "anchor": self.anchor,
            "num_windows": self.num_windows,
            "mix_db": self.mix_db,
            "stems": stems,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class InferredComparison:
    """What a model says of two versions, each judged by itself: a mix doesn't show its stems.

    Args:
        mine: advice on my version.
        reference: advice on the other.
    """

    mine: SongAdvice
    reference: SongAdvice


def compare_songs(
    mine: SongFiles, reference: SongFiles, *, anchor: str | None = None, progress: bool = False
) -> SongComparison:
    """Measure what to move in one version of a song to reach the balance of another.

    Both are measured in the same windows of 10 s from the start, by BS.1770 on the mono sum of each
    stem, in constant memory. In a window the difference of each stem is taken relative to the
    anchor's, or without one to the median of the stems that sound; over the windows the median.

    Args:
        mine: a folder of tracks, from `open_song`.
        reference: another one of the same song; names and numbers of tracks may differ.
        anchor: the stem whose level is taken as right in both.
        progress: show a progress bar.

    Raises:
        MixingBuddyError: one is a mix only, or there is no window in which stems can be compared.
    """
    for song in (mine, reference):
        if song.is_mix:
            raise MixingBuddyError(
                f"{song.path} is one file: stems can only be measured where each is a file."
            )
    if anchor is not None and anchor not in STEMS:
        raise MixingBuddyError(f"The anchor is {anchor!r}: choose one of {', '.join(STEMS)}.")
    block_s = round(CHUNK_S)
    pairs = zip(
        stream_stems(mine, SAMPLE_RATE, block_s),
        stream_stems(reference, SAMPLE_RATE, block_s),
        strict=False,
    )
    total = math.ceil(min(mine.duration_s, reference.duration_s) / CHUNK_S)
    found: dict[str, list[tuple[float, float]]] = {stem: [] for stem in STEMS}
    mixes_db: list[float] = []
    envelopes: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for index, (a, b) in enumerate(
        tqdm(pairs, desc="Measuring", unit="window", total=total, disable=not progress)
    ):
        length = min(a.shape[1], b.shape[1])
        if index > 0 and length < CHUNK_SAMPLES:
            break
        a, b = a[:, :length], b[:, :length]
        for envelope, version in zip(envelopes, (a, b), strict=True):
            envelope.append(_envelope(version.sum(axis=0)))
        gaps_db = _window_gaps_db(a, b)
        if len(gaps_db) < 2 or (anchor is not None and anchor not in gaps_db):
            continue
        base_db = gaps_db[anchor] if anchor else median(gaps_db.values())
        for stem, gap_db in gaps_db.items():
            found[stem].append((index * CHUNK_S, gap_db - base_db))
        mixes_db.append(
            loudness_lufs(a.sum(axis=0), SAMPLE_RATE) - loudness_lufs(b.sum(axis=0), SAMPLE_RATE)
        )
    if not mixes_db:
        what = f"{anchor} and another stem sound" if anchor else "two stems sound"
        raise MixingBuddyError(
            f"{mine.path} and {reference.path}: no window of {CHUNK_S:g} s in which {what} in both."
        )
    stems = tuple(
        StemComparison(stem, tuple(values), median(db for _, db in values) if values else None)
        for stem, values in found.items()
    )
    notes = _notes(mine, reference)
    offset_s = find_offset_s(*(np.concatenate(envelope) for envelope in envelopes), _ENVELOPE_HZ)
    if offset_s is not None:
        late, early = (mine, reference) if offset_s > 0 else (reference, mine)
        notes.append(
            f"In {late.path} the music seems to come {abs(offset_s):.2f} s later than in "
            f"{early.path}: different moments are compared. Line both up, and compare again."
        )
    return SongComparison(stems, anchor, len(mixes_db), median(mixes_db), tuple(notes))


def find_offset_s(mine: np.ndarray, reference: np.ndarray, rate_hz: float) -> float | None:
    """Find how much later a song's music comes in one version than in another.

    Onsets are compared, so that neither balance nor level matters.

    Args:
        mine: amplitude over time, of shape `(num_frames,)`.
        reference: that of the other version, of the same shape.
        rate_hz: frames a second.

    Returns:
        Seconds, below 0 where the music comes earlier; None where the versions start together, or
        where no shift makes them agree.
    """
    from scipy.signal import correlate, correlation_lags

    onsets = []
    for envelope in (mine, reference):
        rises = np.maximum(np.diff(np.log(np.maximum(envelope, 1e-4))), 0.0)
        onsets.append(rises - rises.mean())
    scale = math.sqrt(math.prod(float(np.dot(each, each)) for each in onsets))
    if not scale:
        return None
    agreement = correlate(*onsets, method="fft") / scale
    lags = correlation_lags(*(each.size for each in onsets))
    near = np.abs(lags) <= _MAX_OFFSET_S * rate_hz
    agreement, lags = agreement[near], lags[near]
    best = int(agreement.argmax())
    together = agreement[np.abs(lags) <= 1].max()
    if agreement[best] < max(_MIN_CORRELATION, together + _MIN_GAIN):
        return None
    return float(lags[best]) / rate_hz


def _envelope(mix: np.ndarray) -> np.ndarray:
    frame = SAMPLE_RATE // _ENVELOPE_HZ
    frames = mix[: mix.size // frame * frame].reshape(-1, frame)
    return np.sqrt(np.mean(np.square(frames), axis=1))


def _window_gaps_db(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How far each stem that sounds in both stands higher in B, in dB."""
    return {
        stem: loudness_lufs(there, SAMPLE_RATE) - loudness_lufs(here, SAMPLE_RATE)
        for stem, here, there in zip(STEMS, a, b, strict=True)
        if min(rms_dbfs(here), rms_dbfs(there)) > MIN_STEM_DBFS
    }


def _notes(mine: SongFiles, reference: SongFiles) -> list[str]:
    notes = [*mine.notes, *reference.notes]
    if abs(mine.duration_s - reference.duration_s) > 1.0:
        notes.append(
            f"The versions are {mine.duration_s:.1f} and {reference.duration_s:.1f} s long; they "
            "are taken to start together, and what only one of them has is left out."
        )
    for stem in STEMS:
        has = [any(track.stem == stem for track in song.tracks) for song in (mine, reference)]
        if has[0] != has[1]:
            holder = "your version" if has[0] else "the reference"
            notes.append(
                f"Only {holder} has a track taken as {stem}, so {stem} can't be compared. "
                "If a name was read wrongly, correct it with --map."
            )
    return notes
