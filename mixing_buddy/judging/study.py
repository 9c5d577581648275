"""A judgement from beginning to end: what will be asked, what it costs, what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mixing_buddy.errors import JudgingError
from mixing_buddy.judging.asking import Outcome, ask_all
from mixing_buddy.judging.cache import ReplyCache
from mixing_buddy.judging.clients import JudgeClient, Request, request_key
from mixing_buddy.judging.items import Item
from mixing_buddy.judging.prompts import (
    LABELS,
    criteria,
    rank_messages,
    rank_schema,
    score_messages,
    score_schema,
)
from mixing_buddy.judging.ranking import Ranking, distinct_texts, presentation_orders
from mixing_buddy.judging.replies import UnusableReply, parse_ranking, parse_scores

# English has about four characters a token in the vocabularies of today's models.
_CHARACTERS_PER_TOKEN = 4

# What a short reason and its numbers take.
_TYPICAL_REPLY_TOKENS = 90


@dataclass(frozen=True)
class Question:
    """One thing to ask of one row.

    Args:
        item: place of the row among the items.
        shown: places of its texts (see `distinct_texts`) as they are shown; one text is scored,
            several are ranked.
        request: what is sent.
        key: name of the request, see `request_key`.
    """

    item: int
    shown: tuple[int, ...]
    request: Request
    key: str


@dataclass(frozen=True)
class Estimate:
    """What a run will ask and cost.

    Args:
        num_questions: different requests in all.
        num_kept: how many of them the cache answers.
        input_tokens: about what the others send.
        output_tokens: about what they bring back.
        cost: price of these, in the currency of the prices; None without prices.
        highest_cost: the same, should every reply run into its limit; attempts that fail are
            not in it.
    """

    num_questions: int
    num_kept: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    highest_cost: float | None


@dataclass
class Judged:
    """One row and what the judge said of it.

    Args:
        item: the row and its answers.
        scores: score of each criterion by text; None where the judge gave none that can be used.
        score_failures: why, by text.
        score_replies: what the judge said, by text, where it said anything.
        rankings: rankings that were asked for, in order.
    """

    item: Item
    scores: dict[str, dict[str, int] | None] = field(default_factory=dict)
    score_failures: dict[str, str] = field(default_factory=dict)
    score_replies: dict[str, str] = field(default_factory=dict)
    rankings: list[Ranking] = field(default_factory=list)


def plan(
    client: JudgeClient,
    items: Sequence[Item],
    *,
    scores: bool = True,
    num_orders: int = 2,
) -> list[Question]:
    """Write every question.

    Args:
        client: whom they are for.
        items: rows with answers.
        scores: ask for scores of each different answer.
        num_orders: in how many orders to show the answers of a row for ranking, see
            `presentation_orders`; 0 asks for no ranking.

    Raises:
        JudgingError: the number of orders is odd, or a row has more answers than labels.
    """
    if num_orders < 0 or (num_orders > 1 and num_orders % 2):
        raise JudgingError(
            f"{num_orders} orders: give 0, 1 or an even number, as orders come with their reverse."
        )
    questions = []
    for number, item in enumerate(items):
        texts = distinct_texts(item)
        if len(texts) > len(LABELS):
            raise JudgingError(
                f"{item.row['uid']}: {len(texts)} different answers: at most {len(LABELS)} can be "
                "ranked at a time. Judge fewer systems."
            )
        # A lone text is shown as such, so the number of texts tells scores from rankings.
        shown = [(place,) for place in range(len(texts))] if scores else []
        if num_orders:
            shown += presentation_orders(len(texts), num_orders)
        for places in shown:
            request = _request(item, [texts[place] for place in places])
            questions.append(Question(number, places, request, request_key(client, request)))
    return questions


def _request(item: Item, texts: Sequence[str]) -> Request:
    if len(texts) == 1:
        return Request(score_messages(item.row, texts[0]), score_schema(), "scores")
    return Request(rank_messages(item.row, texts), rank_schema(len(texts)), "ranking")


def estimate(
    questions: Sequence[Question],
    cache: ReplyCache,
    *,
    max_tokens: int,
    input_price: float | None = None,
    output_price: float | None = None,
) -> Estimate:
    """Say what asking will take, before it is done.

    Args:
        questions: what `plan` wrote.
        cache: replies of earlier runs.
        max_tokens: longest reply.
        input_price: price of a million tokens sent.
        output_price: price of a million tokens received.
    """
    requests = {question.key: question.request for question in questions}
    missing = [request for key, request in requests.items() if cache.get(key) is None]
    num_input = sum(each.num_characters for each in missing) // _CHARACTERS_PER_TOKEN
    num_output = len(missing) * min(_TYPICAL_REPLY_TOKENS, max_tokens)

    def cost(output_tokens: int) -> float | None:
        if input_price is None or output_price is None:
            return None
        return (num_input * input_price + output_tokens * output_price) / 1e6

    return Estimate(
        num_questions=len(requests),
        num_kept=len(requests) - len(missing),
        input_tokens=num_input,
        output_tokens=num_output,
        cost=cost(num_output),
        highest_cost=cost(len(missing) * max_tokens),
    )


def judge(
    client: JudgeClient,
    cache: ReplyCache,
    items: Sequence[Item],
    questions: Sequence[Question],
    *,
    concurrency: int = 4,
    attempts: int = 4,
    backoff_s: float = 1.0,
) -> tuple[list[Judged], dict[str, int]]:
    """Ask every question and read the replies.

    Args:
        client: whom to ask.
        cache: replies of earlier runs, to which this one's are added.
        items: rows with answers.
        questions: what `plan` wrote of them.
        concurrency: see `ask_all`, as for the others.
        attempts: likewise.
        backoff_s: likewise.

    Returns:
        What was said of each row, and how many tokens all replies took, those of earlier runs
        too, as far as the endpoint counts them: `input_tokens`, `output_tokens`.

    Raises:
        JudgingError: see `ask_all`.
    """
    requests = {question.key: question.request for question in questions}
    outcomes = ask_all(
        client,
        cache,
        requests,
        concurrency=concurrency,
        attempts=attempts,
        backoff_s=backoff_s,
    )
    judged = [Judged(item) for item in items]
    for question in questions:
        _read(judged[question.item], question.shown, outcomes[question.key])
    replies = [each.reply for each in outcomes.values() if each.reply is not None]
    usage = {
        "input_tokens": sum(reply.input_tokens or 0 for reply in replies),
        "output_tokens": sum(reply.output_tokens or 0 for reply in replies),
    }
    return judged, usage


def _read(judged: Judged, shown: tuple[int, ...], outcome: Outcome) -> None:
    """Add to a row what a reply says, or why it says nothing."""
    parsed, failure = _parse(outcome, len(shown))
    reply = None if outcome.reply is None else outcome.reply.text
    if len(shown) > 1:
        ranked = None if parsed is None else tuple(shown[place] for place in parsed)
        judged.rankings.append(Ranking(shown, ranked, failure, reply))
        return
    text = distinct_texts(judged.item)[shown[0]]
    judged.scores[text] = parsed
    if failure is not None:
        judged.score_failures[text] = failure
    if reply is not None:
        judged.score_replies[text] = reply


def _parse(outcome: Outcome, num_texts: int):
    reply = outcome.reply
    if reply is None:
        return None, outcome.failure
    if reply.finish_reason == "content_filter":
        return None, "refused"
    try:
        if num_texts == 1:
            return parse_scores(reply.text, criteria()), None
        return parse_ranking(reply.text, num_texts), None
    except UnusableReply as error:
        return None, "truncated" if reply.finish_reason == "length" else error.kind


def count_failures(judged: Sequence[Judged]) -> Mapping[str, dict[str, int]]:
    """How often each kind of failure occurred, for `scores` and `rankings`; `asked` counts all.

    A different answer to a row counts once for scores, however many systems gave it.
    """
    counts: dict[str, dict[str, int]] = {
        "scores": {"asked": sum(len(each.scores) for each in judged)},
        "rankings": {"asked": sum(len(each.rankings) for each in judged)},
    }
    for each in judged:
        for kind in each.score_failures.values():
            counts["scores"][kind] = counts["scores"].get(kind, 0) + 1
        for ranking in each.rankings:
            if ranking.failure is not None:
                kinds = counts["rankings"]
                kinds[ranking.failure] = kinds.get(ranking.failure, 0) + 1
    return counts
