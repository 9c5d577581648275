"""How far engineers differ: the natural spread of each stem, from several mixes of each song.

Only differences between mixes of the same song count; what differs from song to song does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import nnls

from mixing_buddy.consensus.estimate import ConsensusError, EngineerBalance, group_by_song
from mixing_buddy.stems import STEMS

#: Pairs of stems whose difference in level is looked at.
PAIRS: tuple[tuple[str, str], ...] = tuple(combinations(STEMS, 2))

#: Ratio of a normal distribution's interquartile range to its standard deviation.
IQR_TO_SD = 1.349

#: A normal variable's standard deviation is this many times the median distance of two draws
#: (Shamos 1976, "Geometry and statistics: problems at the interface").
_SHAMOS = 1.0483

#: Resamplings behind an interval, which holds the middle 95 %.
NUM_RESAMPLINGS = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that resampling songs gives.

    Args:
        value: the figure.
        low: 2.5th percentile over resamplings.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairSpread:
    """How far engineers differ in the level of one stem against another, in dB.

    Args:
        sd_db: standard deviation within songs, pooled over them.
        robust_db: the same from the median difference between two engineers of a song, which a few
            strange mixes hardly move.
        song_iqr_db: each song's interquartile range over 1.349.
        num_mixes: mixes with both stems.
    """

    sd_db: Estimate
    robust_db: Estimate
    song_iqr_db: Mapping[str, float]
    num_mixes: int


@dataclass(frozen=True)
class Spread:
    """How far engineers differ.

    Args:
        pairs: by pair of stems, in the order of `PAIRS`.
        stem_sd_db: standard deviation of each stem's own level that explains the pairs' `sd_db`, if
            engineers move stems independently.
        stem_robust_db: the same for `robust_db`.
        mean_sd_db: root mean square of `stem_sd_db`: one spread for all stems.
        mean_robust_db: the same of `stem_robust_db`.
        num_songs: songs with two mixes at least.
        num_mixes: their mixes.
    """

    pairs: Mapping[tuple[str, str], PairSpread]
    stem_sd_db: Mapping[str, Estimate]
    stem_robust_db: Mapping[str, Estimate]
    mean_sd_db: Estimate
    mean_robust_db: Estimate
    num_songs: int
    num_mixes: int


def measure_spread(balances: Sequence[EngineerBalance], *, seed: int = 0) -> Spread:
    """Measure how far engineers differ within songs.

    A pair's variance is taken to be the sum of two stems' own, ``var(i - j) = s_i^2 + s_j^2``;
    non-negative least squares over the six pairs gives the four ``s``. Intervals come from drawing
    songs, not mixes, with replacement, since mixes of a song share its arrangement.

    Args:
        balances: of any songs. Songs with one mix tell nothing and are left out.
        seed: of the resampling.

    Returns:
        Spreads in dB.

    Raises:
        ConsensusError: no pair of stems has two mixes of one song, for some pair.
    """
    songs = {song: mixes for song, mixes in group_by_song(balances).items() if len(mixes) > 1}
    # Per pair and song: squares about the song's mean, degrees of freedom, engineers' distances.
    values = {
        pair: [
            np.array([b.levels_db[pair[0]] - b.levels_db[pair[1]] for b in mixes if _has(b, pair)])
            for mixes in songs.values()
        ]
        for pair in PAIRS
    }
    for pair, by_song in values.items():
        if not any(len(differences) > 1 for differences in by_song):
            raise ConsensusError(
                f"No song has two mixes with both {pair[0]} and {pair[1]}: nothing to compare."
            )
    squares = np.array(
        [[np.sum((v - v.mean()) ** 2) if len(v) else 0.0 for v in values[pair]] for pair in PAIRS]
    )
    freedom = np.array([[max(len(v) - 1, 0) for v in values[pair]] for pair in PAIRS])
    distances = {pair: [_distances(v) for v in values[pair]] for pair in PAIRS}

    def pair_spreads(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sd = np.sqrt(squares[:, drawn].sum(1) / np.maximum(freedom[:, drawn].sum(1), 1))
        robust = [_pooled_shamos([distances[pair][song] for song in drawn]) for pair in PAIRS]
        return sd, np.array(robust)

    everything = np.arange(len(songs))
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(everything, len(everything)) for _ in range(NUM_RESAMPLINGS)]
    found = pair_spreads(everything)
    resampled = [np.array(column) for column in zip(*map(pair_spreads, drawn), strict=True)]
    sd, robust = (_estimates(*pair) for pair in zip(found, resampled, strict=True))
    own = [solve_stem_spreads(values) for values in found]
    own_resampled = [np.array([solve_stem_spreads(v) for v in rows]) for rows in resampled]
    stem_sd, stem_robust = (_estimates(*pair) for pair in zip(own, own_resampled, strict=True))
    means = [
        _estimates(_rms(values)[np.newaxis], _rms(rows)[:, np.newaxis])[0]
        for values, rows in zip(own, own_resampled, strict=True)
    ]
    return Spread(
        pairs={
            pair: PairSpread(
                sd[index],
                robust[index],
                {
                    song: float(np.subtract(*np.quantile(v, (0.75, 0.25)))) / IQR_TO_SD
                    for song, v in zip(songs, values[pair], strict=True)
                    if len(v) > 1
                },
                sum(map(len, values[pair])),
            )
            for index, pair in enumerate(PAIRS)
        },
        stem_sd_db=dict(zip(STEMS, stem_sd, strict=True)),
        stem_robust_db=dict(zip(STEMS, stem_robust, strict=True)),
        mean_sd_db=means[0],
        mean_robust_db=means[1],
        num_songs=len(songs),
        num_mixes=sum(map(len, songs.values())),
    )


def solve_stem_spreads(pair_sds_db: Sequence[float] | np.ndarray) -> np.ndarray:
    """Find each stem's own spread from those of differences, stems moving independently.

    Args:
        pair_sds_db: standard deviation in dB of each difference, in the order of `PAIRS`.

    Returns:
        Standard deviations in dB of shape ``(num_stems,)``, in the order of `STEMS`.
    """
    design = np.array([[float(stem in pair) for stem in STEMS] for pair in PAIRS])
    variances, _ = nnls(design, np.square(np.asarray(pair_sds_db, dtype=float)))
    return np.sqrt(variances)


def _has(balance: EngineerBalance, pair: tuple[str, str]) -> bool:
    return all(stem in balance.levels_db for stem in pair)


def _distances(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance between any two of a song's values, and its weight in the pool.

    A song of n engineers has n (n - 1) / 2 of them but only n - 1 that are independent.
    """
    first, second = np.triu_indices(len(values), 1)
    distances = np.abs(values[first] - values[second])
    return distances, np.full(len(distances), 2.0 / max(len(values), 1))


def _pooled_shamos(songs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Median distance, weighted, as a standard deviation in dB."""
    distances = np.concatenate([song[0] for song in songs])
    if not len(distances):
        return 0.0
    weights = np.concatenate([song[1] for song in songs])
    order = np.argsort(distances)
    passed = np.cumsum(weights[order])
    middle = np.interp(passed[-1] / 2, passed - weights[order] / 2, distances[order])
    return _SHAMOS * float(middle)


def _rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values), axis=-1))


def _estimates(values: np.ndarray, resampled: np.ndarray) -> list[Estimate]:
    """Estimates of shape ``(num_figures,)`` with rows of resamplings."""
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    return [Estimate(*map(float, figures)) for figures in zip(values, low, high, strict=True)]
