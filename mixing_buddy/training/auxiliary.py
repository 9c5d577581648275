"""Auxiliary losses: what drives gradient into the projector beside the answer.

TRL computes the language-modelling loss from the headless model's states and never asks for the
model's own ``loss``. What an auxiliary loss needs is therefore caught on its way through the
model, by `Listener`, and every loss is a function of what was caught. A new one is a function, a
weight and a line in `auxiliary_losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mixing_buddy.modeling.hearing_mixing_buddy import level_loss_function
from mixing_buddy.training.distributed import num_known


@dataclass
class Caught:
    """What passed through the model in one forward pass.

    Args:
        input_ids: of shape `(batch_size, sequence_length)`.
        attention_mask: of the same shape; 0 on padding.
        text_embeds: of shape `(batch_size, sequence_length, hidden_size)`, before audio takes its
            places in them.
        audio_embeds: of shape `(num_audio_tokens, hidden_size)`.
        stem_levels_db: what the level head made of them, `(num_audio_tokens, 2, num_stems)`.
        labels_db: the true levels, of the same shape; None where rows don't say.
        audio_token_id: id of the placeholder of audio.
        decision_logits: scores of the tokens that decide, `(num_decisions, vocab_size)`; None where
            rows don't say which do.
        decision_tokens: these tokens, `(num_decisions,)`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    text_embeds: torch.Tensor
    audio_embeds: torch.Tensor
    stem_levels_db: torch.Tensor
    labels_db: torch.Tensor | None
    audio_token_id: int
    decision_logits: torch.Tensor | None = None
    decision_tokens: torch.Tensor | None = None


#: Figures to log: for each the sum over what this process saw, and how many things that was.
Figures = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class AuxiliaryLoss:
    """One auxiliary loss.

    Args:
        name: it is logged as this.
        weight: what it is multiplied by before it is added.
        function: from what was caught to the loss, of shape `()`, and figures to log; None where
            there is nothing to learn from.
        over_levels: whether it is a mean over known levels. The parts of a step then count by how
            many each has, whatever its number of processes and accumulated batches; else alike.
    """

    name: str
    weight: float
    function: Callable[[Caught], tuple[torch.Tensor, Figures] | None]
    over_levels: bool = False


def level_loss(caught: Caught) -> tuple[torch.Tensor, Figures] | None:
    """Compare the level head's levels with the true ones; logs its mean errors in dB too."""
    if caught.labels_db is None:
        return None
    count = num_known(caught.labels_db)
    loss = level_loss_function(caught.stem_levels_db, caught.labels_db)
    figures = {"level_loss": (loss.detach() * count, count)}
    error_db = (caught.stem_levels_db.detach() - caught.labels_db).abs()
    for index, name in enumerate(("level_mae_db", "loudness_mae_db")):
        figures[name] = (error_db[:, index].nansum(), num_known(caught.labels_db[:, index]))
    return loss, figures


def norm_matching_loss(caught: Caught) -> tuple[torch.Tensor, Figures]:
    """Compare the mean norm of audio embeddings with that of the batch's text embeddings.

    The square of the logarithm of their ratio: one weight then serves every language model, and a
    projector that starts far off does not drown the answer's loss. Gradient reaches the audio only.
    """
    is_text = caught.attention_mask.bool() & (caught.input_ids != caught.audio_token_id)
    text_norm = caught.text_embeds.detach()[is_text].float().norm(dim=-1).mean()
    audio_norm = caught.audio_embeds.float().norm(dim=-1).mean()
    loss = (audio_norm / text_norm).log().square()
    one = torch.ones_like(text_norm)
    return loss, {
        "norm_matching_loss": (loss.detach(), one),
        "audio_norm": (audio_norm.detach(), one),
        "text_norm": (text_norm, one),
    }


def decision_loss(caught: Caught) -> tuple[torch.Tensor, Figures] | None:
    """Score the tokens that decide once more; logs how many of them are right, too."""
    if caught.decision_logits is None or not len(caught.decision_tokens):
        return None
    logits, tokens = caught.decision_logits.float(), caught.decision_tokens
    loss = torch.nn.functional.cross_entropy(logits, tokens)
    count = torch.tensor(float(len(tokens)), device=loss.device)
    num_right = (logits.detach().argmax(-1) == tokens).sum()
    return loss, {
        "decision_loss": (loss.detach() * count, count),
        "decision_accuracy": (num_right, count),
    }


def auxiliary_losses(
    *,
    level_loss_weight: float,
    norm_matching_weight: float = 0.0,
    decision_loss_weight: float = 0.0,
) -> list[AuxiliaryLoss]:
    """List the losses whose weight is not 0."""
    losses = [
        AuxiliaryLoss("level_loss", level_loss_weight, level_loss, over_levels=True),
        AuxiliaryLoss("norm_matching_loss", norm_matching_weight, norm_matching_loss),
        AuxiliaryLoss("decision_loss", decision_loss_weight, decision_loss),
    ]
    return [loss for loss in losses if loss.weight]


class Listener:
    """Catches what auxiliary losses need, by hooks set once.

    Args:
        model: the model, with an adapter around it or without.
    """

    def __init__(self, model: torch.nn.Module):
        self._audio: tuple[torch.Tensor, torch.Tensor] | None = None
        self._text: tuple[torch.Tensor, torch.Tensor] | None = None
        self._states: torch.Tensor | None = None
        self._head = model.get_output_embeddings()
        self._audio_token_id = model.config.audio_token_id
        model.get_input_embeddings().register_forward_hook(self._hear_text)
        # An adapter that trains the head in full wraps it: the wrapper has the shorter name.
        for part, hook in (
            ("level_head", self._hear_audio),
            ("language_model", self._hear_states),
        ):
            name = min((name for name, _ in model.named_modules() if name.endswith(part)), key=len)
            model.get_submodule(name).register_forward_hook(hook)

    def _hear_text(self, module, args, output) -> None:
        # Of a token alone it is looked up too, to find placeholders.
        if args[0].ndim == 2:
            self._text = args[0], output

    def _hear_audio(self, module, args, output) -> None:
        self._audio = args[0], output

    def _hear_states(self, module, args, output) -> None:
        self._states = output.last_hidden_state

    def collect(
        self,
        attention_mask: torch.Tensor,
        labels_db: torch.Tensor | None,
        decision_mask: torch.Tensor | None = None,
    ) -> Caught | None:
        """Return what was caught since the last time, and forget it; None where no audio came."""
        (audio, self._audio), (text, self._text) = (self._audio, None), (self._text, None)
        states, self._states = self._states, None
        if audio is None or text is None:
            return None
        logits = tokens = None
        if decision_mask is not None:
            # A token is foretold at the place before it.
            logits = self._head(states[:, :-1][decision_mask[:, 1:]])
            tokens = text[0][:, 1:][decision_mask[:, 1:]]
        return Caught(
            input_ids=text[0],
            attention_mask=attention_mask,
            text_embeds=text[1],
            audio_embeds=audio[0],
            stem_levels_db=audio[1],
            labels_db=labels_db,
            audio_token_id=self._audio_token_id,
            decision_logits=logits,
            decision_tokens=tokens,
        )
