"""A sample as a chat: system message, the clips and the question, and the answer to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixing_buddy.errors import RecipeError


def to_template(num_clips: int, instruction: str, response: str | None = None) -> list[dict]:
    """Return the chat messages of one sample with its clips left open.

    Args:
        num_clips: how many clips the model hears; they stand before the text, inside the
            user's turn.
        instruction: the user's question; the user's turn has no text where it is empty.
        response: the assistant's answer, None to leave it to the model.

    Returns:
        Messages whose parts all have `type` ("audio" or "text") and `text` (None for audio), so
        that they fit a table's column.
    """
    from mixing_buddy.prompts import SYSTEM_MESSAGE

    question = [_text(instruction)] if instruction else []
    messages = [
        {"role": "system", "content": [_text(SYSTEM_MESSAGE)]},
        {"role": "user", "content": [{"type": "audio", "text": None}] * num_clips + question},
    ]
    if response is not None:
        messages.append({"role": "assistant", "content": [_text(response)]})
    return messages


def with_clips(
    messages: Sequence[Mapping[str, Any]], clips: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Put clips into the places that messages keep for them.

    Args:
        messages: the column `messages` of a row, from `to_template`.
        clips: mono clips of shape `(num_samples,)` at the model's sample rate, in order.

    Returns:
        Messages as ``apply_chat_template`` takes them.

    Raises:
        RecipeError: there are more, or fewer, clips than places.
    """
    num_places = sum(part["type"] == "audio" for message in messages for part in message["content"])
    if num_places != len(clips):
        raise RecipeError(
            f"{len(clips)} clips for messages with {num_places} places: take messages and clips "
            "from the same row."
        )
    rest = iter(clips)
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "audio", "audio": next(rest)}
                if part["type"] == "audio"
                else _text(part["text"])
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def to_messages(
    clips: Sequence[np.ndarray], instruction: str, response: str | None = None
) -> list[dict]:
    """Return the chat messages of one sample.

    Args:
        clips: mono clips of shape `(num_samples,)` at the model's sample rate, in the order in
            which the model hears them.
        instruction: the user's question.
        response: the assistant's answer, None to leave it to the model.

    Returns:
        Messages as ``apply_chat_template`` takes them.
    """
    return with_clips(to_template(len(clips), instruction, response), clips)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
