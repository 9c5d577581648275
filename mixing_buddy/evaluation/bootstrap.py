"""Intervals by bootstrap over songs.

Answers on one song share its balance, its sound and what the model makes of them, so they are not
independent: songs are drawn with replacement, with all their rows. (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapters 8 and 13.) Every measure here is a ratio of sums over
rows, so a drawn set of songs needs only the sums of each song.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

#: Share of resamples that an interval holds.
CONFIDENCE = 0.95


class SongBootstrap:
    """Draws songs, and gives intervals of measures over them.

    A measure is given as numerators and denominators, one of each for every row, of shape
    `(num_rows,)`; its value is the ratio of their sums. A mean has denominators 1, and a row with
    0 in both does not count.

    Args:
        songs: which song each row belongs to, of length `num_rows`.
        num_resamples: how many sets of songs are drawn.
        seed: what they are drawn from; equal songs, number and seed give equal intervals.
    """

    def __init__(
        self, songs: Sequence[Hashable], *, num_resamples: int = 2000, seed: int = 0
    ) -> None:
        places = {song: place for place, song in enumerate(dict.fromkeys(songs))}
        self._song_of_row = np.array([places[song] for song in songs], dtype=int)
        self.num_songs = len(places)
        shares = np.full(self.num_songs, 1 / max(self.num_songs, 1))
        rng = np.random.default_rng(seed)
        # How often each song is in each set: float, for the products to come.
        self._counts = np.zeros((num_resamples, self.num_songs))
        if places:
            self._counts += rng.multinomial(self.num_songs, shares, num_resamples)

    def interval(
        self, numerators: np.ndarray, denominators: np.ndarray
    ) -> tuple[float, float] | None:
        """Percentile interval of a measure, `CONFIDENCE` wide.

        Returns:
            Lower and upper end. None with fewer than two songs, as one says nothing about
            others, and where no row counts.
        """
        return self._percentiles(self._resample(numerators, denominators))

    def difference_interval(
        self,
        numerators: np.ndarray,
        denominators: np.ndarray,
        other_numerators: np.ndarray,
        other_denominators: np.ndarray,
    ) -> tuple[float, float] | None:
        """Interval of how far a measure of one system lies above that of another.

        Both answered the same rows, so the same songs are drawn for both: what makes a song hard
        is hard for both, and the interval is narrower than those of the two figures suggest.

        Returns:
            Lower and upper end; see `interval`.
        """
        return self._percentiles(
            self._resample(numerators, denominators)
            - self._resample(other_numerators, other_denominators)
        )

    def statistic_interval(
        self, columns: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[float, float] | None:
        """Interval of anything that is computed from sums over rows.

        Args:
            columns: what is summed, of shape `(num_rows, num_columns)`.
            statistic: takes sums of shape `(num_sets, num_columns)` and returns a value for each
                set, `(num_sets,)`.

        Returns:
            Lower and upper end; see `interval`.
        """
        by_song = np.zeros((self.num_songs, columns.shape[1]))
        np.add.at(by_song, self._song_of_row, columns)
        return self._percentiles(statistic(self._counts @ by_song))

    def _resample(self, numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
        """The measure of every drawn set of songs; NaN for a set in which no row counts."""
        numerators, denominators = (
            self._counts @ np.bincount(self._song_of_row, values, self.num_songs)
            for values in (numerators, denominators)
        )
        missing = np.full(len(numerators), np.nan)
        return np.divide(numerators, denominators, out=missing, where=denominators > 0)

    def _percentiles(self, replicates: np.ndarray) -> tuple[float, float] | None:
        replicates = replicates[~np.isnan(replicates)]
        if self.num_songs < 2 or not len(replicates):
            return None
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(replicates, [tail, 100 - tail])
        return float(low), float(high)
