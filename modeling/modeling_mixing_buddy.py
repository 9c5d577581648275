"""The Mixing Buddy model: waveform encoder, level features, projector, language model."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    ModelOutput,
)
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple, torch_compilable_check

from .configuration_mixing_buddy import MixingBuddyConfig

#: The level head predicts levels in dB divided by this, so that its targets are of order 1.
LEVEL_SCALE_DB = 10.0


@dataclass
class MixingBuddyModelOutputWithPast(BaseModelOutputWithPast):
    r"""Output of [`MixingBuddyModel`].

    Args:
        audio_embeds (`torch.Tensor` of shape `(num_audio_tokens, hidden_size)`, *optional*):
            Projected audio embeddings of all clips of the batch, one after another.
        stem_levels_db (`torch.Tensor` of shape `(num_audio_tokens, num_stems)`, *optional*):
            Levels that the auxiliary head hears, in dB relative to the sample's common reference.
    """

    audio_embeds: torch.Tensor | None = None
    stem_levels_db: torch.Tensor | None = None


@dataclass
class MixingBuddyCausalLMOutputWithPast(ModelOutput):
    r"""Output of [`MixingBuddyForConditionalGeneration`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*): language-modelling loss, plus the weighted
            level loss where levels were given.
        level_loss (`torch.Tensor` of shape `()`, *optional*): the auxiliary loss, unweighted.
        logits (`torch.Tensor` of shape `(batch_size, sequence_length, vocab_size)`): scores.
        stem_levels_db (`torch.Tensor` of shape `(num_audio_tokens, num_stems)`, *optional*): level
            of each of `config.level_stems` that the auxiliary head hears at each audio token, in dB
            relative to the sample's common reference.
        past_key_values (`Cache`, *optional*): key and value states of the language model.
        hidden_states (`tuple[torch.Tensor]`, *optional*): states of the language model.
        attentions (`tuple[torch.Tensor]`, *optional*): attentions of the language model.
        audio_embeds (`torch.Tensor` of shape `(num_audio_tokens, hidden_size)`, *optional*):
            projected audio embeddings.
    """

    loss: torch.Tensor | None = None
    level_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    stem_levels_db: torch.Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor] | None = None
    attentions: tuple[torch.Tensor] | None = None
    audio_embeds: torch.Tensor | None = None


class MixingBuddyLayerMix(nn.Module):
    """Sum of all hidden states of the encoder with learnt softmax weights."""

    def __init__(self, num_states: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_states))

    def forward(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Mix `num_states` tensors of shape `(num_clips, num_frames, hidden_size)` into one."""
        weights = torch.softmax(self.weight.float(), dim=0).to(hidden_states[0].dtype)
        mixed = weights[0] * hidden_states[0]
        for weight, state in zip(weights[1:], hidden_states[1:], strict=True):
            mixed = torch.addcmul(mixed, weight, state)
        return mixed


class MixingBuddyProjector(nn.Module):
    """Joins consecutive frames and maps them to the width of the language model.

    An MLP with activation, layer norm and dropout after each hidden layer and no residuals.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__()
        self.pooling_factor = config.pooling_factor
        frame_size = config.audio_config.hidden_size + config.num_level_bands
        sizes = [frame_size * config.pooling_factor, *config.projector_hidden_sizes]
        layers: list[nn.Module] = []
        for size_in, size_out, dropout in zip(
            sizes[:-1], sizes[1:], config.projector_dropouts, strict=True
        ):
            layers += [
                nn.Linear(size_in, size_out),
                ACT2FN[config.projector_hidden_act],
                nn.LayerNorm(size_out),
                nn.Dropout(dropout),
            ]
        layers.append(nn.Linear(sizes[-1], config.text_config.hidden_size))
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Project frames.

        Args:
            frames: `torch.Tensor` of shape `(num_clips, num_frames, frame_size)`.

        Returns:
            `torch.Tensor` of shape `(num_clips, ceil(num_frames / pooling_factor), hidden_size)`;
            the last group is filled up with zeros.
        """
        num_clips, num_frames, frame_size = frames.shape
        frames = nn.functional.pad(frames, (0, 0, 0, -num_frames % self.pooling_factor))
        return self.layers(frames.reshape(num_clips, -1, frame_size * self.pooling_factor))


class MixingBuddyLevelHead(nn.Linear):
    """Predicts from each audio embedding how loud every stem is in that stretch of the clip.

    The strong form of the auxiliary loss. It reads the projector's output directly, so its gradient
    reaches the projector without passing through the language model, where the published system's
    vanished; it is linear, so what it reads is easy for the language model to read too; and it has
    a target for every stem at every audio token, where the answer has one for a whole clip.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__(config.text_config.hidden_size, len(config.level_stems))

    def forward(self, audio_embeds: torch.Tensor) -> torch.Tensor:
        """Predict levels.

        Args:
            audio_embeds: `torch.Tensor` of shape `(num_audio_tokens, hidden_size)`.

        Returns:
            `torch.Tensor` of shape `(num_audio_tokens, num_stems)`: level of each of
            `config.level_stems` in dB relative to the sample's common reference.
        """
        return super().forward(audio_embeds) * LEVEL_SCALE_DB


def level_loss_function(
    stem_levels_db: torch.Tensor, stem_levels_labels_db: torch.Tensor
) -> torch.Tensor:
    """Return the mean squared error of predicted levels, in units of `LEVEL_SCALE_DB` squared.

    Args:
        stem_levels_db: `torch.Tensor` of shape `(num_audio_tokens, num_stems)`, predictions in dB.
        stem_levels_labels_db: `torch.Tensor` of the same shape, true levels in dB, NaN where
            unknown.
    """
    known = ~torch.isnan(stem_levels_labels_db)
    labels_db = torch.where(known, stem_levels_labels_db, 0.0)
    error = (stem_levels_db.float() - labels_db) / LEVEL_SCALE_DB
    return (error.square() * known).sum() / known.sum().clamp(min=1)


class MixingBuddyPreTrainedModel(PreTrainedModel):
    """Base class: configuration, initialisation and what the parts support."""

    config: MixingBuddyConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, MixingBuddyLayerMix):
            init.zeros_(module.weight)


class MixingBuddyModel(MixingBuddyPreTrainedModel):
    """Encoder, layer mix, projector and language model, without a language-model head."""

    def __init__(self, config: MixingBuddyConfig):
        super().__init__(config)
        self.audio_tower = AutoModel.from_config(config.audio_config)
        self.layer_mix = MixingBuddyLayerMix(config.audio_config.num_hidden_layers + 1)
        self.multi_modal_projector = MixingBuddyProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.level_head = MixingBuddyLevelHead(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        """Replace the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def _encode(self, input_values: torch.Tensor) -> torch.Tensor:
        """Encode clips of equal length: `(num_clips, num_samples)` to mixed hidden states."""
        trainable = any(parameter.requires_grad for parameter in self.audio_tower.parameters())
        with torch.set_grad_enabled(trainable and torch.is_grad_enabled()):
            outputs = self.audio_tower(input_values, output_hidden_states=True, return_dict=True)
        # MERT's authors take the last state after the final layer norm; with pre-norm layers
        # transformers records it before that norm.
        return self.layer_mix((*outputs.hidden_states[:-1], outputs.last_hidden_state))

    @can_return_tuple
    def get_audio_features(
        self,
        input_values: torch.Tensor,
        input_values_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        r"""Compute audio embeddings.

        Args:
            input_values (`torch.Tensor` of shape `(num_clips, num_samples)`): padded clips.
            input_values_mask (`torch.Tensor` of shape `(num_clips, num_samples)`, *optional*):
                1 on real samples; without it every clip is taken to be of full length.
            input_features (`torch.Tensor` of shape `(num_clips, num_frames, num_level_bands)`,
                *optional*): level features, required unless `config.num_level_bands` is 0.
            kwargs: ignored.

        Returns:
            `pooler_output` of shape `(num_audio_tokens, hidden_size)`: the embeddings of all clips
            one after another, padding left out.

        Raises:
            ValueError: if level features are missing or not wanted.
        """
        if bool(self.config.num_level_bands) != (input_features is not None):
            raise ValueError(
                f"config.num_level_bands is {self.config.num_level_bands}, but input_features is "
                f"{'missing' if input_features is None else 'given'}: model and processor must "
                "come from the same checkpoint."
            )
        if input_values_mask is None:
            lengths = [input_values.shape[-1]] * input_values.shape[0]
        else:
            lengths = input_values_mask.sum(-1).tolist()
        encoder_dtype = self.audio_tower.dtype
        projector_dtype = self.multi_modal_projector.layers[-1].weight.dtype
        embeds: list[torch.Tensor] = [None] * len(lengths)
        # The encoder's group norm runs over time, padding included: clips of unequal length are
        # encoded apart, so that a clip's embedding does not depend on its batch.
        for length in sorted(set(lengths)):
            rows = [row for row, other in enumerate(lengths) if other == length]
            frames = self._encode(input_values[rows, :length].to(encoder_dtype))
            # Trained parts may be kept in another precision than the frozen encoder.
            frames = frames.to(projector_dtype)
            if input_features is not None:
                levels = input_features[rows, : frames.shape[1]].to(frames)
                frames = torch.cat([frames, levels], dim=-1)
            for row, embed in zip(rows, self.multi_modal_projector(frames), strict=True):
                embeds[row] = embed
        return BaseModelOutputWithPooling(pooler_output=torch.cat(embeds))

    def get_placeholder_mask(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.Tensor,
        audio_embeds: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the mask of audio positions, of shape `(batch_size, sequence_length)`.

        Raises:
            ValueError: if the number of placeholders is not the number of audio embeddings.
        """
        if input_ids is None:
            token = torch.tensor(self.config.audio_token_id, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            mask = input_ids == self.config.audio_token_id
        num_embeds = 0 if audio_embeds is None else audio_embeds.shape[0]
        torch_compilable_check(
            mask.sum() == num_embeds,
            lambda: (
                f"The text holds {int(mask.sum())} audio tokens, the audio makes {num_embeds}: "
                "pass the processor's output unchanged, text and audio of the same samples."
            ),
        )
        return mask

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> MixingBuddyModelOutputWithPast:
        r"""Run the model; arguments as in [`MixingBuddyForConditionalGeneration.forward`]."""
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        audio_embeds = stem_levels_db = None
        if input_values is not None:
            audio_embeds = self.get_audio_features(
                input_values, input_values_mask, input_features, return_dict=True
            ).pooler_output.to(inputs_embeds)
        mask = None
        if input_ids is not None or audio_embeds is not None:
            mask = self.get_placeholder_mask(input_ids, inputs_embeds, audio_embeds)
        if audio_embeds is not None:
            inputs_embeds = inputs_embeds.masked_scatter(mask.unsqueeze(-1), audio_embeds)
            stem_levels_db = self.level_head(audio_embeds)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        return MixingBuddyModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            audio_embeds=audio_embeds,
            stem_levels_db=stem_levels_db,
        )


class MixingBuddyForConditionalGeneration(MixingBuddyPreTrainedModel, GenerationMixin):
    """Mixing Buddy with a language-model head."""

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.weight": "model.language_model.embed_tokens.weight"
    }

    def __init__(self, config: MixingBuddyConfig):
        super().__init__(config)
        self.model = MixingBuddyModel(config)
        self.lm_head = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        """Replace the language model's token embedding."""
        self.model.set_input_embeddings(value)

    def get_audio_features(self, *args, **kwargs) -> BaseModelOutputWithPooling:
        """Compute audio embeddings: see [`MixingBuddyModel.get_audio_features`]."""
        return self.model.get_audio_features(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        stem_levels_labels_db: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> MixingBuddyCausalLMOutputWithPast:
        r"""Run the model on text and audio.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): tokens, with
                one audio token at each position that an audio embedding fills.
            input_values (`torch.Tensor` of shape `(num_clips, num_samples)`, *optional*): clips of
                the whole batch in order of their placeholders.
            input_values_mask (`torch.Tensor` of shape `(num_clips, num_samples)`, *optional*):
                1 on real samples.
            input_features (`torch.Tensor` of shape `(num_clips, num_frames, num_level_bands)`,
                *optional*): level features.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                0 on padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                positions.
            past_key_values (`Cache`, *optional*): states of earlier positions.
            inputs_embeds (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`,
                *optional*): embeddings instead of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): tokens
                to learn, -100 elsewhere.
            stem_levels_labels_db (`torch.Tensor` of shape `(num_audio_tokens, num_stems)`,
                *optional*): true levels for the auxiliary loss, in dB relative to the sample's
                common reference, NaN where unknown.
            use_cache (`bool`, *optional*): return states for later positions.
            logits_to_keep (`int` or `torch.Tensor`, defaults to 0): compute only the last logits.
            kwargs: passed to the language model and the loss.

        Returns:
            [`MixingBuddyCausalLMOutputWithPast`].

        Raises:
            ValueError: if audio tokens and audio embeddings do not match.
        """
        outputs = self.model(
            input_ids=input_ids,
            input_values=input_values,
            input_values_mask=input_values_mask,
            input_features=input_features,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden_states)
        loss = level_loss = None
        if labels is not None:
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
            if stem_levels_labels_db is not None and outputs.stem_levels_db is not None:
                level_loss = level_loss_function(outputs.stem_levels_db, stem_levels_labels_db)
                weighted = self.config.level_loss_weight * level_loss
                num_items = kwargs.get("num_items_in_batch")
                if num_items is not None:
                    # Under gradient accumulation the loss above is this part's share of the batch.
                    weighted = weighted * ((labels[:, 1:] != -100).sum() / num_items)
                loss = loss + weighted
        return MixingBuddyCausalLMOutputWithPast(
            loss=loss,
            level_loss=level_loss,
            logits=logits,
            stem_levels_db=outputs.stem_levels_db,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            audio_embeds=outputs.audio_embeds,
        )

    def _clips_per_sample(
        self, input_ids: torch.LongTensor, input_values_mask: torch.Tensor
    ) -> list[int]:
        """Count the clips of each sample from the tokens that its text and each clip fill."""
        tokens_left = (input_ids == self.config.audio_token_id).sum(-1).tolist()
        clip_tokens = [self.config.num_audio_tokens(n) for n in input_values_mask.sum(-1).tolist()]
        counts = [0] * len(tokens_left)
        sample = 0
        for tokens in clip_tokens:
            while tokens_left[sample] == 0:
                sample += 1
            tokens_left[sample] -= tokens
            counts[sample] += 1
        return counts

    def _expand_inputs_for_generation(
        self, expand_size=1, is_encoder_decoder=False, input_ids=None, **model_kwargs
    ):
        """Repeat samples for beams or several answers, each with its own clips in order.

        transformers repeats row by row, which turns clips A, B of one sample into A, A, B, B where
        the repeated text needs A, B, A, B.
        """
        audio_names = ("input_values", "input_values_mask", "input_features")
        audio = {name: model_kwargs.pop(name) for name in audio_names if name in model_kwargs}
        values = audio.get("input_values")
        if expand_size > 1 and values is not None:
            mask = audio.get("input_values_mask")
            mask = torch.ones_like(values) if mask is None else mask
            counts = self._clips_per_sample(input_ids, mask)
            clips = torch.arange(values.shape[0], device=values.device).split(counts)
            order = torch.cat([rows.repeat(expand_size) for rows in clips])
            audio = {name: value[order] for name, value in audio.items() if value is not None}
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        return input_ids, {**model_kwargs, **audio}


__all__ = [
    "MixingBuddyForConditionalGeneration",
    "MixingBuddyModel",
    "MixingBuddyPreTrainedModel",
]
