"""From rendered dataset rows to model input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mixing_buddy.conversations import to_messages
from mixing_buddy.stems import STEMS


class SFTCollator:
    """Makes a training batch of rows that carry ``audio``, ``instruction`` and ``response``.

    Labels cover the answer and the mark that ends it, and nothing else.

    Args:
        processor: the model's ``MixingBuddyProcessor``.
    """

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            The processor's tensors, ``labels`` of shape `(batch_size, sequence_length)` and
            ``stem_gains_db`` of shape `(batch_size, num_stems)` in the order of ``STEMS``.

        Raises:
            ValueError: if a row's answer is not found in its text, which happens where the chat
                template does not mark the assistant's turn.
        """
        batch = self.processor.apply_chat_template(
            [to_messages([row["audio"]], row["instruction"], row["response"]) for row in rows],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        answer = torch.as_tensor(batch.pop("assistant_masks")).bool()
        if not answer.any(-1).all():
            raise ValueError(
                "The chat template marks no assistant turn: wrap it in {% generation %} and "
                "{% endgeneration %}, else there is nothing to learn from."
            )
        batch["labels"] = torch.where(answer, batch["input_ids"], -100)
        batch["stem_gains_db"] = torch.tensor(
            [[row["stem_gains_db"][stem] for stem in STEMS] for row in rows]
        )
        return dict(batch)
