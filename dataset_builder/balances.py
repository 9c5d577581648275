"""Balances that several engineers agree on, matched with the songs of a build."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping

import numpy as np

from mixing_buddy.consensus.estimate import MEAN, Consensus, ReferenceBalance, reference_balance
from mixing_buddy.consensus.tables import read_consensus
from mixing_buddy.errors import SongError
from mixing_buddy.loudness import loudness_lufs
from mixing_buddy.songs import SAMPLE_RATE, Song
from mixing_buddy.stems import STEMS

# Songs that an error names of each side.
_NAMED = 5


def read_agreed(path: str | os.PathLike[str]) -> dict[str, dict[str, Consensus]]:
    """Read what `mixing-buddy consensus` wrote.

    Args:
        path: its CSV or Parquet file.

    Returns:
        Consensus by song, then by anchor.

    Raises:
        ConsensusError: there is no such table, or it can't be used.
    """
    by_song: dict[str, dict[str, Consensus]] = {}
    for (song, anchor), agreed in read_consensus(path).items():
        by_song.setdefault(song, {})[anchor] = agreed
    return by_song


def check_matches(
    agreed: Mapping[str, object], songs: Iterable[Song], path: str | os.PathLike[str]
) -> None:
    """Raise a `SongError` if the consensus in `path` is of none of these songs."""
    names = sorted({song.name for song in songs})
    if not set(names) & set(agreed):
        raise SongError(
            f"{path}: a consensus of {_some(sorted(agreed))}, but of none of the songs here "
            f"({_some(names)}). The column 'song' must hold the names of the songs' folders."
        )


def balances_of(agreed: Mapping[str, Consensus], stems: np.ndarray) -> dict[str, ReferenceBalance]:
    """Turn a song's consensus into gains on its stems.

    Where it is of levels, the stems' own are measured: integrated loudness in LUFS over the song
    (`loudness_lufs`). A silent stem has none, and is left alone.

    Args:
        agreed: consensus by anchor.
        stems: float32 of shape `(4, num_samples)` at `SAMPLE_RATE`, in the order of `STEMS`.

    Returns:
        Balances by anchor, without those whose anchor is silent.
    """
    levels_db: dict[str, float] = {}
    if any(one.quantity == "level" for one in agreed.values()):
        measured = {
            stem: loudness_lufs(samples, SAMPLE_RATE)
            for stem, samples in zip(STEMS, stems, strict=True)
        }
        levels_db = {stem: level for stem, level in measured.items() if math.isfinite(level)}
    balances = {}
    for anchor, one in agreed.items():
        if one.quantity == "gain":
            balances[anchor] = reference_balance(one)
            continue
        heard = {stem: found for stem, found in one.stems.items() if stem in levels_db}
        if heard and (anchor == MEAN or anchor in heard):
            balances[anchor] = reference_balance(dataclasses.replace(one, stems=heard), levels_db)
    return balances


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
