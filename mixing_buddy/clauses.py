"""Clauses of an answer: which stems they name, and what they say of their levels.

The words of ``templates/advice_lexicon.yaml`` are found whole, and each becomes an event: an
action ("turn down"), a state ("buried") or a signed amount ("+3 dB"). Negated events and those
of a refusal count for nothing.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from mixing_buddy.amounts import Amount, extract_amounts
from mixing_buddy.flaws import Direction
from mixing_buddy.lexicon import load_lexicon


class Kind(IntEnum):
    """Kinds of event, best first."""

    ACTION = 0
    STATE = 1
    AMOUNT = 2


@dataclass
class Mention:
    """A stem named in a clause; ``is_target`` is False for a reference or a held fader."""

    stem: str
    start: int
    end: int
    is_target: bool = True


@dataclass
class Event:
    """Something that bears on a fader, with the direction that the fader should go."""

    kind: Kind
    direction: Direction
    start: int
    end: int
    subject_first: bool = True
    stem: str | None = None
    has_own_stem: bool = False


@dataclass
class Clause:
    """A clause without fillers, and what was found in it."""

    text: str
    sentence: int
    mentions: list[Mention]
    events: list[Event]
    negated_events: list[Event] = field(default_factory=list)
    is_balanced: bool = False
    is_refusal: bool = False
    is_alternative: bool = False


def read_clauses(text: str) -> tuple[list[Clause], list[Amount]]:
    """Cut an answer into clauses, in each of which every event has got its stem.

    Args:
        text: an answer in free words.

    Returns:
        The clauses, and the amounts in dB that ``mag<i>`` in their texts stands for. No clauses
        where the speaker has not heard the mix, or takes back what was said.
    """
    plain, amounts = extract_amounts(text)
    clauses = []
    for number, sentence in enumerate(re.split(r"[.!;\n]+|(?<=\?)", plain)):
        is_hypothetical = _lexicon().patterns["hypotheses"].match(sentence.strip()) is not None
        for part in _CLAUSE_BREAK.split(sentence.rstrip("? ")):
            clause = _read_clause(part, number, amounts)
            if sentence.rstrip().endswith("?"):
                # A question advises nothing, unless it is a polite request.
                is_request = _lexicon().patterns["requests"].match(sentence.strip()) is not None
                actions = [event for event in clause.events if event.kind is Kind.ACTION]
                clause.events, clause.is_balanced = actions if is_request else [], False
            if is_hypothetical:
                clause.events, clause.is_balanced = [], False
            clauses.append(clause)
            patterns = _lexicon().patterns
            if patterns["deafness"].search(clause.text) or patterns["retractions"].match(
                clause.text
            ):
                return [], amounts
    _resolve_stems(clauses)
    _find_alternatives(clauses)
    return clauses, amounts


# Separators inside a sentence. "and" is none: it joins stems as often as clauses.
_CLAUSE_BREAK = re.compile(
    r"[,:()]|\b(?:but|while|whereas|because|although|though|since|which|however|therefore)\b"
)
_OPPOSITE = {Direction.RAISE: Direction.LOWER, Direction.LOWER: Direction.RAISE}
DETERMINERS = r"(?:(?:the|your|this|these|those|that|both|lead|main|whole|our|its|my|a|an) )*"
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
    data = load_lexicon()
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
    taken = _alternation(data["taken"])
    lists = (
        "fillers", "negations", "negation_ends", "balanced", "changes", "holds", "refusals",
        "deafness", "processing", "processing_verbs", "requests", "hypotheses", "copulas", "modals",
    )  # fmt: skip
    patterns = {name: re.compile(_alternation(data[name])) for name in lists}
    # Words that take something back stand alone.
    patterns["retractions"] = re.compile(rf"(?:{_alternation(data['retractions'])})$")
    patterns |= {
        "stems": re.compile(_alternation(stems)),
        "labels": re.compile(_alternation(labels)),
        "reference": re.compile(rf"{_alternation(data['references'])} {DETERMINERS}$"),
        "reference_after": re.compile(
            rf" (?:as|is|are|being) (?:(?:the|our|your|an?|my) )*"
            rf"{_alternation(data['reference_nouns'])}"
        ),
        "movers": re.compile(
            rf"{_alternation(data['movers'])} (?:(?!{gap_end})\w+ ){{0,{_MAX_GAP_WORDS}}}?"
            rf"(?P<particle>{_alternation(particles)})(?! or\b)"
        ),
        # "give the vocals 3 dB", but not "give the vocals 3 dB less".
        "gifts": re.compile(
            rf"{_alternation(data['givers'])} (?:(?!{gap_end}|{taken})\w+ ){{1,{_MAX_GAP_WORDS}}}?"
            rf"mag\d+(?! {taken})"
        ),
        # "up the vocals": a verb only where nothing goes before.
        "up": re.compile(rf"(?:^|(?<=\bto )|(?<=\bshould ))up {DETERMINERS}"
                         rf"(?={_alternation(stems)})"),
        # "vocals up 3 dB" needs no verb, but "up" alone means nothing.
        "bare": re.compile(rf"(?:(?P<stem>{_alternation(stems)}) )?(?P<way>up|down)\b"
                           r"(?P<amount> (?:by )?mag\d+)?"),
    }  # fmt: skip
    return _Lexicon(stems, labels, particles, patterns)


def _alternation(phrases: Any) -> str:
    """A pattern for whole phrases, the longest that fits; MAG stands for an amount."""
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return rf"\b(?:{'|'.join(ordered)})\b".replace("MAG", r"mag\d+")


def _read_clause(text: str, sentence: int, amounts: list[Amount]) -> Clause:
    """Find mentions, events and cues of one clause."""
    patterns = _lexicon().patterns
    text = " ".join(patterns["fillers"].sub(" ", text).split())
    clause = Clause(text, sentence, find_mentions(text), [])
    clause.is_refusal = patterns["refusals"].search(text) is not None
    if clause.is_refusal:
        return clause
    events = _without_processing(text, _find_events(text, clause.mentions, amounts))
    for event in events:
        is_negated = _is_negated(text, event.start)
        (clause.negated_events if is_negated else clause.events).append(event)
    clause.is_balanced = (
        len(clause.negated_events) > 0
        or any(not _is_negated(text, cue.start()) for cue in patterns["balanced"].finditer(text))
        or any(_is_negated(text, cue.start()) for cue in patterns["changes"].finditer(text))
    )
    for hold in patterns["holds"].finditer(text):
        clause.is_balanced |= not events
        until = min((e.start for e in events if e.start > hold.start()), default=len(text))
        for mention in clause.mentions:
            if hold.end() <= mention.start < until:
                mention.is_target = False
    return clause


def find_mentions(text: str) -> list[Mention]:
    """The stems named in a clause in plain spelling, those that serve as reference marked."""
    lexicon = _lexicon()
    mentions: list[Mention] = []
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
            is_reference |= bool(re.fullmatch(rf" (?:and|or) {DETERMINERS}", between))
        mentions.append(Mention(stem, *match.span(), not is_reference))
    return mentions


def _find_events(text: str, mentions: list[Mention], amounts: list[Amount]) -> list[Event]:
    """All events of a clause in the order of the text, negated ones included."""
    lexicon = _lexicon()
    events: list[Event] = []
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
            events.append(Event(Kind.ACTION, direction, *match.span(), subject_first=False))
    for pattern in (lexicon.patterns["gifts"], lexicon.patterns["up"]):
        for match in pattern.finditer(text):
            if claim(match):
                event = Event(Kind.ACTION, Direction.RAISE, *match.span(), subject_first=False)
                events.append(event)
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
            events.append(event or Event(Kind.ACTION, direction, *match.span("way")))
    for match in re.finditer(r"\bmag(\d+)\b", text):
        direction = amounts[int(match[1])].direction
        if direction and not re.search(r"\b(?:at|sits|sit|is|are|by) $", text[: match.start()]):
            events.append(Event(Kind.AMOUNT, direction, *match.span()))
    return sorted(events, key=lambda event: event.start)


def _without_processing(text: str, events: list[Event]) -> list[Event]:
    """Leave out actions of equalisers and the like: "boost the vocals at 3 kHz"."""
    patterns = _lexicon().patterns
    kept = []
    for number, event in enumerate(events):
        since = events[number - 1].end if number else 0
        until = events[number + 1].start if number + 1 < len(events) else len(text)
        is_processing = patterns["processing"].search(text, event.end, until) or (
            patterns["processing_verbs"].search(text, since, event.start)
        )
        if event.kind is Kind.STATE or not is_processing:
            kept.append(event)
    return kept


def _make_event(
    text: str, match: re.Match[str], group: str, direction: Direction, mentions: list[Mention]
) -> Event | None:
    """The event that a phrase of the lexicon is where it stands, if any."""
    start, end = match.span()
    if group in ("transitive", "intransitive"):
        return Event(Kind.ACTION, direction, start, end, group == "intransitive")
    if group == "states":
        return Event(Kind.STATE, direction, start, end)
    event = _judge_level(text, start, end, direction)
    if event is not None:
        return event
    if group == "comparatives":
        if text[end:].startswith(" than"):
            return Event(Kind.STATE, _OPPOSITE[direction], start, end)
        # "lower the vocals" is a verb, "the vocals louder" no sentence: the stem tells.
        is_verb = match[0] == "lower"
        return Event(Kind.ACTION, direction, start, end, subject_first=not is_verb)
    if any(mention.end == start - 1 for mention in mentions):  # "vocals low", "bass heavy"
        return Event(Kind.STATE, _OPPOSITE[direction], start, end)
    return None


def _judge_level(text: str, start: int, end: int, direction: Direction) -> Event | None:
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
        if (match[0] != "sit" or match.start() > 0)  # "sit the vocals further back" asks
        and not re.search(r"\b(?:to|should|must|could|would|might) $", before[: match.start()])
        and len(before[match.end() :].split()) <= _MAX_GAP_WORDS // 2
    ]
    if copulas and (not modals or copulas[-1].start() > modals[-1].start()):
        return Event(Kind.STATE, _OPPOSITE[direction], start, end)
    if modals and len(before[modals[-1].end() :].split()) <= _MAX_GAP_WORDS:
        return Event(Kind.ACTION, direction, start, end)
    return None


def _is_negated(text: str, position: int) -> bool:
    patterns = _lexicon().patterns
    negations = list(patterns["negations"].finditer(text, 0, position))
    if not negations:
        return False
    return not patterns["negation_ends"].search(text, negations[-1].end(), position)


def _resolve_stems(clauses: list[Clause]) -> None:
    """Give every event its stem: in its clause, else from what was said before or after."""
    for clause in clauses:
        for event in (*clause.events, *clause.negated_events):
            event.stem = _own_stem(clause, event)
            event.has_own_stem = event.stem is not None
    events = [(clause, event) for clause in clauses for event in clause.events]
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


def _find_alternatives(clauses: list[Clause]) -> None:
    """Mark clauses that leave a choice: "raise the vocals or the bass", "... or lower it"."""
    for place, clause in enumerate(clauses):
        before = clauses[place - 1] if place else None
        for match in re.finditer(r"(?:^| )(?:or|nor) ", clause.text):
            left = [event for event in clause.events if event.end <= match.start()]
            right = [event for event in clause.events if event.start >= match.end()]
            if not left and before is not None and before.sentence == clause.sentence:
                left = before.events
            if left and right:
                is_same = (left[-1].stem, left[-1].direction) == (right[0].stem, right[0].direction)
                clause.is_alternative |= not is_same
            elif left and match.start() == 0:  # "or leave them"
                clause.is_alternative |= clause.is_balanced
        for first, second in itertools.pairwise(m for m in clause.mentions if m.is_target):
            between = clause.text[first.end : second.start]
            is_choice = re.fullmatch(rf" or {DETERMINERS}", between) and first.stem != second.stem
            clause.is_alternative |= bool(is_choice and clause.events)


def _own_stem(clause: Clause, event: Event) -> str | None:
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
