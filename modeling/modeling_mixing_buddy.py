"""The Mixing Buddy model: waveform encoder, level features, projector, language model."""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    ModelOutput,
)
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple, torch_compilable_check

from .assembly_mixing_buddy import MixingBuddyAssemblyMixin
from .configuration_mixing_buddy import MixingBuddyConfig, num_audio_frames, receptive_field
from .hearing_mixing_buddy import (
    MixingBuddyLayerMix,
    MixingBuddyLevelHead,
    MixingBuddyProjector,
    MixingBuddyStemMeter,
    level_loss_function,
)

#: Inputs that have a row for each clip, or each distinct one, and not for each sample.
AUDIO_INPUTS = (
    "input_values",
    "input_values_mask",
    "input_features",
    "clip_index",
    "encoder_states",
)


@dataclass
class MixingBuddyAudioOutput(BaseModelOutputWithPooling):
    r"""Output of [`MixingBuddyModel.get_audio_features`].

    Args:
        stem_readings_db (`torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`, *optional*):
            what the meter read, where the configuration asks for one; in dB relative to the
            sample's common reference.
    """

    stem_readings_db: torch.Tensor | None = None


@dataclass
class MixingBuddyModelOutputWithPast(BaseModelOutputWithPast):
    r"""Output of [`MixingBuddyModel`].

    Args:
        audio_embeds (`torch.Tensor` of shape `(num_audio_tokens, hidden_size)`, *optional*):
            Projected audio embeddings of all clips of the batch, one after another.
        stem_levels_db (`torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`, *optional*):
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
        stem_levels_db (`torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`, *optional*): of
            each of `config.level_stems` the level that the auxiliary head hears at each audio token
            and the loudness in its clip, in dB relative to the sample's common reference.
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
        elif isinstance(module, MixingBuddyStemMeter):
            init.zeros_(module.band_gains)


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

    def _encoder_is_frozen(self) -> bool:
        return not any(parameter.requires_grad for parameter in self.audio_tower.parameters())

    def train(self, mode: bool = True):
        """Switch dropout on or off; a frozen encoder is left without, so that it can be cached."""
        super().train(mode)
        if self._encoder_is_frozen():
            self.audio_tower.eval()
        return self

    def _encode_equal(self, input_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode clips of equal length."""
        frozen = self._encoder_is_frozen()
        precision = torch.autocast(input_values.device.type, enabled=False)
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not frozen),
            precision if frozen else nullcontext(),
        ):
            outputs = self.audio_tower(
                input_values.to(self.audio_tower.dtype), output_hidden_states=True, return_dict=True
            )
        # MERT's authors take the last state after the final layer norm; with pre-norm layers
        # transformers records it before that norm.
        return (*outputs.hidden_states[:-1], outputs.last_hidden_state)

    def _samples_used(self, num_samples: int) -> int:
        """Count the samples of a clip that its states depend on: strides leave some at the end."""
        config = self.config.audio_config
        # A group norm over time follows the first layer, so every output of that layer counts.
        layers = 1 if config.feat_extract_norm == "group" else len(config.conv_kernel)
        kernels, strides = config.conv_kernel[:layers], config.conv_stride[:layers]
        num_outputs = num_audio_frames(num_samples, kernels, strides)
        return receptive_field(kernels, strides) + (num_outputs - 1) * math.prod(strides)

    def encode(
        self, input_values: torch.Tensor, lengths: list[int] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Encode clips.

        The encoder's group norm runs over time, padding included: clips of unequal length are
        encoded apart, so that a clip's states do not depend on its batch. A frozen encoder computes
        in the precision of its own weights, whatever the rest is trained in: its states are the
        same in training, in inference and in a cache.

        Args:
            input_values: `torch.Tensor` of shape `(num_clips, num_samples)`, padded.
            lengths: length of each clip in samples; without it all are of full length.

        Returns:
            The encoder's `num_states` states, each of shape `(num_clips, num_frames, hidden_size)`,
            zero beyond a clip's end.
        """
        used = [self._samples_used(length) for length in lengths or input_values.shape[1:]]
        if len(set(used)) == 1:
            return self._encode_equal(input_values[:, : used[0]])
        groups, order = [], []
        for length in sorted(set(used), reverse=True):
            rows = [row for row, other in enumerate(used) if other == length]
            order += rows
            groups.append(self._encode_equal(input_values[rows, :length]))
        longest = groups[0][0].shape[1]
        place = torch.tensor(order, device=input_values.device).argsort()
        return tuple(
            torch.cat(
                [nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
            )[place]
            for parts in zip(*groups, strict=True)
        )

    def _num_frames(self, lengths: list[int] | None) -> list[int] | None:
        """Count the frames of clips of unequal length; None where all are of full length."""
        if lengths is None or len(set(lengths)) == 1:
            return None
        config = self.config.audio_config
        return [
            num_audio_frames(length, config.conv_kernel, config.conv_stride) for length in lengths
        ]

    @can_return_tuple
    def get_audio_features(
        self,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        clip_index: torch.LongTensor | None = None,
        encoder_states: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> MixingBuddyAudioOutput:
        r"""Compute audio embeddings.

        Args:
            input_values (`torch.Tensor` of shape `(num_distinct_clips, num_samples)`, *optional*):
                padded clips, each of which need be given, and is encoded, only once.
            input_values_mask (`torch.Tensor` of shape `(num_distinct_clips, num_samples)`,
                *optional*): 1 on real samples; without it every clip is taken to be of full length.
            input_features (`torch.Tensor` of shape `(num_distinct_clips, num_frames,
                num_level_bands)`, *optional*): level features, required unless
                `config.num_level_bands` is 0.
            clip_index (`torch.LongTensor` of shape `(num_clips,)`, *optional*): which of the
                distinct clips stands at each place of a clip; without it they stand in order.
            encoder_states (`torch.Tensor` of shape `(num_distinct_clips, num_states, num_frames,
                hidden_size)`, *optional*): what [`MixingBuddyModel.encode`] made of the clips,
                stacked and zero-padded, instead of `input_values`.
            output_hidden_states (`bool`, *optional*): return the encoder's states too; by default
                what its configuration says.
            kwargs: ignored.

        Returns:
            `pooler_output` of shape `(num_audio_tokens, hidden_size)`: the embeddings of all clips
            one after another, padding left out; `last_hidden_state` and, where asked for,
            `hidden_states` of the encoder, each of shape `(num_distinct_clips, num_frames,
            audio_hidden_size)`, zero beyond a clip's end; and `stem_readings_db` of a meter.

        Raises:
            ValueError: if level features are missing or not wanted, or if not just one of clips
                and encoder states is given.
        """
        if bool(self.config.num_level_bands) != (input_features is not None):
            raise ValueError(
                f"config.num_level_bands is {self.config.num_level_bands}, but input_features is "
                f"{'missing' if input_features is None else 'given'}: model and processor must "
                "come from the same checkpoint."
            )
        if (input_values is None) == (encoder_states is None):
            raise ValueError("Give either input_values or encoder_states.")
        lengths = None if input_values_mask is None else input_values_mask.sum(-1).tolist()
        if encoder_states is None:
            states = self.encode(input_values, lengths)
        else:
            states = encoder_states.unbind(1)
        # Trained parts may be kept in another precision than the frozen encoder.
        frames = self.layer_mix(states).to(self.multi_modal_projector.layers[-1].weight.dtype)
        levels = None
        if input_features is not None:
            levels = self.multi_modal_projector.encode_levels(
                input_features[:, : frames.shape[1]], self._num_frames(lengths)
            )
        token_counts = None
        if lengths is not None and len(set(lengths)) > 1:
            token_counts = [self.config.num_audio_tokens(length) for length in lengths]
        if clip_index is not None:
            # Before the projector, whose dropout is drawn for each place.
            frames = frames[clip_index]
            levels = None if levels is None else levels.select(clip_index)
            if token_counts is not None:
                token_counts = [token_counts[clip] for clip in clip_index.tolist()]
        embeds, readings_db = self.multi_modal_projector(frames, levels, token_counts)
        if output_hidden_states is None:
            output_hidden_states = self.config.audio_config.output_hidden_states
        return MixingBuddyAudioOutput(
            last_hidden_state=states[-1],
            pooler_output=_without_padding(embeds, token_counts),
            hidden_states=states if output_hidden_states else None,
            stem_readings_db=_without_padding(readings_db, token_counts),
        )

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
        # A number that only the data tell would break a graph that is being compiled in two.
        if not torch.compiler.is_compiling():
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
        clip_index: torch.LongTensor | None = None,
        encoder_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> MixingBuddyModelOutputWithPast:
        r"""Run the model; arguments as in [`MixingBuddyForConditionalGeneration.forward`]."""
        audio_embeds = stem_levels_db = None
        if input_values is not None or encoder_states is not None:
            heard = self.get_audio_features(
                input_values,
                input_values_mask,
                input_features,
                clip_index,
                encoder_states,
                return_dict=True,
            )
            audio_embeds = heard.pooler_output
            stem_levels_db = self.level_head(audio_embeds, heard.stem_readings_db)
            if input_ids is None and inputs_embeds is None:
                return MixingBuddyModelOutputWithPast(
                    audio_embeds=audio_embeds, stem_levels_db=stem_levels_db
                )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if audio_embeds is not None:
            audio_embeds = audio_embeds.to(inputs_embeds)
        mask = None
        # Without audio there must be no placeholder; but a compiled graph, as is made for the steps
        # after the prompt, can't stop to look.
        looks = input_ids is not None and not torch.compiler.is_compiling()
        if looks or audio_embeds is not None:
            mask = self.get_placeholder_mask(input_ids, inputs_embeds, audio_embeds)
        if audio_embeds is not None:
            inputs_embeds = inputs_embeds.masked_scatter(mask.unsqueeze(-1), audio_embeds)
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


def _without_padding(
    values: torch.Tensor | None, token_counts: list[int] | None
) -> torch.Tensor | None:
    """Put what stands at the tokens of clips one after another, padding left out."""
    if values is None or token_counts is None:
        return None if values is None else values.flatten(0, 1)
    return torch.cat([of_clip[:n] for of_clip, n in zip(values, token_counts, strict=True)])


class MixingBuddyForConditionalGeneration(
    MixingBuddyAssemblyMixin, MixingBuddyPreTrainedModel, GenerationMixin
):
    """Mixing Buddy with a language-model head."""

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.weight": "model.language_model.embed_tokens.weight"
    }
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012

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

    def get_audio_features(self, *args, **kwargs) -> MixingBuddyAudioOutput:
        """Compute audio embeddings: see [`MixingBuddyModel.get_audio_features`]."""
        return self.model.get_audio_features(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        clip_index: torch.LongTensor | None = None,
        encoder_states: torch.Tensor | None = None,
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
        r"""Run the model on text and audio, or on audio alone.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                tokens, with one audio token at each position that an audio embedding fills. Without
                any text the clips are heard and the language model is not run: what comes back is
                `stem_levels_db`, `audio_embeds` and, with labels for them, the level loss.
            input_values (`torch.Tensor` of shape `(num_distinct_clips, num_samples)`, *optional*):
                clips of the whole batch in order of their placeholders; with `clip_index` each
                distinct clip once.
            input_values_mask (`torch.Tensor` of shape `(num_distinct_clips, num_samples)`,
                *optional*): 1 on real samples; not needed where all clips are of full length.
            input_features (`torch.Tensor` of shape `(num_distinct_clips, num_frames,
                num_level_bands)`, *optional*): level features.
            clip_index (`torch.LongTensor` of shape `(num_clips,)`, *optional*): which of the
                distinct clips fills each placeholder.
            encoder_states (`torch.Tensor` of shape `(num_distinct_clips, num_states, num_frames,
                hidden_size)`, *optional*): states of a frozen encoder, computed before, instead
                of `input_values`.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                0 on padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                positions.
            past_key_values (`Cache`, *optional*): states of earlier positions.
            inputs_embeds (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`,
                *optional*): embeddings instead of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): tokens
                to learn, -100 elsewhere.
            stem_levels_labels_db (`torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`,
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
            clip_index=clip_index,
            encoder_states=encoder_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        if outputs.last_hidden_state is None:
            level_loss = None
            if stem_levels_labels_db is not None:
                level_loss = level_loss_function(outputs.stem_levels_db, stem_levels_labels_db)
            return MixingBuddyCausalLMOutputWithPast(
                loss=level_loss,
                level_loss=level_loss,
                stem_levels_db=outputs.stem_levels_db,
                audio_embeds=outputs.audio_embeds,
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

    def _clips_per_sample(self, input_ids: torch.LongTensor, clip_tokens: list[int]) -> list[int]:
        """Count the clips of each sample from the tokens that its text and each clip fill."""
        tokens_left = (input_ids == self.config.audio_token_id).sum(-1).tolist()
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
        the repeated text needs A, B, A, B. The clips themselves are not repeated, only named again.
        """
        audio = {name: model_kwargs.pop(name) for name in AUDIO_INPUTS if name in model_kwargs}
        values, states = audio.get("input_values"), audio.get("encoder_states")
        if expand_size > 1 and (values is not None or states is not None):
            clips = states if values is None else values
            mask, index = audio.get("input_values_mask"), audio.get("clip_index")
            if index is None:
                index = torch.arange(clips.shape[0], device=clips.device)
            if mask is not None:
                lengths = mask.sum(-1)[index].tolist()
                clip_tokens = [self.config.num_audio_tokens(length) for length in lengths]
            elif values is not None:
                clip_tokens = [self.config.num_audio_tokens(values.shape[1])] * len(index)
            else:
                clip_tokens = [-(-states.shape[2] // self.config.pooling_factor)] * len(index)
            counts = self._clips_per_sample(input_ids, clip_tokens)
            audio["clip_index"] = torch.cat(
                [clips.repeat(expand_size) for clips in index.split(counts)]
            )
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size,
            is_encoder_decoder=is_encoder_decoder,
            input_ids=input_ids,
            **model_kwargs,
        )
        return input_ids, {**model_kwargs, **audio}

    def prepare_inputs_for_generation(
        self, input_ids, inputs_embeds=None, is_first_iteration=False, **kwargs
    ) -> dict:
        """Hand the audio over with the prompt alone: later tokens find it in the cache."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and inputs.get("use_cache", True):
            for name in AUDIO_INPUTS:
                inputs.pop(name, None)
        return inputs


__all__ = [
    "MixingBuddyForConditionalGeneration",
    "MixingBuddyModel",
    "MixingBuddyPreTrainedModel",
]
