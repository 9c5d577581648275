"""Which stem is off, read off what is heard: a head that is there for training alone.

The level head learns every stem's loudness, and all errors count alike. What is to be learnt in the
end is which stem stands wrong; so that what matters for it is heard best, and stands where a
language model finds it, a linear head names the flaw of a single mix from the mean of the clip's
audio embeddings. The anchor is no candidate, as in the question that the language model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mixing_buddy.flaws import FLAWS, Category
from mixing_buddy.schema import SINGLE_MIX
from mixing_buddy.stems import ADVISED_STEMS

#: Every flaw that a single mix can have: how a stem stands, and which; "balanced" first.
FLAW_CLASSES: tuple[tuple[Category, str | None], ...] = (
    (Category.NO_ERROR, None),
    *(
        (category, stem)
        for stem in ADVISED_STEMS
        for category in Category
        if category is not Category.NO_ERROR
    ),
)

#: What `flaw_labels` adds to a batch; no input of the model.
FLAW_INPUTS = ("flaw_labels", "flaws_ruled_out", "tokens_per_clip")

#: Classes of equal number here agree in stem and direction.
_JOINT = [
    [(s, FLAWS[c].direction) for c, s in FLAW_CLASSES].index((stem, FLAWS[category].direction))
    for category, stem in FLAW_CLASSES
]


def flaw_labels(
    rows: Sequence[Mapping[str, Any]], tokens_per_clip: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Say of each clip of a batch which flaw it has.

    Args:
        rows: rows of the dataset, with ``clips``.
        tokens_per_clip: audio tokens of each clip of the batch.

    Returns:
        ``flaw_labels`` of shape `(num_clips,)`, -100 for clips that are no single mix;
        ``flaws_ruled_out`` of shape `(num_clips, num_classes)`, True where a class is of the
        anchor; and ``tokens_per_clip`` of shape `(num_clips,)`.
    """
    labels: list[int] = []
    ruled_out: list[list[bool]] = []
    for row in rows:
        anchor = label = None
        if row["mode"] == SINGLE_MIX:
            category = Category(row["category"])
            target = None if category is Category.NO_ERROR else row["target"]
            anchor, label = row["anchor"], FLAW_CLASSES.index((category, target))
        for _ in row["clips"]:
            labels.append(-100 if label is None else label)
            ruled_out.append([stem is not None and stem == anchor for _, stem in FLAW_CLASSES])
    return {
        "flaw_labels": torch.tensor(labels),
        "flaws_ruled_out": torch.tensor(ruled_out),
        "tokens_per_clip": torch.tensor(tokens_per_clip),
    }


class FlawHead(nn.Linear):
    """Scores every flaw of a clip, linearly.

    Args:
        hidden_size: width of audio embeddings.
    """

    def __init__(self, hidden_size: int):
        super().__init__(hidden_size, len(FLAW_CLASSES))

    def forward(self, audio_embeds: torch.Tensor, tokens_per_clip: torch.Tensor) -> torch.Tensor:
        """Score.

        Args:
            audio_embeds: `torch.Tensor` of shape `(num_audio_tokens, hidden_size)`.
            tokens_per_clip: `torch.Tensor` of shape `(num_clips,)`.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_classes)`.
        """
        embeds = audio_embeds.to(self.weight.dtype)
        clips = torch.arange(len(tokens_per_clip), device=embeds.device)
        sums = embeds.new_zeros(len(clips), embeds.shape[1])
        sums = sums.index_add(0, clips.repeat_interleave(tokens_per_clip), embeds)
        return super().forward(sums / tokens_per_clip.unsqueeze(1))


def flaw_loss_function(
    logits: torch.Tensor, labels: torch.Tensor, ruled_out: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cross entropy over clips that have a label, and which of them are right.

    Args:
        logits: of shape `(num_clips, num_classes)`.
        labels: of shape `(num_clips,)`, -100 where there is none.
        ruled_out: of the shape of `logits`.

    Returns:
        The loss, 0 where no clip has a label; and whether stem and direction of the best class are
        right, of shape `(num_labelled_clips,)`.
    """
    known = labels != -100
    scores = logits.float().masked_fill(ruled_out, -torch.inf)[known]
    # With no clip the sum keeps the head in the graph, which data parallelism waits for.
    loss = nn.functional.cross_entropy(scores, labels[known], reduction="sum")
    loss = loss / known.sum().clamp(min=1) + 0.0 * logits.sum()
    joint = torch.tensor(_JOINT, device=labels.device)
    return loss, joint[scores.detach().argmax(-1)] == joint[labels[known]]
