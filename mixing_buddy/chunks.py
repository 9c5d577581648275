"""Chunks of 10 s: which parts of a song can teach, and which stems are audible there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from mixing_buddy.loudness import active_fraction, rms_dbfs
from mixing_buddy.songs import SAMPLE_RATE, Song
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Length in seconds of what the model hears at a time.
CHUNK_S = 10.0

#: The same in samples.
CHUNK_SAMPLES = round(CHUNK_S * SAMPLE_RATE)

#: Gating: a chunk is skipped when its mixture's RMS level lies below this ...
MIN_MIXTURE_DBFS = -35.0
#: ... or when fewer of its 50 ms frames than this are active.
MIN_ACTIVE_FRACTION = 0.2
#: A stem is audible when its RMS level in the chunk lies above this.
MIN_STEM_DBFS = -45.0


@dataclass(frozen=True)
class Chunk:
    """A part of a song that recipes can be made from.

    Args:
        source: name of the source of the song.
        split: split of the song.
        song: name of the song.
        licence: licence of its audio.
        start_s: where it starts in the song, in seconds.
        duration_s: length of the music in it, in seconds: less than `CHUNK_S` only where the
            whole song is shorter; rendered audio is then padded with zeros to `CHUNK_S`.
        audible_stems: stems that can be heard in it, in the order of `STEMS`.
        artist: who made the song, None where that is not known.
    """

    source: str
    split: str
    song: str
    licence: str
    start_s: float
    duration_s: float
    audible_stems: tuple[str, ...]
    artist: str | None = None

    @property
    def advised_stems(self) -> tuple[str, ...]:
        """Audible stems that may be target or anchor."""
        return tuple(stem for stem in self.audible_stems if stem in ADVISED_STEMS)


@dataclass(frozen=True)
class ChunkScan:
    """What gating found in a song.

    Args:
        chunks: the chunks to use, by start.
        skipped: how many chunks were left out, by reason.
        notes: oddities of the song that don't stop it from being used.
    """

    chunks: list[Chunk]
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def find_chunks(song: Song, stems: np.ndarray) -> ChunkScan:
    """Cut a song into chunks of 10 s that don't overlap, and leave out what can't teach.

    The end of the song that fills no whole chunk is dropped, unless the song is shorter than
    one chunk: then its only chunk is the whole song.

    Args:
        song: where the stems come from.
        stems: float32 of shape `(4, num_samples)` at `SAMPLE_RATE`, in the order of `STEMS`.

    Returns:
        The chunks, with what was skipped and why. Where levels are measured, padding does
        not count.
    """
    num_samples = stems.shape[1]
    scan = ChunkScan(
        chunks=[],
        notes=[
            f"{stem} is silent all through"
            for stem, samples in zip(STEMS, stems, strict=True)
            if not samples.any()
        ],
    )
    for index in range(max(1, num_samples // CHUNK_SAMPLES)):
        start = index * CHUNK_SAMPLES
        part = np.asarray(stems[:, start : start + CHUNK_SAMPLES])
        audible = tuple(
            stem
            for stem, samples in zip(STEMS, part, strict=True)
            if rms_dbfs(samples) > MIN_STEM_DBFS
        )
        chunk = Chunk(
            source=song.source,
            split=song.split or "test",
            song=song.name,
            licence=song.licence,
            start_s=start / SAMPLE_RATE,
            duration_s=part.shape[1] / SAMPLE_RATE,
            audible_stems=audible,
            artist=song.artist,
        )
        reason = reason_to_skip_mixture(part.sum(axis=0))
        if reason is None and len(chunk.advised_stems) < 2:
            reason = f"fewer than two of {', '.join(ADVISED_STEMS)} audible"
        if reason is None:
            scan.chunks.append(chunk)
        else:
            scan.skipped[reason] += 1
    return scan


def reason_to_skip_mixture(mixture: np.ndarray) -> str | None:
    """Say why a mixture can't be judged, None if it can.

    Args:
        mixture: float32 of shape `(num_samples,)` at `SAMPLE_RATE`, without padding.
    """
    if rms_dbfs(mixture) < MIN_MIXTURE_DBFS:
        return f"mixture below {MIN_MIXTURE_DBFS:g} dBFS RMS"
    if active_fraction(mixture, SAMPLE_RATE) < MIN_ACTIVE_FRACTION:
        return f"fewer than {MIN_ACTIVE_FRACTION:.0%} of frames active"
    return None
