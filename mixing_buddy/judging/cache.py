"""Replies kept on disk, so that a run that broke off goes on where it stood."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

from mixing_buddy.errors import OutputError
from mixing_buddy.judging.clients import Reply


class ReplyCache:
    """Replies by the key of their request, in one SQLite file.

    Each reply is on disk before `put` returns, so that a killed process loses none. Threads may
    share a cache. Requests are not kept, only their keys.

    Args:
        path: file, made with its folder if it is missing.

    Raises:
        OutputError: the file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False, timeout=30)
            with self._database:
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"
                )
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"{path} can't be used as a cache of replies: {error}: name another file."
            ) from error

    def get(self, key: str) -> Reply | None:
        """The reply to a request; None if there is none."""
        with self._lock:
            found = self._database.execute(
                "SELECT reply FROM replies WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else Reply(**json.loads(found[0]))

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply."""
        text = json.dumps(vars(reply))
        with self._lock, self._database:
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
