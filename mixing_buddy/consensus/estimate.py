"""What several engineers agree on: the balance of a song, and the range that taste allows.

One mix is one opinion. From the balances that several engineers gave the same song comes a level of
each stem (median), a range (quartiles) and the engineers who stand apart and are set aside. All
levels are relative to an anchor, because how loud the whole mix is says nothing of its balance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stems import STEMS

#: In place of an anchor: levels relative to the mean, in dB, of a mix's stems.
MEAN = "mean"

#: What levels may be relative to.
ANCHORS: tuple[str, ...] = (*STEMS, MEAN)

#: Fewer opinions than this have no quartiles worth the name.
MIN_ENGINEERS = 3

#: An engineer whose `robust_distances` exceed this is set aside. The usual limit for distances in
#: units of the median absolute deviation (Iglewicz and Hoaglin 1993, "How to Detect and Handle
#: Outliers").
OUTLIER_DISTANCE = 3.5

#: Least unit of that distance, in dB: about what engineers usually differ by in the level of one
#: stem against another (docs/consensus.md). Where a few happen to agree closely, taste would
#: otherwise count as a mistake; less than 3.5 units, 10.5 dB, off the median never does.
MIN_SCALE_DB = 3.0

#: Ratio of a normal distribution's standard deviation to its median absolute deviation.
_MAD_TO_SD = 1.4826

Quantity = Literal["gain", "level"]


class ConsensusError(MixingBuddyError):
    """Engineers' balances, or a table of them, can't be used."""


class TooFewEngineersError(ConsensusError):
    """There are not enough engineers to speak of a consensus."""


@dataclass(frozen=True)
class EngineerBalance:
    """How one engineer balanced one song.

    Args:
        song: name of the song.
        engineer: name of the engineer, or of the mix.
        levels_db: gain or level of each stem in dB, up to a constant of the engineer's own; a stem
            that the engineer left out is missing.
    """

    song: str
    engineer: str
    levels_db: Mapping[str, float]


@dataclass(frozen=True)
class StemConsensus:
    """Where engineers put one stem.

    Args:
        gain_db: median, in dB relative to the anchor.
        low_db: lower quartile; None with fewer than `MIN_ENGINEERS` engineers.
        high_db: upper quartile, likewise.
        num_engineers: how many engineers it rests on.
    """

    gain_db: float
    low_db: float | None
    high_db: float | None
    num_engineers: int


@dataclass(frozen=True)
class Consensus:
    """What engineers agree on for one song.

    Args:
        song: name of the song.
        anchor: stem that levels are relative to, or `MEAN`.
        quantity: "gain" where levels are gains on the song's own stems, "level" where they are
            loudness, gain included.
        stems: for each stem that any engineer used its consensus; the anchor's is 0 dB.
        outliers: engineers set aside, sorted.
    """

    song: str
    anchor: str
    quantity: Quantity
    stems: Mapping[str, StemConsensus]
    outliers: tuple[str, ...] = ()

    def tolerance_error_db(self, stem: str, gain_db: float) -> float:
        """Distance of a gain from the range that engineers agree on.

        Args:
            stem: name of the stem.
            gain_db: its gain or level (see `quantity`) in dB relative to the anchor.

        Returns:
            0 inside the range, else the distance in dB to its nearer end.

        Raises:
            ConsensusError: there is no range for this stem.
        """
        agreed = self.stems.get(stem)
        if agreed is None or agreed.low_db is None or agreed.high_db is None:
            raise ConsensusError(
                f"{self.song}: no range for {stem!r}; fewer than {MIN_ENGINEERS} engineers used it."
            )
        return max(agreed.low_db - gain_db, gain_db - agreed.high_db, 0.0)


@dataclass(frozen=True)
class ReferenceBalance:
    """The balance that engineers agree on, as gains on a song's stems: B of a comparison.

    Args:
        anchor: stem whose gain is 0 dB; with `MEAN`, the gains' mean is.
        gains_db: gain in dB on each stem as it lies.
        tolerance_low_db: lowest gain within the engineers' range; None where there is no range.
        tolerance_high_db: highest such gain.
    """

    anchor: str
    gains_db: Mapping[str, float]
    tolerance_low_db: Mapping[str, float | None]
    tolerance_high_db: Mapping[str, float | None]

    def needed_from(self, gains_db: Mapping[str, float]) -> ReferenceBalance:
        """Restate the balance as changes to a mix whose faders stand elsewhere.

        Args:
            gains_db: gain in dB on each stem in the mix to be changed.

        Returns:
            The same with every figure the change of a fader in dB, the anchor unmoved:
            `gains_db` is then a sample's `needed_change_db`.

        Raises:
            ConsensusError: a stem has no gain.
        """
        _require_stems(gains_db, self.gains_db, "gains_db")
        now = relative_levels({stem: gains_db[stem] for stem in self.gains_db}, self.anchor)

        def shift(values: Mapping[str, float | None]) -> Mapping[str, float | None]:
            return {s: None if v is None else v - now[s] for s, v in values.items()}

        return ReferenceBalance(
            self.anchor,
            shift(self.gains_db),
            shift(self.tolerance_low_db),
            shift(self.tolerance_high_db),
        )


def consensus(
    balances: Iterable[EngineerBalance], *, anchor: str = "vocals", quantity: Quantity = "gain"
) -> Consensus:
    """Find the balance that engineers of one song agree on.

    Outlying engineers (`find_outliers`, whatever the anchor) are set aside.

    Args:
        balances: one of each engineer, all of one song.
        anchor: stem that levels are relative to, or `MEAN`. Engineers who lack it (with `MEAN`:
            who lack a stem that three or more used) don't count.
        quantity: what the levels are; see `Consensus`.

    Returns:
        The consensus; the order of `balances` and a constant on an engineer's levels don't matter.

    Raises:
        TooFewEngineersError: fewer than `MIN_ENGINEERS` engineers can be compared.
        ConsensusError: several songs, an engineer twice, a level that is not finite, or an unknown
            stem or anchor.
    """
    balances = _check(balances)
    if anchor not in ANCHORS:
        raise ConsensusError(f"There is no anchor {anchor!r}; take one of {', '.join(ANCHORS)}.")
    song = balances[0].song
    outliers = find_outliers(balances)
    kept = [balance for balance in balances if balance.engineer not in outliers]
    used = Counter(stem for balance in kept for stem in balance.levels_db)
    needed = {stem for stem in used if used[stem] >= MIN_ENGINEERS} if anchor == MEAN else {anchor}
    rows = [
        relative_levels(balance.levels_db, anchor, needed)
        for balance in kept
        if needed and needed <= set(balance.levels_db)
    ]
    if len(rows) < MIN_ENGINEERS:
        raise TooFewEngineersError(
            f"{song}: {len(rows)} of {len(balances)} engineers can be compared by {anchor}; "
            f"a consensus needs {MIN_ENGINEERS}."
        )
    values = {stem: [row[stem] for row in rows if stem in row] for stem in STEMS}
    stems = {stem: _stem_consensus(found) for stem, found in values.items() if found}
    return Consensus(song, anchor, quantity, stems, outliers)


def consensus_by_song(
    balances: Iterable[EngineerBalance], *, anchor: str = "vocals", quantity: Quantity = "gain"
) -> tuple[list[Consensus], dict[str, str]]:
    """Find the consensus of every song that has one.

    Args:
        balances: of any songs, in any order.
        anchor: as for `consensus`.
        quantity: as for `consensus`.

    Returns:
        The consensus of each song, sorted by name; and for each song with too few engineers a
        sentence that says so.

    Raises:
        ConsensusError: as for `consensus`, save that.
    """
    found, without = [], {}
    for song, group in group_by_song(balances).items():
        try:
            found.append(consensus(group, anchor=anchor, quantity=quantity))
        except TooFewEngineersError as error:
            without[song] = str(error)
    return found, without


def group_by_song(balances: Iterable[EngineerBalance]) -> dict[str, list[EngineerBalance]]:
    """Sort balances into songs, songs and engineers by name."""
    songs: dict[str, list[EngineerBalance]] = {}
    for balance in sorted(balances, key=lambda balance: (balance.song, balance.engineer)):
        songs.setdefault(balance.song, []).append(balance)
    return songs


def relative_levels(
    levels_db: Mapping[str, float], anchor: str, stems: Iterable[str] | None = None
) -> dict[str, float]:
    """Restate levels in dB relative to the anchor.

    Args:
        levels_db: level of each stem.
        anchor: one of them, or `MEAN`.
        stems: with `MEAN`, the stems to take the mean of; all by default.

    Returns:
        Every stem's level, less the anchor's.
    """
    base = (
        levels_db[anchor]
        if anchor != MEAN
        else float(
            np.mean([levels_db[stem] for stem in (levels_db if stems is None else sorted(stems))])
        )
    )
    return {stem: level_db - base for stem, level_db in levels_db.items()}


def robust_distances(balances: Sequence[EngineerBalance]) -> dict[str, float]:
    """How far each engineer of one song stands from the others.

    For each pair of stems the difference of levels is compared with the median over engineers, in
    units of the median absolute deviation (as a standard deviation, at least `MIN_SCALE_DB`). The
    largest of these over the pairs is the engineer's distance. Pairs need no anchor, so a wrong
    anchor can't make all other stems look wrong.

    Args:
        balances: one of each engineer.

    Returns:
        For each engineer the distance; 0 for one with fewer than two stems.
    """
    distances = dict.fromkeys((balance.engineer for balance in balances), 0.0)
    for first, second in combinations(STEMS, 2):
        differences = {
            balance.engineer: balance.levels_db[first] - balance.levels_db[second]
            for balance in balances
            if first in balance.levels_db and second in balance.levels_db
        }
        if not differences:
            continue
        values = np.array(list(differences.values()))
        deviations = np.abs(values - np.median(values))
        scale_db = max(_MAD_TO_SD * float(np.median(deviations)), MIN_SCALE_DB)
        for engineer, deviation in zip(differences, deviations, strict=True):
            distances[engineer] = max(distances[engineer], float(deviation) / scale_db)
    return distances


def find_outliers(balances: Sequence[EngineerBalance]) -> tuple[str, ...]:
    """Find the engineers of one song who stand apart.

    Those whose `robust_distances` exceed `OUTLIER_DISTANCE`, the most distant first; always fewer
    than half, and never so many that fewer than `MIN_ENGINEERS` are left.

    Args:
        balances: one of each engineer.

    Returns:
        Their names, sorted.
    """
    distances = robust_distances(balances)
    limit = max(0, min((len(balances) - 1) // 2, len(balances) - MIN_ENGINEERS))
    far = [engineer for engineer in sorted(distances) if distances[engineer] > OUTLIER_DISTANCE]
    far.sort(key=distances.__getitem__, reverse=True)
    return tuple(sorted(far[:limit]))


def reference_balance(
    agreed: Consensus, levels_db: Mapping[str, float] | None = None
) -> ReferenceBalance:
    """Turn a consensus into gains on a song's stems.

    Args:
        agreed: consensus of the song, relative to the anchor that stays where it is.
        levels_db: level in dB (loudness in LUFS, if the consensus is of loudness) of each stem as
            it lies. None where the consensus is of gains on these very stems.

    Returns:
        Gains that give the balance agreed on, and the range around each. A stem that the consensus
        doesn't know stays as it lies, without a range.

    Raises:
        ConsensusError: levels are missing, not finite, or given for a consensus of gains.
    """
    if (levels_db is None) != (agreed.quantity == "gain"):
        raise ConsensusError(
            f"{agreed.song}: the consensus is of {agreed.quantity}s, so reference_balance "
            + ("takes no levels_db." if levels_db is not None else "needs the stems' levels_db.")
        )
    known = agreed.stems
    now = dict.fromkeys(STEMS, 0.0)
    if levels_db is not None:
        _require_stems(levels_db, known, "levels_db")
        now |= relative_levels({stem: levels_db[stem] for stem in known}, agreed.anchor)
    # Medians relative to the mean don't have a mean of 0; what is left moves the whole mix.
    common_db = np.mean([known[s].gain_db for s in known]) if agreed.anchor == MEAN else 0.0

    def gain_db(stem: str, wanted_db: float | None) -> float | None:
        return None if wanted_db is None else float(wanted_db - common_db - now[stem])

    return ReferenceBalance(
        agreed.anchor,
        {s: gain_db(s, known[s].gain_db) if s in known else 0.0 for s in STEMS},
        {s: gain_db(s, known[s].low_db) if s in known else None for s in STEMS},
        {s: gain_db(s, known[s].high_db) if s in known else None for s in STEMS},
    )


def _stem_consensus(values: Sequence[float]) -> StemConsensus:
    low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    if len(values) < MIN_ENGINEERS:
        return StemConsensus(middle, None, None, len(values))
    return StemConsensus(middle, low, high, len(values))


def _check(balances: Iterable[EngineerBalance]) -> list[EngineerBalance]:
    """Refuse what can't be compared; sort by engineer, so that order decides nothing."""
    balances = sorted(balances, key=lambda balance: balance.engineer)
    if not balances:
        raise ConsensusError("There are no balances to find a consensus of.")
    songs = sorted({balance.song for balance in balances})
    if len(songs) > 1:
        raise ConsensusError(
            f"A consensus is of one song, not of {len(songs)} ({songs[0]!r}, {songs[1]!r} ...); "
            "see consensus_by_song."
        )
    for balance, following in pairwise(balances):
        if balance.engineer == following.engineer:
            raise ConsensusError(f"{balance.song}: {balance.engineer!r} stands there twice.")
    for balance in balances:
        _require_stems(balance.levels_db, (), f"{balance.song}, {balance.engineer}")
    return balances


def _require_stems(levels_db: Mapping[str, float], needed: Iterable[str], where: str) -> None:
    for stem, level_db in levels_db.items():
        if stem not in STEMS:
            raise ConsensusError(f"{where}: {stem!r} is none of {', '.join(STEMS)}.")
        if not np.isfinite(level_db):
            raise ConsensusError(f"{where}: the level of {stem} is {level_db}, not a number of dB.")
    for stem in needed:
        if stem not in levels_db:
            raise ConsensusError(f"{where}: there is no level of {stem}.")
