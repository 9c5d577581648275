"""From rendered dataset rows to model input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mixing_buddy.conversations import to_messages
from mixing_buddy.rendering import POWER_BLOCK

#: Stems further below the sample's common reference are inaudible: nobody need hear how far.
LEVEL_FLOOR_DB = -30.0

#: Every so many samples of a clip are looked at before all are.
_PROBE_STRIDE = 997


def share_clips(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keep each distinct clip of a batch once, so that it is encoded once.

    Clips are the same where all samples are, so nothing that the model computes changes.

    Args:
        batch: model input, clips in order of their placeholders.

    Returns:
        The batch with the distinct clips and, where any stood in several places, `clip_index` of
        shape `(num_clips,)`. A mask of samples is left out where it masks none: it would only make
        the model wait for its lengths.
    """
    batch = dict(batch)
    values, mask = batch["input_values"], batch.get("input_values_mask")
    lengths = [values.shape[1]] * len(values) if mask is None else mask.sum(-1).tolist()
    distinct: list[int] = []
    index: list[int] = []
    # A few samples of each clip tell nearly all apart; only clips that agree in them are compared.
    alike: dict[bytes, list[int]] = {}
    for place, length in enumerate(lengths):
        clip = values[place, :length]
        candidates = alike.setdefault(clip[::_PROBE_STRIDE].numpy().tobytes(), [])
        same = (
            number
            for number in candidates
            if lengths[distinct[number]] == length
            and torch.equal(values[distinct[number], :length], clip)
        )
        number = next(same, len(distinct))
        if number == len(distinct):
            candidates.append(number)
            distinct.append(place)
        index.append(number)
    if len(distinct) < len(index):
        for name in ("input_values", "input_values_mask", "input_features"):
            if batch.get(name) is not None:
                batch[name] = batch[name][distinct]
        batch["clip_index"] = torch.tensor(index)
    if min(lengths) == values.shape[1]:
        batch.pop("input_values_mask", None)
    return batch


class SFTCollator:
    """Makes a training batch of rows that carry ``clips``, ``instruction`` and ``response``.

    Labels cover the answer and the mark that ends it, and nothing else. Where rows also carry
    ``stem_powers`` (see ``rendering.stem_powers``) there are labels for the level head too.

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
            [to_messages(row["clips"], row["instruction"], row["response"]) for row in rows],
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
            levels_db = [
                levels
                for row in rows
                for levels in self._levels_db(row["clips"], row["stem_powers"])
            ]
            batch["stem_levels_labels_db"] = torch.from_numpy(np.concatenate(levels_db))
        return share_clips(batch)

    def _levels_db(
        self, clips: Sequence[np.ndarray], powers: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Yield for each clip of a sample the level of every stem at every audio token.

        Levels are relative to the reference that the feature extractor divides the clips by.
        """
        energy = sum(float(np.dot(clip, clip)) for clip in clips)
        reference = max(energy / sum(clip.size for clip in clips), 1e-12)
        for clip, blocks in zip(clips, powers, strict=True):
            num_tokens = self.processor.num_audio_tokens(clip.size)
            padded = np.zeros((num_tokens * self.blocks_per_token, blocks.shape[1]), np.float32)
            padded[: len(blocks)] = blocks[: len(padded)]
            tokens = padded.reshape(num_tokens, self.blocks_per_token, -1).mean(axis=1)
            floor = 10 ** (LEVEL_FLOOR_DB / 10)
            yield 10 * np.log10(np.maximum(tokens / reference, floor))
