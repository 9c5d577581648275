"""Trying again what failed for a reason that passes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Somebody else committed between our look at the repository and our commit.
CONCURRENT_COMMIT = 412
_PASSING = frozenset({408, 409, CONCURRENT_COMMIT, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """How often, and after how long, to try again.

    Args:
        count: how often at most, after the first time.
        first_wait_s: the first wait, in seconds; each next is twice as long, and all are drawn up
            to a half longer, so that two publishers don't meet again and again.
        longest_wait_s: no wait is longer, but for that half.
        sleep: what waits.
    """

    count: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, action: Callable[[], _T]) -> _T:
        """Return what `action` does, calling it again after errors that pass.

        Raises:
            Exception: the last error, if it was one that does not pass, or all tries are used up.
        """
        wait_s = self.first_wait_s
        for left in range(self.count, -1, -1):
            try:
                return action()
            except Exception as error:
                if not left or not passes(error):
                    raise
                logger.warning("%s; trying again (%d left)", describe(error), left)
            self.sleep(wait_s * random.uniform(1.0, 1.5))
            wait_s = min(2 * wait_s, self.longest_wait_s)
        raise AssertionError("unreachable")


DEFAULT_RETRIES = Retries()


def passes(error: BaseException) -> bool:
    """Whether an error, or what caused it, may be gone the next time."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HfHubHTTPError):
            return seen.response is not None and seen.response.status_code in _PASSING
        if isinstance(seen, httpx2.TransportError | ConnectionError):
            return True
        seen = seen.__cause__
    return False


def describe(error: BaseException) -> str:
    """Describe an error in one line that holds no headers."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        request = error.response.request
        return f"{request.method} {request.url.path}: status {error.response.status_code}"
    cause = f" ({describe(error.__cause__)})" if error.__cause__ is not None else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{cause}"
