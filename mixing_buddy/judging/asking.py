"""Asking many questions at once: retries, a limit of requests in flight, and replies kept."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from mixing_buddy.errors import JudgingError
from mixing_buddy.judging.cache import ReplyCache
from mixing_buddy.judging.clients import JudgeClient, Reply, Request, TransportError

#: So many questions in a row without a reply end a run: the endpoint is down.
MAX_FAILURES_IN_A_ROW = 20

# Longest wait before another attempt; an endpoint that asks for more is asked sooner.
_MAX_WAIT_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """What became of a question: a reply, or why there is none.

    Args:
        reply: what the model said; None where nothing came.
        failure: a key of `TRANSPORT_FAILURES`; None with a reply.
        message: more about the failure.
    """

    reply: Reply | None
    failure: str | None = None
    message: str = ""


def ask_all(
    client: JudgeClient,
    cache: ReplyCache,
    requests: Mapping[str, Request],
    *,
    concurrency: int = 4,
    attempts: int = 4,
    backoff_s: float = 1.0,
) -> dict[str, Outcome]:
    """Ask what the cache doesn't know, with a progress bar.

    Every reply is kept as it comes, usable or not: asking again until one can be used would pick
    among a judge's opinions. Failures are not kept, so the next run asks these again.

    Args:
        client: whom to ask.
        cache: replies of earlier runs.
        requests: by key, see `request_key`.
        concurrency: requests in flight at a time.
        attempts: how often to ask where a failure may pass.
        backoff_s: first wait in seconds; it doubles from attempt to attempt, less a random part,
            and is never shorter than the endpoint asks for.

    Returns:
        An outcome for each key.

    Raises:
        JudgingError: no reply will ever come, or none came `MAX_FAILURES_IN_A_ROW` times.
    """
    from tqdm.auto import tqdm

    kept = {key: cache.get(key) for key in requests}
    outcomes = {key: Outcome(reply) for key, reply in kept.items() if reply is not None}
    missing = {key: each for key, each in requests.items() if key not in outcomes}
    stopping = threading.Event()
    in_a_row = 0
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
    try:
        futures = {
            pool.submit(_ask, client, cache, key, request, attempts, backoff_s, stopping): key
            for key, request in missing.items()
        }
        bar = tqdm(total=len(requests), initial=len(outcomes), desc="Judging", unit="question")
        with bar:
            for future in as_completed(futures):
                outcome = outcomes[futures[future]] = future.result()
                bar.update()
                in_a_row = in_a_row + 1 if outcome.failure else 0
                if in_a_row == MAX_FAILURES_IN_A_ROW:
                    num_kept = sum(each.reply is not None for each in outcomes.values())
                    raise JudgingError(
                        f"{in_a_row} questions in a row got no reply, the last one for this: "
                        f"{outcome.failure}, {outcome.message} {num_kept} of {len(requests)} "
                        "replies are kept: give the same command again to go on."
                    )
    finally:
        stopping.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return outcomes


def _ask(
    client: JudgeClient,
    cache: ReplyCache,
    key: str,
    request: Request,
    attempts: int,
    backoff_s: float,
    stopping: threading.Event,
) -> Outcome:
    for attempt in range(attempts):
        try:
            reply = client.ask(request)
        except TransportError as error:
            outcome = Outcome(None, error.kind, str(error))
            if not error.may_pass or attempt + 1 == attempts:
                break
            wait_s = backoff_s * 2**attempt * random.uniform(0.5, 1.0)
            wait_s = min(max(wait_s, error.retry_after_s or 0.0), _MAX_WAIT_S)
            if stopping.wait(wait_s):
                break
        else:
            cache.put(key, reply)
            return Outcome(reply)
    return outcome
