"""A sample as a chat: system message, the clips and the question, and the answer to learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def to_messages(
    clips: Sequence[np.ndarray], instruction: str, response: str | None = None
) -> list[dict]:
    """Return the chat messages of one sample.

    Args:
        clips: mono clips of shape `(num_samples,)` at the model's sample rate, in the order in
            which the model hears them; they stand before the text, inside the user's turn.
        instruction: the user's question.
        response: the assistant's answer, None to leave it to the model.

    Returns:
        Messages as ``apply_chat_template`` takes them.
    """
    from mixing_buddy.prompts import SYSTEM_MESSAGE

    messages = [
        {"role": "system", "content": SYSTEM_MESSAGE},
        {
            "role": "user",
            "content": [
                *({"type": "audio", "audio": clip} for clip in clips),
                {"type": "text", "text": instruction},
            ],
        },
    ]
    if response is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
    return messages
