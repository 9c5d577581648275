"""From the answers on a song's windows to one piece of advice on the song.

An answer is relative: "against the drums, the vocals are 9 dB low" says how far apart two faders
are, not which of the two was moved. Put to every window and with every stem as anchor in turn, the
question has one explanation that fits the answers best: either nothing is off, or one stem is, by
one of the sizes that the flaw categories know. That explanation is the advice.

Two sizes often fit about as well: asked with the flawed stem as anchor, the model can name one
other stem only, where all others seem to be off. So where it was also asked how likely each piece
of advice is, that says which size it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mixing_buddy import prompts
from mixing_buddy.advice import Advice
from mixing_buddy.flaws import FLAWS, Category, Direction
from mixing_buddy.stems import ADVISED_STEMS

if TYPE_CHECKING:
    from mixing_buddy.advising.ranking import Ranking


@dataclass(frozen=True)
class WindowAdvice:
    """What the model said of one window against one anchor.

    Args:
        start_s: start of the window in the song, in seconds.
        duration_s: length of the music in the window, in seconds.
        anchor: the stem that was taken as right.
        stems: the stems that could be advised on in this window, the anchor among them.
        advice: the answer and what it says.
    """

    start_s: float
    duration_s: float
    anchor: str
    stems: tuple[str, ...]
    advice: Advice

    def offsets_db(self) -> dict[str, float] | None:
        """How far each other stem stands above the anchor, compared with how it should.

        Returns:
            Offsets in dB, negative where a stem is too quiet, or None where the answer was not
            understood or names a stem that does not sound here.
        """
        others = [stem for stem in self.stems if stem != self.anchor]
        if self.advice.direction is Direction.NONE:
            return dict.fromkeys(others, 0.0)
        if self.advice.direction is None or self.advice.stem not in self.stems:
            return None
        size_db = _middle_db(self.advice.min_db, self.advice.max_db)
        offset_db = -size_db if self.advice.direction is Direction.RAISE else size_db
        if self.advice.stem == self.anchor:
            return dict.fromkeys(others, -offset_db)
        return {stem: offset_db if stem == self.advice.stem else 0.0 for stem in others}


@dataclass(frozen=True)
class WindowLevels:
    """What was measured of one window.

    Args:
        start_s: start of the window in the song, in seconds.
        duration_s: length of the music in the window, in seconds.
        lufs: loudness of each stem that sounds and of "mix", by BS.1770 on the mono sum.
    """

    start_s: float
    duration_s: float
    lufs: Mapping[str, float]


@dataclass(frozen=True)
class SongAdvice(Advice):
    """Advice on a whole song: the explanation that fits the answers on its windows best.

    Args:
        windows: the answers of every window and anchor.
        num_agreeing: how many of them the explanation fits in direction.
        notes: what the listener should know about how the song was heard.
        anchor: the stem that was taken as right, None where each was in turn.
        confidence: how likely the model finds stem and direction, 0 to 1; None where nobody asked.
        balanced_probability: how likely it finds that nothing is off; None likewise.
        levels: what was measured of the windows; empty where nobody asked.
    """

    windows: tuple[WindowAdvice, ...] = ()
    num_agreeing: int = 0
    notes: tuple[str, ...] = ()
    anchor: str | None = None
    confidence: float | None = None
    balanced_probability: float | None = None
    levels: tuple[WindowLevels, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        windows = [{**asdict(w), "advice": w.advice.to_dict()} for w in self.windows]
        levels = [{**asdict(each), "lufs": dict(each.lufs)} for each in self.levels]
        return {
            **super().to_dict(),
            "num_agreeing": self.num_agreeing,
            "anchor": self.anchor,
            "confidence": self.confidence,
            "balanced_probability": self.balanced_probability,
            "windows": windows,
            "levels": levels,
            "notes": list(self.notes),
        }

    @classmethod
    def _read(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        windows = tuple(
            WindowAdvice(
                **{
                    **each,
                    "stems": tuple(each["stems"]),
                    "advice": Advice.from_dict(each["advice"]),
                }
            )
            for each in fields.get("windows", ())
        )
        return {
            **super()._read(fields),
            "windows": windows,
            "levels": tuple(WindowLevels(**each) for each in fields.get("levels", ())),
            "notes": tuple(fields.get("notes", ())),
        }


@dataclass(frozen=True)
class _Explanation:
    """One stem stands `offset_db` above where it should (0: nothing is off)."""

    category: Category
    stem: str | None
    offset_db: float

    @property
    def move(self) -> tuple[str | None, Direction]:
        """Which fader is to be moved, and which way."""
        return self.stem, FLAWS[self.category].direction

    def predict(self, stem: str, anchor: str) -> float:
        """How far `stem` should then seem to stand above `anchor`, in dB."""
        return self.offset_db * ((stem == self.stem) - (anchor == self.stem))

    def distance_db(self, windows: Sequence[WindowAdvice]) -> float:
        """Sum of absolute differences between the answers and what they should then be."""
        return sum(
            abs(offset_db - self.predict(stem, window.anchor))
            for window in windows
            for stem, offset_db in (window.offsets_db() or {}).items()
        )

    def fits(self, window: WindowAdvice) -> bool:
        """Whether an answer agrees in direction; one that names one of two stems suffices."""
        offsets_db = window.offsets_db()
        if offsets_db is None:
            return False
        signs = [
            (_sign(offset_db), _sign(self.predict(stem, window.anchor)))
            for stem, offset_db in offsets_db.items()
        ]
        if not any(expected for _, expected in signs):
            return not any(heard for heard, _ in signs)
        return any(heard for heard, _ in signs) and all(
            heard in (0, expected) for heard, expected in signs
        )


def combine(
    windows: Sequence[WindowAdvice],
    *,
    anchor: str | None = None,
    notes: Sequence[str] = (),
    ranking: Ranking | None = None,
    of_song: Advice | None = None,
) -> SongAdvice:
    """Combine the answers on a song's windows.

    Args:
        windows: answers, one at least.
        anchor: a stem that is known to be right, and so never the one to move.
        notes: passed on to the result.
        ranking: how likely each piece of advice on the song is, which then decides; None where
            nobody asked.
        of_song: advice on the song that these windows are a part of, where they are one.

    Returns:
        The most probable stem and direction, by the most probable size; without a ranking what
        explains the answers best. Where two explanations do so equally well, that of the whole
        song, or the one that moves a fader less, since moving one needs a reason. ``direction`` is
        None where no answer was understood.
    """
    common = {"windows": tuple(windows), "notes": tuple(notes), "anchor": anchor}
    if all(window.offsets_db() is None for window in windows):
        return SongAdvice(windows[0].advice.text, **common)
    explanations = list(_explanations(windows, anchor))
    if ranking is not None:
        best = _most_probable(explanations, ranking)
    else:
        best = _nearest(explanations, windows, of_song)
    flaw = FLAWS[best.category]
    texts = [
        window.advice.text
        for window in windows
        if (window.advice.stem, window.advice.direction) == (best.stem, flaw.direction)
        and (window.advice.min_db, window.advice.max_db) == (flaw.min_db, flaw.max_db)
    ]
    return SongAdvice(
        texts[0] if texts else _say(best, windows),
        best.stem,
        flaw.direction,
        flaw.min_db,
        flaw.max_db,
        num_agreeing=sum(best.fits(window) for window in windows),
        **common,
    )


def _nearest(
    explanations: Sequence[_Explanation], windows: Sequence[WindowAdvice], of_song: Advice | None
) -> _Explanation:
    """The explanation that lies closest to the answers."""
    distances_db = [each.distance_db(windows) for each in explanations]
    least_db = min(distances_db)
    nearest = [
        each
        for each, distance_db in zip(explanations, distances_db, strict=True)
        if math.isclose(distance_db, least_db, abs_tol=1e-6)
    ]
    move = of_song and (of_song.stem, of_song.direction)
    return next((each for each in nearest if each.move == move), nearest[0])


def _most_probable(explanations: Sequence[_Explanation], ranking: Ranking) -> _Explanation:
    """The most probable size of the most probable move."""
    posterior = {
        (candidate.category, candidate.stem): float(probability)
        for candidate, probability in zip(ranking.candidates, ranking.posterior, strict=True)
    }
    by_move: dict[tuple, dict[_Explanation, float]] = {}
    for each in explanations:
        probability = posterior.get((each.category, each.stem), 0.0)
        by_move.setdefault(each.move, {})[each] = probability
    sizes = max(by_move.values(), key=lambda of_move: sum(of_move.values()))
    return max(sizes, key=sizes.__getitem__)


def _explanations(windows: Sequence[WindowAdvice], anchor: str | None) -> Iterator[_Explanation]:
    """Yield every explanation, those that move a fader less first."""
    yield _Explanation(Category.NO_ERROR, None, 0.0)
    heard = {stem for window in windows for stem in window.stems}
    for category in (Category.QUIET, Category.LOUD, Category.VERY_QUIET, Category.VERY_LOUD):
        flaw = FLAWS[category]
        for stem in ADVISED_STEMS:
            if stem in heard and stem != anchor:
                yield _Explanation(category, stem, (flaw.min_gain_db + flaw.max_gain_db) / 2)


def _say(explanation: _Explanation, windows: Sequence[WindowAdvice]) -> str:
    """Put an explanation that no single answer states into words."""
    if explanation.stem is None:
        return "The answers disagree about what is off: on this evidence, no fader needs to move."
    stems = [window.anchor for window in windows] + [s for window in windows for s in window.stems]
    anchor = next(stem for stem in stems if stem != explanation.stem)
    return prompts.response(0, explanation.category, target=explanation.stem, anchor=anchor)


def _middle_db(min_db: float | None, max_db: float | None) -> float:
    """Middle of an advised range; of the smaller flaw where no range is named."""
    if min_db is None or max_db is None:
        return _middle_db(FLAWS[Category.QUIET].min_db, FLAWS[Category.QUIET].max_db)
    return (min_db + max_db) / 2


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
