"""From rendered preference rows to what DPO compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from mixing_buddy.collation import share_clips
from mixing_buddy.conversations import to_messages
from mixing_buddy.preferences import RejectedKind

#: Kinds of fault in the order of their numbers in a batch.
KINDS: tuple[str, ...] = tuple(kind.value for kind in RejectedKind)


class PreferenceCollator:
    """Makes a batch of rows that carry ``clips``, ``instruction``, ``chosen`` and ``rejected``.

    Both answers of a row are to the same clips, so each clip is in the batch once and
    ``clip_index`` names it for both: it is encoded once.

    Args:
        processor: the model's ``MixingBuddyProcessor``.
    """

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            ``input_ids``, ``attention_mask`` and ``completion_mask`` of shape `(2 * num_rows,
            sequence_length)`, chosen answers first, then rejected ones in the same order;
            ``completion_mask`` is 1 on the answer and the mark that ends it. ``rejected_kind`` of
            shape `(num_rows,)`, positions in `KINDS`. The processor's audio, each clip once, and
            ``clip_index`` of shape `(2 * num_clips,)`.

        Raises:
            ValueError: if an answer is not found in its text, which happens where the chat template
                does not mark the assistant's turn.
        """
        heard = self._tokenize([(row["clips"], row["instruction"], row["chosen"]) for row in rows])
        # The text before the answer is the chosen one's, audio tokens and all, so none is needed
        # here: an answer's tokens do not depend on what stands before its turn.
        unheard = self._tokenize([([], row["instruction"], row["rejected"]) for row in rows])
        prompts, chosen = zip(*self._split(heard), strict=True)
        _, rejected = zip(*self._split(unheard), strict=True)
        answers = chosen + rejected
        sequences = [torch.cat(pair) for pair in zip(prompts + prompts, answers, strict=True)]
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        starts = lengths - torch.tensor([len(answer) for answer in answers])
        places = torch.arange(int(lengths.max()))
        attended = places < lengths[:, None]
        audio = share_clips(heard)
        in_order = torch.arange(len(audio["input_values"]))
        return {
            **audio,
            "input_ids": pad_sequence(
                sequences,
                batch_first=True,
                padding_value=self.processor.tokenizer.pad_token_id,
            ),
            "attention_mask": attended.long(),
            "completion_mask": (attended & (places >= starts[:, None])).long(),
            "clip_index": audio.get("clip_index", in_order).repeat(2),
            "rejected_kind": torch.tensor([KINDS.index(row["rejected_kind"]) for row in rows]),
        }

    def _tokenize(self, samples: Sequence[tuple[Sequence, str, str]]) -> dict[str, torch.Tensor]:
        return dict(
            self.processor.apply_chat_template(
                [to_messages(*sample) for sample in samples],
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
        )

    @staticmethod
    def _split(batch: dict[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Take the text out of a batch; split each into the answer and what stands before it."""
        answer = torch.as_tensor(batch.pop("assistant_masks")).bool()
        ids, attended = batch.pop("input_ids"), batch.pop("attention_mask").bool()
        if not answer.any(-1).all():
            raise ValueError(
                "The chat template marks no assistant turn: wrap it in {% generation %} and "
                "{% endgeneration %}, else there is nothing to compare."
            )
        before = attended & (answer.cumsum(-1) == 0)
        return [
            (row[left], row[right]) for row, left, right in zip(ids, before, answer, strict=True)
        ]
