"""From rendered dataset rows to model input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mixing_buddy.conversations import to_messages
from mixing_buddy.rendering import POWER_BLOCK


#: Stems more than this below the sample's common reference are inaudible: no head need tell how far.
LEVEL_FLOOR_DB = -30.0


class SFTCollator:
    """Makes a training batch of rows that carry ``audio``, ``instruction`` and ``response``.

    Labels cover the answer and the mark that ends it, and nothing else. Rows that also carry
    ``stem_powers`` (see ``rendering.stem_powers``) get labels for the level head.

    Args:
        processor: the model's ``MixingBuddyProcessor``.
    """

    def __init__(self, processor):
        self.processor = processor
        hop = int(np.prod(processor.feature_extractor.conv_stride))
        self.blocks_per_token = hop * processor.pooling_factor // POWER_BLOCK

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            The processor's tensors, ``labels`` of shape `(batch_size, sequence_length)` and, where
            stem powers are known, ``stem_levels_labels_db`` of shape `(num_audio_tokens,
            num_stems)`, in dB relative to the sample's common reference.

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
        if all("stem_powers" in row for row in rows):
            levels_db = [self._token_levels_db(row["audio"], row["stem_powers"]) for row in rows]
            batch["stem_levels_labels_db"] = torch.from_numpy(np.concatenate(levels_db))
        return dict(batch)

    def _token_levels_db(self, clip: np.ndarray, powers: np.ndarray) -> np.ndarray:
        """Return each stem's level over the stretch that each audio token covers."""
        num_tokens = self.processor.num_audio_tokens(clip.size)
        padded = np.zeros((num_tokens * self.blocks_per_token, powers.shape[1]), np.float32)
        padded[: len(powers)] = powers[: len(padded)]
        powers = padded.reshape(num_tokens, self.blocks_per_token, -1).mean(axis=1)
        reference = max(float(np.dot(clip, clip)) / clip.size, 1e-12)
        return 10 * np.log10(np.maximum(powers / reference, 10 ** (LEVEL_FLOOR_DB / 10)))
