"""Reading advice: from an answer in free words to stem, direction and range.

The answer is cut into sentences and clauses; in each clause the words of
``templates/advice_lexicon.yaml`` are found whole, and each becomes an event: an action ("turn
down"), a state ("buried") or a signed amount ("+3 dB"). Negated events and those of a
refusal count for nothing; actions beat states, states beat bare amounts, and the first of the
best kind is the advice.
"""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass
from enum import IntEnum
from importlib import resources
from typing import Any

import yaml

from mixing_buddy.amounts import Amount, extract_amounts
from mixing_buddy.flaws import Direction


@dataclass(frozen=True)
class Advice:
    """What an answer advises.

    Args:
        text: the answer as it was given.
        stem: the stem whose fader should move; None where none is named or none should move.
        direction: where the fader should go; `Direction.NONE` where the mix is called
            balanced, None where the answer could not be understood.
        min_db: lower end of the advised change, a magnitude in dB; None where none is named.
        max_db: upper end of the advised change in dB; equal to ``min_db`` for a single number.
    """

    text: str
    stem: str | None = None
    direction: Direction | None = None
    min_db: float | None = None
    max_db: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"direction": self.direction and self.direction.value}


class _Kind(IntEnum):
    """Kinds of event, best first."""

    ACTION = 0
    STATE = 1
    AMOUNT = 2


@dataclass
class _Mention:
    """A stem named in a clause; ``is_target`` is False for a reference or a held fader."""

    stem: str
    start: int
    end: int
    is_target: bool = True


@dataclass
class _Event:
    """Something that bears on a fader, with the direction that the fader should go."""

    kind: _Kind
    direction: Direction
    start: int
    end: int
    subject_first: bool = True
    stem: str | None = None
    has_own_stem: bool = False


@dataclass
class _Clause:
    """A clause without fillers, and what was found in it."""

    text: str
    sentence: int
    mentions: list[_Mention]
    events: list[_Event]
    is_balanced: bool = False
    is_refusal: bool = False


def parse_advice(text: str) -> Advice:
    """Read the advice out of an answer.

    Args:
        text: an answer in free words; British or American, any case, any dashes.

    Returns:
        The advice. Where the answer advises on several stems, the first action counts. Where
        it contradicts itself about the stem, or declines to judge, ``direction`` is None.
    """
    plain, amounts = extract_amounts(text)
    clauses = []
    for number, sentence in enumerate(re.split(r"[.!;\n]+|(?<=\?)", plain)):
        for part in _CLAUSE_BREAK.split(sentence.rstrip("? ")):
            clause = _read_clause(part, number, amounts)
            if sentence.rstrip().endswith("?"):
                clause.events, clause.is_balanced = [], False  # a question advises nothing
            clauses.append(clause)
    _resolve_stems(clauses)
    found = [(clause, event) for clause in clauses for event in clause.events]
    if not found:
        is_refusal = any(clause.is_refusal for clause in clauses)
        if not is_refusal and any(clause.is_balanced for clause in clauses):
            return Advice(text, direction=Direction.NONE)
        return Advice(text)
    kind = min(event.kind for _, event in found)
    clause, event = next(pair for pair in found if pair[1].kind is kind)
    rivals = {e.direction for _, e in found if e.kind is kind and e.stem == event.stem}
    if kind is _Kind.ACTION and len(rivals) > 1:
        return Advice(text)
    amount = _find_amount(clauses, clause, event, amounts)
    min_db, max_db = (amount.min_db, amount.max_db) if amount else (None, None)
    return Advice(text, event.stem, event.direction, min_db, max_db)


# Separators inside a sentence. "and" is none: it joins stems as often as clauses.
_CLAUSE_BREAK = re.compile(
    r"[,:()]|\b(?:but|while|whereas|because|although|though|since|which|however|therefore)\b"
)
_OPPOSITE = {Direction.RAISE: Direction.LOWER, Direction.LOWER: Direction.RAISE}
_DETERMINERS = r"(?:(?:the|your|this|these|those|that|both|lead|main|whole|our|its|my|a|an) )*"
_MAX_GAP_WORDS = 6


@dataclass(frozen=True)
class _Lexicon:
    """The lexicon file as compiled patterns; see its comments for what each list means."""

    stems: dict[str, str | None]
    labels: dict[str, tuple[str, Direction | None]]
    particles: dict[str, Direction]
    patterns: dict[str, re.Pattern[str]]


@functools.cache
def _lexicon() -> _Lexicon:
    path = resources.files("mixing_buddy").joinpath("templates", "advice_lexicon.yaml")
    data = yaml.safe_load(path.read_text("utf-8"))
    stems: dict[str, str | None] = {p: s for s, names in data["stems"].items() for p in names}
    stems |= dict.fromkeys(data["not_stems"])
    labels: dict[str, tuple[str, Direction | None]] = {}
    for direction in (Direction.RAISE, Direction.LOWER):
        for group in ("states", "adjectives", "comparatives"):
            labels |= {p: (group, direction) for p in data[group][direction]}
        for group, phrases in data["actions"][direction].items():
            labels |= {p: (group, direction) for p in phrases}
    labels |= {p: ("neutral", None) for p in data["neutral"]}
    particles = {p: Direction(d) for d, names in data["particles"].items() for p in names}
    gap_end = _alternation([*data["movers"], *data["negations"], "and", "or"])
    lists = ("fillers", "negations", "negation_ends", "balanced", "holds", "refusals", "copulas")
    patterns = {name: re.compile(_alternation(data[name])) for name in (*lists, "modals")}
    patterns |= {
        "stems": re.compile(_alternation(stems)),
        "labels": re.compile(_alternation(labels)),
        "reference": re.compile(rf"{_alternation(data['references'])} {_DETERMINERS}$"),
        "reference_after": re.compile(
            rf" (?:as|is|are|being) (?:(?:the|our|your|an?|my) )*"
            rf"{_alternation(data['reference_nouns'])}"
        ),
        "movers": re.compile(
            rf"{_alternation(data['movers'])} (?:(?!{gap_end})\w+ ){{0,{_MAX_GAP_WORDS}}}?"
            rf"(?P<particle>{_alternation(particles)})(?! or\b)"
        ),
        # "vocals up 3 dB" needs no verb, but "up" alone means nothing.
        "bare": re.compile(rf"(?:(?P<stem>{_alternation(stems)}) )?(?P<way>up|down)\b"
                           r"(?P<amount> (?:by )?mag\d+)?"),
    }  # fmt: skip
    return _Lexicon(stems, labels, particles, patterns)


def _alternation(phrases: Any) -> str:
    """A pattern for whole phrases, the longest that fits; MAG stands for an amount."""
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return rf"\b(?:{'|'.join(ordered)})\b".replace("MAG", r"mag\d+")


def _read_clause(text: str, sentence: int, amounts: list[Amount]) -> _Clause:
    """Find mentions, events and cues of one clause."""
    patterns = _lexicon().patterns
    text = " ".join(patterns["fillers"].sub(" ", text).split())
    clause = _Clause(text, sentence, _find_mentions(text), [])
    clause.is_refusal = patterns["refusals"].search(text) is not None
    if clause.is_refusal:
        return clause
    events = _find_events(text, clause.mentions, amounts)
    clause.events = [event for event in events if not _is_negated(text, event.start)]
    clause.is_balanced = len(events) > len(clause.events) or any(
        not _is_negated(text, cue.start()) for cue in patterns["balanced"].finditer(text)
    )
    for hold in patterns["holds"].finditer(text):
        clause.is_balanced |= not events
        until = min((e.start for e in events if e.start > hold.start()), default=len(text))
        for mention in clause.mentions:
            if hold.end() <= mention.start < until:
                mention.is_target = False
    return clause


def _find_mentions(text: str) -> list[_Mention]:
    """The stems named in a clause, those that serve as reference marked."""
    lexicon = _lexicon()
    mentions: list[_Mention] = []
    for match in lexicon.patterns["stems"].finditer(text):
        stem = lexicon.stems[match[0]]
        if stem is None:
            continue
        is_reference = bool(
            lexicon.patterns["reference"].search(text, 0, match.start())
            or lexicon.patterns["reference_after"].match(text, match.end())
        )
        if mentions and not mentions[-1].is_target:
            between = text[mentions[-1].end : match.start()]
            is_reference |= bool(re.fullmatch(rf" (?:and|or) {_DETERMINERS}", between))
        mentions.append(_Mention(stem, *match.span(), not is_reference))
    return mentions


def _find_events(text: str, mentions: list[_Mention], amounts: list[Amount]) -> list[_Event]:
    """All events of a clause in the order of the text, negated ones included."""
    lexicon = _lexicon()
    events: list[_Event] = []
    taken: list[tuple[int, int]] = []

    def claim(match: re.Match[str], group: str | int = 0) -> bool:
        start, end = match.span(group)
        if any(start < other_end and other_start < end for other_start, other_end in taken):
            return False
        taken.append((start, end))
        return True

    for match in lexicon.patterns["movers"].finditer(text):
        if claim(match):
            direction = lexicon.particles[match["particle"]]
            events.append(_Event(_Kind.ACTION, direction, *match.span(), subject_first=False))
    for match in lexicon.patterns["labels"].finditer(text):
        group, direction = lexicon.labels[re.sub(r"mag\d+", "MAG", match[0])]
        if claim(match) and direction is not None:
            event = _make_event(text, match, group, direction, mentions)
            if event is not None:
                events.append(event)
    for match in lexicon.patterns["bare"].finditer(text):
        if (match["stem"] or match["amount"]) and claim(match, "way"):
            direction = Direction.RAISE if match["way"] == "up" else Direction.LOWER
            event = _judge_level(text, match.start("way"), match.end("way"), direction)
            events.append(event or _Event(_Kind.ACTION, direction, *match.span("way")))
    for match in re.finditer(r"\bmag(\d+)\b", text):
        direction = amounts[int(match[1])].direction
        if direction and not re.search(r"\b(?:at|sits|sit|is|are|by) $", text[: match.start()]):
            events.append(_Event(_Kind.AMOUNT, direction, *match.span()))
    return sorted(events, key=lambda event: event.start)


def _make_event(
    text: str, match: re.Match[str], group: str, direction: Direction, mentions: list[_Mention]
) -> _Event | None:
    """The event that a phrase of the lexicon is where it stands, if any."""
    start, end = match.span()
    if group in ("transitive", "intransitive"):
        return _Event(_Kind.ACTION, direction, start, end, group == "intransitive")
    if group == "states":
        return _Event(_Kind.STATE, direction, start, end)
    event = _judge_level(text, start, end, direction)
    if event is not None:
        return event
    if group == "comparatives":
        if text[end:].startswith(" than"):
            return _Event(_Kind.STATE, _OPPOSITE[direction], start, end)
        # "lower the vocals" is a verb, "the vocals louder" no sentence: the stem tells.
        is_verb = match[0] == "lower"
        return _Event(_Kind.ACTION, direction, start, end, subject_first=not is_verb)
    if any(mention.end == start - 1 for mention in mentions):  # "vocals low", "bass heavy"
        return _Event(_Kind.STATE, _OPPOSITE[direction], start, end)
    return None


def _judge_level(text: str, start: int, end: int, direction: Direction) -> _Event | None:
    """Whether a level word is described ("are louder") or asked for ("should be louder").

    ``direction`` is the one asked for; a description calls for its opposite. None where
    neither copula nor modal governs the word.
    """
    patterns = _lexicon().patterns
    before = text[:start]
    modals = list(patterns["modals"].finditer(before))
    copulas = [
        match
        for match in patterns["copulas"].finditer(before)
        if not re.search(r"\b(?:to|should|must|could|would|might) $", before[: match.start()])
        and len(before[match.end() :].split()) <= _MAX_GAP_WORDS // 2
    ]
    if copulas and (not modals or copulas[-1].start() > modals[-1].start()):
        return _Event(_Kind.STATE, _OPPOSITE[direction], start, end)
    if modals and len(before[modals[-1].end() :].split()) <= _MAX_GAP_WORDS:
        return _Event(_Kind.ACTION, direction, start, end)
    return None


def _is_negated(text: str, position: int) -> bool:
    patterns = _lexicon().patterns
    negations = list(patterns["negations"].finditer(text, 0, position))
    if not negations:
        return False
    return not patterns["negation_ends"].search(text, negations[-1].end(), position)


def _resolve_stems(clauses: list[_Clause]) -> None:
    """Give every event its stem: in its clause, else from what was said before or after."""
    events = [(clause, event) for clause in clauses for event in clause.events]
    for clause, event in events:
        event.stem = _own_stem(clause, event)
        event.has_own_stem = event.stem is not None
    for clause, event in events:
        if event.stem is not None:
            continue
        place = clauses.index(clause)
        targets = [
            (number, earlier.sentence, mention.stem)
            for number, earlier in enumerate(clauses)
            for mention in earlier.mentions
            if mention.is_target
        ]
        in_sentence = [s for n, sentence, s in targets if sentence == clause.sentence and n < place]
        described = [e.stem for _, e in events if e.has_own_stem and e.direction is event.direction]
        before = [stem for number, _, stem in targets if number < place]
        after = [stem for number, _, stem in targets if number >= place]
        choices = [*in_sentence[-1:], *described[:1], *before[-1:], *after[:1]]
        event.stem = choices[0] if choices else None


def _own_stem(clause: _Clause, event: _Event) -> str | None:
    """The stem that the event's own clause gives it."""
    starts = [other.start for other in clause.events if other.start > event.start]
    ends = [other.end for other in clause.events if other.end <= event.start]
    until, since = min(starts, default=len(clause.text)), max(ends, default=0)
    targets = [mention for mention in clause.mentions if mention.is_target]
    inside_or_after = [m.stem for m in targets if event.start <= m.start < until]
    before = [m.stem for m in targets if since <= m.start < event.start]
    ordered = [*before[-1:], *inside_or_after[:1]]
    if not event.subject_first:
        ordered = [*inside_or_after[:1], *before[-1:]]
    return ordered[0] if ordered else None


def _find_amount(
    clauses: list[_Clause], clause: _Clause, event: _Event, amounts: list[Amount]
) -> Amount | None:
    """The amount that goes with an event: nearest in its sentence, else the text's first."""
    place = clauses.index(clause)
    following, preceding, elsewhere = [], [], []
    for number, other in enumerate(clauses):
        for match in re.finditer(r"\bmag(\d+)\b", other.text):
            amount = amounts[int(match[1])]
            if other.sentence != clause.sentence:
                elsewhere.append(amount)
            elif (number, match.start()) >= (place, event.start):
                following.append(amount)
            else:
                preceding.append(amount)
    choices = [*following[:1], *preceding[-1:], *elsewhere[:1]]
    return choices[0] if choices else None
