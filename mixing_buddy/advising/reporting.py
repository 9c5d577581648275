"""Advice in words and as JSON, each figure marked as measured or as inferred.

*Measured* is what follows from the files alone: levels, lengths, differences. *Inferred* is what
the model says: what is off, by how much, how likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from mixing_buddy.advice import Advice
from mixing_buddy.advising.applying import advised_change_db
from mixing_buddy.advising.combining import SongAdvice, combine
from mixing_buddy.advising.comparing import SongComparison
from mixing_buddy.advising.confidence import UNSURE_BELOW
from mixing_buddy.advising.inputs import SongFiles
from mixing_buddy.flaws import Direction
from mixing_buddy.stems import ADVISED_STEMS, STEMS

#: Version of the JSON that `to_json` writes; it grows where a field changes its meaning.
JSON_VERSION = 1

MEASURED, INFERRED = "measured", "inferred"

#: Differences between versions below this many dB call for no move: hardly anybody hears them.
SAME_DB = 1.0


@dataclass(frozen=True)
class Moment:
    """The verdict on one window of a song.

    Args:
        start_s: its start in seconds.
        duration_s: its length in seconds.
        advice: the explanation of the answers on this window alone.
        agrees: whether stem and direction are those of the whole song's advice.
    """

    start_s: float
    duration_s: float
    advice: SongAdvice
    agrees: bool


@dataclass(frozen=True)
class Sentence:
    """A sentence of the report and where its figures come from.

    Args:
        text: the sentence.
        source: `MEASURED`, `INFERRED`, or None where it holds no figure.
    """

    text: str
    source: str | None = None

    def __str__(self) -> str:
        return self.text if self.source is None else f"{self.text} [{self.source}]"


def timeline(advice: SongAdvice) -> list[Moment]:
    """Judge each window by its own answers, and by the song where they leave it open."""
    moments = []
    for start_s, group in groupby(advice.windows, key=lambda window: window.start_s):
        answers = list(group)
        verdict = combine(answers, anchor=advice.anchor, of_song=advice)
        agrees = (verdict.stem, verdict.direction) == (advice.stem, advice.direction)
        moments.append(Moment(start_s, answers[0].duration_s, verdict, agrees))
    return moments


def is_abstained(advice: SongAdvice, abstain_below: float) -> bool:
    """Whether the advice is too unsure to be given, or was not understood."""
    return advice.direction is None or (
        advice.confidence is not None and advice.confidence < abstain_below
    )


def headline(advice: SongAdvice, *, abstained: bool = False) -> str:
    """What to do at the fader, in one sentence, or in two where it is a guess."""
    if advice.direction is None:
        return "No advice: the model's answers could not be understood."
    if abstained:
        return "No advice: the model is not sure enough of anything."
    if advice.confidence is not None and advice.confidence < UNSURE_BELOW:
        return f"Not sure. Best guess: {_move(advice)}"
    return _move(advice)


def _move(advice: SongAdvice) -> str:
    if advice.direction is Direction.NONE:
        if 2 * advice.num_agreeing < len(advice.windows):
            return "The answers disagree about what is off: leave the faders as they are."
        return "The balance is right: leave the faders as they are."
    start = ""
    if advice.min_db is not None and advice.max_db != advice.min_db:
        start = f"; start at {advised_change_db(advice)[advice.stem]:+g} dB"
    words = change_words(advice)
    return f"{words[0].upper()}{words[1:]}{start}."


def change_words(advice: Advice) -> str:
    """A change as the engineer's hand would make it, such as "raise the vocals by 3 to 6 dB"."""
    if advice.direction is None:
        return "not understood"
    if advice.direction is Direction.NONE:
        return "leave as it is"
    size = ""
    if advice.min_db is not None:
        ends = sorted({advice.min_db, advice.max_db})
        size = f" by {' to '.join(f'{end:g}' for end in ends)} dB"
    return f"{advice.direction.value} the {advice.stem}{size}"


def describe(advice: SongAdvice, *, abstain_below: float = 0.0) -> list[Sentence]:
    """The report on a song in sentences, the headline first."""
    abstained = is_abstained(advice, abstain_below)
    sentences = [Sentence(headline(advice, abstained=abstained), INFERRED)]
    if advice.direction is None:
        return sentences
    what = "no stem is off" if advice.stem is None else f"{change_words(advice)}"
    if abstained:
        sentences.append(
            Sentence(
                f"What explains the answers best is: {what}. Its probability is "
                f"{advice.confidence:.0%}; you asked for {abstain_below:.0%} at least.",
                INFERRED,
            )
        )
    elif advice.confidence is not None:
        of = "that nothing is off" if advice.stem is None else "of stem and direction"
        sentences.append(
            Sentence(
                f"Probability {of}: {advice.confidence:.0%}. {advice.num_agreeing} of "
                f"{len(advice.windows)} answers on windows agree.",
                INFERRED,
            )
        )
    sentences.append(Sentence(_anchor_words(advice)))
    if advice.stem is not None and not abstained:
        sentences += _where(advice)
    return sentences + _standing(advice)


def describe_comparison(comparison: SongComparison) -> list[Sentence]:
    """What to move to reach a reference, in sentences."""
    against = f"the {comparison.anchor}" if comparison.anchor else "the median of the stems"
    moves = {s: db for s, db in comparison.changes_db.items() if abs(db) >= SAME_DB}
    sentences = []
    if not moves:
        sentences.append(
            Sentence(
                f"The balance is that of the reference: no stem is off by {SAME_DB:g} dB or more.",
                MEASURED,
            )
        )
    for stem, change_db in sorted(moves.items(), key=lambda item: -abs(item[1])):
        verb = "Raise" if change_db > 0 else "Lower"
        each = next(each for each in comparison.stems if each.stem == stem)
        over = ""
        if len(each.windows_db) > 1 and each.spread_db < SAME_DB:
            over = "; the same all through the song"
        elif len(each.windows_db) > 1:
            over = (
                "; but it differs along the song: the middle half of its windows spans "
                f"{each.spread_db:.1f} dB, so ride the fader"
            )
        text = f"{verb} the {stem} by {abs(change_db):.1f} dB to match the reference{over}."
        sentences.append(Sentence(text, MEASURED))
    sentences.append(
        Sentence(
            f"Differences are relative to {against}, over {comparison.num_windows} windows of 10 s "
            "by BS.1770 on the mono sum.",
            MEASURED,
        )
    )
    side = "louder" if comparison.mix_db > 0 else "quieter"
    sentences.append(
        Sentence(
            f"As a whole your mix is {abs(comparison.mix_db):.1f} dB {side} than the reference; "
            "that is no matter of balance.",
            MEASURED,
        )
    )
    return sentences


def to_json(
    song: SongFiles,
    advice: SongAdvice,
    *,
    faders_db: Mapping[str, float] | None = None,
    abstain_below: float = 0.0,
    **more: Any,
) -> dict[str, Any]:
    """Everything about the advice on a song as JSON types; the user guide lists the fields.

    Args:
        song: what was heard.
        advice: the advice.
        faders_db: gains in dB that stems were moved by before listening.
        abstain_below: confidence below which nothing is advised.
        more: further fields.
    """
    abstained = is_abstained(advice, abstain_below)
    moments = [
        {
            "start_s": each.start_s,
            "duration_s": each.duration_s,
            **{key: value for key, value in each.advice.to_dict().items() if key in _VERDICT},
            "agrees": each.agrees,
        }
        for each in timeline(advice)
    ]
    return {
        "schema": "mixing-buddy/advice",
        "version": JSON_VERSION,
        "song": {
            "path": str(song.path),
            "is_mix": song.is_mix,
            "duration_s": song.duration_s,
            "tracks": [track.to_dict() for track in song.tracks],
            "left_out": [{"file": file.name, "reason": why} for file, why in song.left_out],
        },
        "faders_db": dict(faders_db or {}),
        **advice.to_dict(),
        "abstained": abstained,
        "abstain_below": abstain_below,
        "change_db": {} if abstained else advised_change_db(advice),
        "headline": headline(advice, abstained=abstained),
        "report": [
            {"text": each.text, "source": each.source}
            for each in describe(advice, abstain_below=abstain_below)
        ],
        "timeline": moments,
        **more,
    }


_VERDICT = ("stem", "direction", "min_db", "max_db")


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def spans(moments: Sequence[Moment]) -> str:
    """Where moments lie in the song, neighbours joined: "0:10-0:40, 1:00-1:10"."""
    joined: list[list[float]] = []
    for each in moments:
        end_s = each.start_s + each.duration_s
        if joined and joined[-1][1] == each.start_s:
            joined[-1][1] = end_s
        else:
            joined.append([each.start_s, end_s])
    return ", ".join(f"{clock(start)}-{clock(end)}" for start, end in joined)


def _anchor_words(advice: SongAdvice) -> str:
    if advice.anchor is not None:
        return (
            f"The {advice.anchor} were taken as right."
            if advice.anchor != "bass"
            else ("The bass was taken as right.")
        )
    anchors = [stem for stem in ADVISED_STEMS if any(w.anchor == stem for w in advice.windows)]
    return f"Taken as right in turn: {', '.join(anchors)}."


def _where(advice: SongAdvice) -> list[Sentence]:
    moments = timeline(advice)
    agreeing = [each for each in moments if each.agrees]
    if len(agreeing) == len(moments):
        return [Sentence(f"Heard in all {len(moments)} windows of the song.", INFERRED)]
    sentences = [
        Sentence(
            f"Heard at {spans(agreeing) or 'no place by itself, only in all answers together'} "
            f"({len(agreeing)} of {len(moments)} windows).",
            INFERRED,
        )
    ]
    balanced = [each for each in moments if each.advice.direction is Direction.NONE]
    if balanced:
        sentences.append(Sentence(f"Called balanced at {spans(balanced)}.", INFERRED))
    return sentences


def _standing(advice: SongAdvice) -> list[Sentence]:
    """Where the stems stand against one another, by measurement."""
    means = median_levels(advice)
    stems = [stem for stem in STEMS if stem in means]
    if not stems:
        return []
    parts = ", ".join(f"{stem} {means[stem]:.1f}" for stem in stems)
    return [Sentence(f"Median loudness where each sounds, in LUFS: {parts}.", MEASURED)]


def median_levels(advice: SongAdvice) -> dict[str, float]:
    """Median over windows of each measured loudness, in LUFS."""
    values: dict[str, list[float]] = {}
    for each in advice.levels:
        for name, lufs in each.lufs.items():
            values.setdefault(name, []).append(lufs)
    return {name: median(found) for name, found in values.items()}
