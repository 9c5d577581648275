"""What Mixing Buddy hears with: layer mix, level encoder, projector, context, level head."""

import math

import torch
from torch import nn
from transformers.activations import ACT2FN

from .configuration_mixing_buddy import MixingBuddyConfig

#: The level head predicts levels in dB divided by this, so that its targets are of order 1.
LEVEL_SCALE_DB = 10.0


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


class MixingBuddyLevelEncoder(nn.Module):
    """Convolutions over level features, along time and frequency.

    What an instrument sounds like is a pattern of a few bands and frames that stands higher or
    lower with its pitch and sooner or later with the music, so weights are shared along both.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__()
        self.time_strides = list(config.level_encoder_strides)
        channels = [1, *config.level_encoder_channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(
                channels[layer],
                channels[layer + 1],
                # Along time a layer sees at least its neighbours, along frequency five bands.
                kernel_size=(max(stride, 3), 5),
                stride=(stride, 2),
                padding=(0, 2),
            )
            for layer, stride in enumerate(self.time_strides)
        )
        self.activation = ACT2FN[config.projector_hidden_act]

    def forward(
        self, input_features: torch.Tensor, num_frames: list[int] | None = None
    ) -> torch.Tensor:
        """Encode level features.

        Args:
            input_features: `torch.Tensor` of shape `(num_clips, max_frames, num_level_bands)`.
            num_frames: frames of each clip; without it all have the full number. Nothing of a clip
                depends on what stands beyond its end.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_steps, config.level_encoder_size)`, a step
            being as many frames as the strides along time multiply to.
        """
        states = input_features.unsqueeze(1)
        for stride, layer in zip(self.time_strides, self.layers, strict=True):
            if num_frames is not None:
                steps = torch.arange(states.shape[2], device=states.device)
                ends = torch.tensor(num_frames, device=states.device)
                inside = steps[None, :] < ends[:, None]
                states = states * inside[:, None, :, None].to(states)
                num_frames = [-(-count // stride) for count in num_frames]
            kernel = layer.kernel_size[0]
            missing = (-(-states.shape[2] // stride) - 1) * stride + kernel - states.shape[2]
            left = min(missing, (kernel - stride) // 2)
            states = nn.functional.pad(states, (0, 0, left, missing - left))
            states = self.activation(layer(states))
        return states.transpose(1, 2).flatten(2)


class MixingBuddyContextLayer(nn.Module):
    """Lets every stretch of a clip hear the others: attention and an MLP, both with residuals.

    How loud a part stands is clearer with what it plays before and after. A causal language model
    hears only what came before, and the level head's gradient ends before it.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__()
        size = config.text_config.hidden_size
        self.num_heads = config.num_context_heads
        self.attention_norm = nn.LayerNorm(size)
        self.qkv_proj = nn.Linear(size, 3 * size)
        self.out_proj = nn.Linear(size, size)
        self.mlp_norm = nn.LayerNorm(size)
        self.up_proj = nn.Linear(size, config.context_mlp_size)
        self.down_proj = nn.Linear(config.context_mlp_size, size)
        self.activation = ACT2FN[config.projector_hidden_act]
        self.dropout = nn.Dropout(config.context_dropout)

    def forward(
        self, states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Add context.

        Args:
            states: `torch.Tensor` of shape `(num_clips, num_tokens, hidden_size)`.
            attention_mask: `torch.Tensor` of shape `(num_clips, 1, 1, num_tokens)`, True on the
                tokens of each clip; None where all clips are of full length.

        Returns:
            `torch.Tensor` of the same shape as `states`.
        """
        heads = self.qkv_proj(self.attention_norm(states)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        heard = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask
        )
        states = states + self.dropout(self.out_proj(heard.transpose(1, 2).flatten(2)))
        inner = self.activation(self.up_proj(self.mlp_norm(states)))
        return states + self.dropout(self.down_proj(inner))


class MixingBuddyProjector(nn.Module):
    """Joins what is heard in each stretch of a clip and maps it to the language model's width.

    An MLP with activation, layer norm and dropout after each hidden layer and no residuals, with
    convolutions over the level features before it and attention within each clip after it where the
    configuration asks for them.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__()
        self.pooling_factor = config.pooling_factor
        frame_size = config.audio_config.hidden_size
        # The level encoder's strides have joined some frames already.
        self.steps_per_token = config.pooling_factor // math.prod(config.level_encoder_strides)
        joined_size = (
            frame_size * config.pooling_factor + config.level_encoder_size * self.steps_per_token
        )
        sizes = [joined_size, *config.projector_hidden_sizes]
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
        self.level_encoder = (
            MixingBuddyLevelEncoder(config) if config.level_encoder_channels else None
        )
        self.layers = nn.Sequential(*layers)
        self.context_layers = nn.ModuleList(
            MixingBuddyContextLayer(config) for _ in range(config.num_context_layers)
        )

    def encode_levels(
        self, input_features: torch.Tensor, num_frames: list[int] | None = None
    ) -> torch.Tensor:
        """Return what `forward` takes of level features; see [`MixingBuddyLevelEncoder`]."""
        if self.level_encoder is None:
            return input_features
        return self.level_encoder(input_features, num_frames)

    def forward(
        self,
        frames: torch.Tensor,
        level_states: torch.Tensor | None = None,
        token_counts: list[int] | None = None,
    ) -> torch.Tensor:
        """Project frames.

        Args:
            frames: `torch.Tensor` of shape `(num_clips, num_frames, frame_size)`.
            level_states: `torch.Tensor` of shape `(num_clips, num_steps, level_encoder_size)`, what
                [`MixingBuddyProjector.encode_levels`] made of the same clips; None without level
                features.
            token_counts: tokens of each clip; None where all clips are of full length.

        Returns:
            `torch.Tensor` of shape `(num_clips, ceil(num_frames / pooling_factor), hidden_size)`;
            the last group is filled up with zeros.
        """
        num_tokens = -(-frames.shape[1] // self.pooling_factor)
        joined = _join(frames, num_tokens, self.pooling_factor)
        if level_states is not None:
            levels = _join(level_states, num_tokens, self.steps_per_token)
            joined = torch.cat([joined, levels.to(joined)], dim=-1)
        embeds = self.layers(joined)
        mask = None
        if token_counts is not None and len(self.context_layers):
            places = torch.arange(num_tokens, device=embeds.device)
            counts = torch.tensor(token_counts, device=embeds.device)
            mask = (places[None, :] < counts[:, None])[:, None, None, :]
        for layer in self.context_layers:
            embeds = layer(embeds, mask)
        return embeds


def _join(states: torch.Tensor, num_tokens: int, count: int) -> torch.Tensor:
    """Join `count` states for each of `num_tokens` tokens, filled up with zeros."""
    states = nn.functional.pad(states, (0, 0, 0, num_tokens * count - states.shape[1]))
    return states.reshape(states.shape[0], num_tokens, -1)


class MixingBuddyLevelHead(nn.Linear):
    """Predicts from each audio embedding how loud every stem is, there and in the whole clip.

    The strong form of the auxiliary loss. It reads the projector's output directly, so its gradient
    reaches the projector without passing through the language model, where the published system's
    vanished; it is linear, so what it reads is easy for the language model to read too; and it has
    targets for every stem at every audio token, where the answer has one for a whole clip. Levels
    in the stretch that a token covers teach what each stem sounds like; the loudness in the whole
    clip is what balance is about.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__(config.text_config.hidden_size, 2 * len(config.level_stems))
        self.num_stems = len(config.level_stems)

    def forward(self, audio_embeds: torch.Tensor) -> torch.Tensor:
        """Predict levels.

        Args:
            audio_embeds: `torch.Tensor` of shape `(num_audio_tokens, hidden_size)`.

        Returns:
            `torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`: of each of
            `config.level_stems` the level in the token's stretch of the clip and the loudness in
            the whole clip, in dB relative to the sample's common reference.
        """
        # A head kept in float32 may stand beside a language model in half precision.
        levels = super().forward(audio_embeds.to(self.weight.dtype)) * LEVEL_SCALE_DB
        return levels.unflatten(-1, (2, self.num_stems))


def level_loss_function(
    stem_levels_db: torch.Tensor, stem_levels_labels_db: torch.Tensor
) -> torch.Tensor:
    """Return the mean squared error of predicted levels, in units of `LEVEL_SCALE_DB` squared.

    Args:
        stem_levels_db: `torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`, predictions of
            `MixingBuddyLevelHead`.
        stem_levels_labels_db: `torch.Tensor` of the same shape, true levels in dB, NaN where
            unknown.
    """
    known = ~torch.isnan(stem_levels_labels_db)
    labels_db = torch.where(known, stem_levels_labels_db, 0.0)
    error = (stem_levels_db.float() - labels_db) / LEVEL_SCALE_DB
    return (error.square() * known).sum() / known.sum().clamp(min=1)
