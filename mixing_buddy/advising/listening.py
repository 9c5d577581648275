"""Songs in work: their windows heard in batches, one song's or several songs' together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixing_buddy.advising.combining import SongAdvice, WindowAdvice, WindowLevels, combine
from mixing_buddy.advising.confidence import confidence_in
from mixing_buddy.advising.inputs import SongFiles, open_song
from mixing_buddy.advising.questions import list_notes, list_questions
from mixing_buddy.advising.ranking import Ranking, pool
from mixing_buddy.advising.windows import Window, iter_windows
from mixing_buddy.chunks import CHUNK_S
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.prompts import Mode
from mixing_buddy.stems import ADVISED_STEMS

if TYPE_CHECKING:
    from mixing_buddy.advising.inference import MixingBuddy


@dataclass(frozen=True)
class SongResult:
    """What came of one song among many.

    Args:
        path: the song, as it was given.
        song: its files; None where they could not be opened.
        advice: the advice; None where there is none.
        error: why there is none.
    """

    path: Path
    song: SongFiles | None = None
    advice: SongAdvice | None = None
    error: MixingBuddyError | None = None


class Hearing:
    """What was heard of one song so far.

    Args:
        name: what errors call the song.
        anchor: the stem whose level is taken as right; None asks with each in turn.
        with_confidence: whether every piece of advice is ranked, too.

    Raises:
        MixingBuddyError: the anchor is none.
    """

    def __init__(self, name: str, *, anchor: str | None = None, with_confidence: bool = True):
        if anchor is not None and anchor not in ADVISED_STEMS:
            raise MixingBuddyError(
                f"The anchor is {anchor!r}: choose one of {', '.join(ADVISED_STEMS)}."
            )
        self.name = name
        self.anchor = anchor
        self.with_confidence = with_confidence
        self._answers: list[WindowAdvice] = []
        self._rankings: list[Ranking] = []
        self._levels: list[WindowLevels] = []
        self._notes: list[str] = []

    def note(self, window: Window) -> None:
        """Keep what was measured of a window, before it is asked about."""
        self._notes = self._notes or list_notes([window])
        self._levels.append(WindowLevels(window.start_s, window.duration_s, window.levels_lufs))

    def add(self, answer: WindowAdvice, ranking: Ranking | None) -> None:
        """Keep an answer."""
        self._answers.append(answer)
        if ranking is not None:
            self._rankings.append(ranking)

    @property
    def ranking(self) -> Ranking | None:
        """How likely each piece of advice on the song is; None without confidence or answers."""
        return pool(self._rankings) if self._rankings else None

    def finish(self) -> SongAdvice:
        """Combine the answers.

        Raises:
            MixingBuddyError: there is none.
        """
        if not self._answers:
            stems = f"two of {', '.join(ADVISED_STEMS)}"
            what = f"{self.anchor} and another stem" if self.anchor else stems
            raise MixingBuddyError(
                f"{self.name}: no window of {CHUNK_S:g} s in which {what} can be heard together, "
                "so there is no balance to judge."
            )
        ranking = self.ranking
        advice = combine(self._answers, anchor=self.anchor, notes=self._notes, ranking=ranking)
        if any(each.lufs for each in self._levels):
            advice = replace(advice, levels=tuple(self._levels))
        if ranking is None:
            return advice
        return replace(
            advice,
            confidence=confidence_in(ranking, advice),
            balanced_probability=ranking.balanced_probability,
        )


def hear(
    buddy: MixingBuddy, group: Sequence[tuple[Hearing, Window]], question: str | None = None
) -> list[WindowAdvice]:
    """Ask about some windows, of one song or of several.

    Args:
        buddy: the model.
        group: windows, each with its song; all songs with confidence, or none.
        question: what the user asks or says; None for the plain question.

    Returns:
        The answers, which the songs have been given already.
    """
    hearings, asked = [], []
    for hearing, window in group:
        hearing.note(window)
        questions = list_questions([window], hearing.anchor)
        hearings += [hearing] * len(questions)
        asked += questions
    with_ranking = any(hearing.with_confidence for hearing in hearings)
    answers = buddy.ask(asked, question=question, with_ranking=with_ranking)
    for hearing, (answer, ranking) in zip(hearings, answers, strict=True):
        hearing.add(answer, ranking)
    return [answer for answer, _ in answers]


class _SongInWork:
    """A song among many, some of whose windows may still wait to be heard."""

    def __init__(self, path: str | Path | SongFiles, hearing: Hearing):
        self.path = path.path if isinstance(path, SongFiles) else Path(path)
        self.hearing = hearing
        self.song = path if isinstance(path, SongFiles) else None
        self.error: MixingBuddyError | None = None
        self.is_read = False

    def windows(self, choose_mode: Callable[[SongFiles], Mode], **options: Any) -> Iterator[Window]:
        """Open and decode the song; what goes wrong with it ends it, and nothing else."""
        try:
            self.song = self.song or open_song(self.path)
            yield from iter_windows(self.song, mode=choose_mode(self.song), **options)
        except MixingBuddyError as error:
            self.error = error
        except OSError as error:
            self.error = MixingBuddyError(f"{self.path}: {error.strerror or error}.")
        self.is_read = True

    def result(self) -> SongResult:
        """What came of it, once all its windows have been heard."""
        if self.error is not None:
            return SongResult(self.path, self.song, error=self.error)
        try:
            advice = self.hearing.finish()
        except MixingBuddyError as error:
            return SongResult(self.path, self.song, error=error)
        return SongResult(
            self.path, self.song, replace(advice, notes=(*self.song.notes, *advice.notes))
        )


def advise_many(
    buddy: MixingBuddy,
    songs: Iterable[str | Path | SongFiles],
    *,
    anchor: str | None = None,
    faders_db: Mapping[str, float] | None = None,
    question: str | None = None,
    with_confidence: bool = True,
    measure: bool = False,
    mode: Mode | None = None,
) -> Iterator[SongResult]:
    """Advise on many songs, a batch of windows in memory; see `MixingBuddy.advise_many`."""

    def choose_mode(song: SongFiles) -> Mode:
        return mode or buddy.usual_mode(song)

    waiting: deque[_SongInWork] = deque()
    group: list[tuple[Hearing, Window]] = []
    for path in songs:
        name = str(path.path if isinstance(path, SongFiles) else path)
        hearing = Hearing(name, anchor=anchor, with_confidence=with_confidence)
        work = _SongInWork(path, hearing)
        waiting.append(work)
        for window in work.windows(choose_mode, faders_db=faders_db, measure=measure):
            group.append((hearing, window))
            if len(group) == buddy.batch_size:
                hear(buddy, group, question)
                group = []
                yield from _take_done(waiting, group)
        if work.error is not None:
            group = [pair for pair in group if pair[0] is not hearing]
        yield from _take_done(waiting, group)
    hear(buddy, group, question)
    yield from _take_done(waiting, [])


def _take_done(
    waiting: deque[_SongInWork], group: Sequence[tuple[Hearing, Window]]
) -> Iterator[SongResult]:
    """Yield the songs at the head of the queue none of whose windows wait any more."""
    unheard = {id(hearing) for hearing, _ in group}
    while waiting and waiting[0].is_read and id(waiting[0].hearing) not in unheard:
        yield waiting.popleft().result()
