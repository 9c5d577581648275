"""In what orders answers are shown, and what ranks follow from rankings of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixing_buddy.judging.items import Item


def distinct_texts(item: Item) -> list[str]:
    """The different answers to a row, in an order that has nothing to do with their systems.

    Equal answers are shown once, and their systems share a rank: a judge that has to put one of
    two equal texts first can only guess.
    """

    def order(text: str) -> bytes:
        return hashlib.sha256(f"{item.row['uid']}\n{text}".encode()).digest()

    return sorted(set(item.answers.values()), key=order)


def presentation_orders(num_texts: int, count: int) -> list[tuple[int, ...]]:
    """Orders in which to show texts: in pairs of an order and its reverse.

    In a pair each text stands as far from the front once as from the back the other time, which
    cancels a liking for the front or the back that grows evenly; with ``2 * num_texts`` orders
    each text stands twice in every place, which cancels any liking for places.

    Args:
        num_texts: how many texts there are.
        count: how many orders are wanted: 1, or an even number.

    Returns:
        Places of the texts in the order in which they are shown; fewer than wanted where there
        are no more such orders, none for a single text.
    """
    if num_texts < 2:
        return []
    if count == 1:
        return [tuple(range(num_texts))]
    num_pairs = min(count // 2, num_texts if num_texts > 2 else 1)
    orders = []
    for pair in range(num_pairs):
        shift = pair * num_texts // num_pairs
        turned = tuple((place + shift) % num_texts for place in range(num_texts))
        orders += [turned, turned[::-1]]
    return orders


@dataclass(frozen=True)
class Ranking:
    """One ranking that was asked for.

    Args:
        shown: places of the texts (see `distinct_texts`) as they were shown.
        ranked: places of the texts from best to worst; None where no ranking came.
        failure: why none came.
        reply: what the judge said; None where it said nothing.
    """

    shown: tuple[int, ...]
    ranked: tuple[int, ...] | None
    failure: str | None = None
    reply: str | None = None


def usable(rankings: Sequence[Ranking]) -> list[Ranking]:
    """The rankings that count: where they come in pairs, those whose partner came too.

    A ranking without its reverse would bring the position bias back that the pair cancels.
    """
    if len(rankings) == 1:
        return [each for each in rankings if each.ranked is not None]
    return [
        each
        for first, second in zip(rankings[::2], rankings[1::2], strict=True)
        if first.ranked is not None and second.ranked is not None
        for each in (first, second)
    ]


def mean_ranks(item: Item, rankings: Sequence[Ranking]) -> dict[str, float] | None:
    """Mean rank of each system over usable rankings of a row; 1 is best, equal texts share.

    Args:
        item: the row and its answers.
        rankings: all that were asked for; none where all answers are equal.

    Returns:
        None where no ranking can be used.
    """
    texts = distinct_texts(item)
    if len(texts) == 1:
        return dict.fromkeys(item.answers, (len(item.answers) + 1) / 2)
    counted = usable(rankings)
    if not counted:
        return None
    totals = dict.fromkeys(item.answers, 0.0)
    for ranking in counted:
        for name, rank in _ranks(item.answers, texts, ranking.ranked or ()).items():
            totals[name] += rank
    return {name: total / len(counted) for name, total in totals.items()}


def wins(item: Item, rankings: Sequence[Ranking], name: str, other: str) -> float | None:
    """Share of usable rankings in which one system stands before another; equal texts give 0.5.

    Returns:
        None where no ranking can be used.
    """
    if item.answers[name] == item.answers[other]:
        return 0.5
    counted = usable(rankings)
    if not counted:
        return None
    texts = distinct_texts(item)
    one, two = texts.index(item.answers[name]), texts.index(item.answers[other])
    before = [r.ranked.index(one) < r.ranked.index(two) for r in counted if r.ranked is not None]
    return sum(before) / len(before)


def _ranks(
    answers: Mapping[str, str], texts: Sequence[str], ranked: Sequence[int]
) -> dict[str, float]:
    ranks: dict[str, float] = {}
    for place in ranked:
        sharing = [name for name, text in answers.items() if text == texts[place]]
        ranks |= dict.fromkeys(sharing, len(ranks) + (len(sharing) + 1) / 2)
    return ranks
