"""How often one session may ask."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

#: Sessions that are remembered; the one that asked longest ago is forgotten first.
_MAX_SESSIONS = 10_000


class RateLimiter:
    """Counts requests of each session in a sliding window of time.

    Args:
        limit: requests allowed within the window.
        window_s: length of the window in seconds.
        clock: time in seconds, never going back.
    """

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float] = time.monotonic):
        self.limit = limit
        self.window_s = window_s
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, session: str) -> float:
        """Count a request.

        Returns:
            0.0 if it is allowed, else after how many seconds the next one is; one that is not
            allowed doesn't count.
        """
        with self._lock:
            now = self._clock()
            times = self._times.setdefault(session, deque())
            self._times.move_to_end(session)
            while times and times[0] <= now - self.window_s:
                times.popleft()
            if len(times) >= self.limit:
                return times[0] + self.window_s - now
            times.append(now)
            while len(self._times) > _MAX_SESSIONS:
                self._times.popitem(last=False)
            return 0.0
