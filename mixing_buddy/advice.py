"""Reading advice: from an answer in free words to stems, directions and sizes.

`mixing_buddy.clauses` finds what an answer says of which stem. Of that actions beat states,
states beat bare amounts, and the first of the best kind is the advice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from typing import Any, Self

from mixing_buddy.amounts import Amount
from mixing_buddy.clauses import DETERMINERS, Clause, Event, Kind, Mention, read_clauses
from mixing_buddy.errors import MixingBuddyError
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

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make advice of what `to_dict` gave.

        Raises:
            MixingBuddyError: a field is unknown, missing or of a wrong kind.
        """
        if unknown := sorted(set(fields) - {field.name for field in fields_of(cls)}):
            raise MixingBuddyError(f"This is no {cls.__name__}: unknown {', '.join(unknown)}.")
        try:
            return cls(**cls._read(fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MixingBuddyError(f"This is no {cls.__name__}: {error}.") from error

    def to_json(self) -> str:
        """The fields as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make advice of what `to_json` gave.

        Raises:
            MixingBuddyError: as `from_dict`, or the text is no JSON object.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise MixingBuddyError(f"This is no {cls.__name__}: {error}.") from error
        if not isinstance(fields, dict):
            raise MixingBuddyError(f"This is no {cls.__name__}: a JSON object was expected.")
        return cls.from_dict(fields)

    @classmethod
    def _read(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Turn JSON types back into those of the fields."""
        direction = fields.get("direction")
        return {**fields, "direction": None if direction is None else Direction(direction)}


def parse_advice(text: str) -> Advice:
    """Read the advice out of an answer.

    Args:
        text: an answer in free words; British or American, any case, any dashes.

    Returns:
        The advice. Where the answer advises on several stems, the first action counts. Where
        it contradicts itself about the stem, or declines to judge, ``direction`` is None.
    """
    clauses, amounts = read_clauses(text)
    found = [(clause, event) for clause in clauses for event in clause.events]
    if not found:
        is_refusal = any(clause.is_refusal for clause in clauses)
        if not is_refusal and any(clause.is_balanced for clause in clauses):
            return Advice(text, direction=Direction.NONE)
        return Advice(text)
    kind = min(event.kind for _, event in found)
    clause, event = next(pair for pair in found if pair[1].kind is kind)
    if any(clause.is_alternative for clause in clauses) or _is_contradicted(clauses, event):
        return Advice(text)
    amount = _find_amount(clauses, clause, event, amounts)
    min_db, max_db = (amount.min_db, amount.max_db) if amount else (None, None)
    return Advice(text, event.stem, event.direction, min_db, max_db)


def _is_contradicted(clauses: list[Clause], event: Event) -> bool:
    """Whether other words of the same kind say the opposite of an event, or negate it."""
    for clause in clauses:
        for other in clause.events:
            is_alike = other.kind is event.kind and other.stem == event.stem
            # Descriptions that name no stem say little: theirs is guessed.
            is_sure = event.kind is Kind.ACTION or (other.has_own_stem or event.has_own_stem)
            if is_alike and is_sure and other.direction is not event.direction:
                return True
        for other in clause.negated_events:
            # "Loud, but not too loud." What names a stem of its own may be about another place.
            is_same = event.kind is other.kind is Kind.STATE and not other.has_own_stem
            if is_same and other.direction is event.direction:
                return True
    return False


def parse_changes(text: str) -> dict[str, float]:
    """Read every fader move with a size out of an answer.

    Args:
        text: an answer in free words, such as one that leads from mix A to mix B.

    Returns:
        The change in dB by stem, positive for raise, in the order of the text; a range counts
        as its midpoint. A stem is left out where no size is named or where the answer
        contradicts itself about it. Empty, too, where nothing is to be moved or nothing could
        be understood: `parse_advice` tells these apart.
    """
    clauses, amounts = read_clauses(text)
    moves: dict[str, list[tuple[Kind, float]]] = {}
    for place in range(len(clauses)):
        parts = _find_moves(clauses, place)
        for number, (event, stems) in enumerate(parts):
            amount = _find_move_amount(clauses, place, [e for e, _ in parts], number, amounts)
            if amount is not None:
                sign = 1.0 if event.direction is Direction.RAISE else -1.0
                change_db = sign * (amount.min_db + amount.max_db) / 2
                for stem in stems:
                    moves.setdefault(stem, []).append((event.kind, change_db))
    changes_db = {}
    for stem, found in moves.items():
        kind = min(kind for kind, _ in found)
        values = [change_db for each, change_db in found if each is kind]
        if len({value > 0 for value in values}) == 1:
            changes_db[stem] = values[0]
    return changes_db


def _find_moves(clauses: list[Clause], place: int) -> list[tuple[Event, list[str]]]:
    """The events of one clause with all their stems, those included whose verb is left out."""
    clause = clauses[place]
    groups = _group_mentions(clause)
    parts = [(event, _stems_of(event, groups)) for event in clause.events]
    claimed = {stem for _, stems in parts for stem in stems}
    # "Raise the vocals by 3 dB and the drums by 2 dB": the verb is said once.
    for group in groups:
        if not any(mention.stem in claimed for mention in group):
            verb = _last_event(clauses[: place + 1], group[0].start)
            if verb is not None:
                elided = Event(verb.kind, verb.direction, group[0].start, group[-1].end)
                parts.append((elided, [mention.stem for mention in group]))
    return sorted(parts, key=lambda part: part[0].start)


def _find_move_amount(
    clauses: list[Clause], place: int, events: list[Event], number: int, amounts: list[Amount]
) -> Amount | None:
    """The amount of one of a clause's moves: after it, before it, or in a clause that follows."""
    clause, event = clauses[place], events[number]
    since = max((earlier.end for earlier in events[:number]), default=0)
    until = events[number + 1].start if number + 1 < len(events) else len(clause.text)
    spans = [(event.start, until), (since, event.start)]
    if re.search(r"\bmag\d+ $", clause.text[since : event.start]):  # "3 dB louder"
        spans.reverse()
    for start, end in spans:
        if amount := _first_amount(clause.text[start:end], amounts):
            return amount
    for later in clauses[place + 1 :]:
        if later.sentence != clause.sentence or later.events:
            break
        if amount := _first_amount(later.text, amounts):
            return amount
    return None


def _group_mentions(clause: Clause) -> list[list[Mention]]:
    """Mentions that are no reference, those joined by "and" together."""
    groups: list[list[Mention]] = []
    for mention in clause.mentions:
        if not mention.is_target:
            continue
        between = clause.text[groups[-1][-1].end : mention.start] if groups else ""
        if re.fullmatch(rf" (?:and |plus )?{DETERMINERS}", between):
            groups[-1].append(mention)
        else:
            groups.append([mention])
    return groups


def _stems_of(event: Event, groups: list[list[Mention]]) -> list[str]:
    """The stems that an event moves: its own, and those joined to it."""
    if event.has_own_stem:
        holders = [group for group in groups if event.stem in [m.stem for m in group]]
        if holders:
            nearest = min(holders, key=lambda group: abs(group[0].start - event.start))
            return [mention.stem for mention in nearest]
    return [event.stem] if event.stem else []


def _last_event(clauses: list[Clause], before: int) -> Event | None:
    """The last event of the last clause's sentence before a position in that clause."""
    *earlier, clause = clauses
    events = [
        event for each in earlier if each.sentence == clause.sentence for event in each.events
    ]
    events += [event for event in clause.events if event.start < before]
    return events[-1] if events else None


def _first_amount(text: str, amounts: list[Amount]) -> Amount | None:
    match = re.search(r"\bmag(\d+)\b", text)
    return amounts[int(match[1])] if match else None


def _find_amount(
    clauses: list[Clause], clause: Clause, event: Event, amounts: list[Amount]
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
