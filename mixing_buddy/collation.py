"""From rendered dataset rows to model input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mixing_buddy.conversations import to_messages
from mixing_buddy.loudness import gated_power
from mixing_buddy.rendering import POWER_BLOCK
from mixing_buddy.songs import SAMPLE_RATE

#: Stems further below the sample's common reference are inaudible: nobody need hear how far.
LEVEL_FLOOR_DB = -30.0

#: Loudness is gated in stretches of 400 ms.
_BLOCKS_PER_GATE = round(0.4 * SAMPLE_RATE / POWER_BLOCK)

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
    # Padding is at the end: where the last sample is real, all are.
    if mask is None or mask[:, -1].all():
        lengths = [values.shape[1]] * len(values)
    else:
        lengths = mask.sum(-1).tolist()
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
        mark_decisions: says of each token of a row's answer whether it decides; see
            ``training.decisions``.
    """

    def __init__(
        self,
        processor,
        mark_decisions: Callable[[Mapping[str, Any]], Sequence[bool]] | None = None,
    ):
        self.processor = processor
        self.mark_decisions = mark_decisions

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            The processor's tensors, ``labels`` of shape `(batch_size, sequence_length)` and, where
            stem powers are known, ``stem_levels_labels_db``, see `level_labels_db`; where decisions
            are marked, ``decision_mask`` of the shape of ``labels``.

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
        if self.mark_decisions is not None:
            batch["decision_mask"] = self._decision_mask(rows, answer)
        if all("stem_powers" in row for row in rows):
            batch["stem_levels_labels_db"] = level_labels_db(self.processor, rows)
        return share_clips(batch)

    def _decision_mask(
        self, rows: Sequence[Mapping[str, Any]], answer: torch.Tensor
    ) -> torch.Tensor:
        """Put the marks of each answer's tokens where these stand in the batch."""
        mask = torch.zeros_like(answer)
        for row, places, of_row in zip(rows, answer, mask, strict=True):
            marks = torch.as_tensor(self.mark_decisions(row), dtype=torch.bool)
            positions = places.nonzero().flatten()
            # What ends the answer follows its tokens.
            of_row[positions[: len(marks)]] = marks[: len(positions)]
        return mask


class HearingCollator:
    """Makes a training batch of rows that carry ``clips`` and ``stem_powers``, without any text.

    Args:
        processor: the model's ``MixingBuddyProcessor``.
        label_clips: from rows and the audio tokens of each clip to further tensors of the batch.
    """

    def __init__(
        self,
        processor,
        label_clips: Callable[[Sequence[Mapping[str, Any]], Sequence[int]], Mapping] | None = None,
    ):
        self.processor = processor
        self.label_clips = label_clips

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            The feature extractor's tensors, ``stem_levels_labels_db``, see `level_labels_db`, and
            what `label_clips` adds.
        """
        extractor = self.processor.feature_extractor
        clips = [
            clip
            for row in rows
            for clip in extractor.common_reference([extractor.as_mono(c) for c in row["clips"]])
        ]
        batch = extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        batch["stem_levels_labels_db"] = level_labels_db(self.processor, rows)
        if self.label_clips is not None:
            counts = [self.processor.num_audio_tokens(clip.size) for clip in clips]
            batch.update(self.label_clips(rows, counts))
        return share_clips(batch)


def level_labels_db(processor, rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Return what the level head is to hear at every audio token of the clips of rows.

    Args:
        processor: the model's ``MixingBuddyProcessor``.
        rows: rendered rows, with ``clips`` and ``stem_powers``.

    Returns:
        `torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`: K-weighted level of each stem in
        the token's stretch of the clip, and its gated loudness in the whole clip; in dB relative to
        the reference that the feature extractor divides the clips of a row by.
    """
    hop = int(np.prod(processor.feature_extractor.conv_stride))
    blocks_per_token = hop * processor.pooling_factor // POWER_BLOCK
    floor = 10 ** (LEVEL_FLOOR_DB / 10)
    labels_db = []
    for row in rows:
        clips = row["clips"]
        energy = sum(float(np.dot(clip, clip)) for clip in clips)
        reference = max(energy / sum(clip.size for clip in clips), 1e-12)
        for clip, blocks in zip(clips, row["stem_powers"], strict=True):
            num_tokens = processor.num_audio_tokens(clip.size)
            padded = np.zeros((num_tokens * blocks_per_token, blocks.shape[1]), np.float32)
            padded[: len(blocks)] = blocks[: len(padded)]
            powers = np.empty((num_tokens, 2, blocks.shape[1]), np.float32)
            powers[:, 0] = padded.reshape(num_tokens, blocks_per_token, -1).mean(axis=1)
            powers[:, 1] = gated_power(blocks, _BLOCKS_PER_GATE, _BLOCKS_PER_GATE // 5)
            labels_db.append(10 * np.log10(np.maximum(powers / reference, floor)))
    return torch.from_numpy(np.concatenate(labels_db))
