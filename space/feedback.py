"""Votes on advice, kept as lines of JSON. No audio, no file name, no question, no address."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from settings import MAX_FEEDBACK_MB


def store_vote(folder: Path, *, is_helpful: bool, advice: dict[str, Any]) -> bool:
    """Append a vote to `votes.jsonl`.

    Args:
        folder: where it is kept; made if need be.
        is_helpful: thumbs up or down.
        advice: what was advised, and on what kind of input.

    Returns:
        Whether it was stored: not if the file has grown to `MAX_FEEDBACK_MB`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "votes.jsonl"
    # The day is enough to follow a model's votes over time, and says less of who voted.
    record = {"day": datetime.now(UTC).date().isoformat(), "is_helpful": is_helpful, **advice}
    with FileLock(folder / ".votes.lock", timeout=5):
        if path.exists() and path.stat().st_size > MAX_FEEDBACK_MB * 1_000_000:
            return False
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return True
