"""What Mixing Buddy hears with: layer mix, level encoder, projector, context, meter, level head."""

import math
from typing import NamedTuple

import torch
from torch import nn
from transformers.activations import ACT2FN

from .configuration_mixing_buddy import FEATURE_CENTRE_DB, FEATURE_SCALE_DB, MixingBuddyConfig

#: The level head predicts levels in dB divided by this, so that its targets are of order 1.
LEVEL_SCALE_DB = 10.0

#: The meter reads no stem as quieter than this, in dB relative to the sample's reference: nobody
#: hears how far an inaudible stem is down, and the level head is not taught it.
METER_FLOOR_DB = -30.0

#: Stretches this far below the mean power don't count in a clip's loudness (ITU-R BS.1770-4).
RELATIVE_GATE_DB = -10.0


class LevelStates(NamedTuple):
    """What is made of the level features of clips before their places are known.

    Args:
        steps: `torch.Tensor` of shape `(num_clips, num_steps, level_encoder_size)`: the level
            encoder's states, or the level features themselves where there is none.
        maps: `torch.Tensor` of shape `(num_clips, num_channels, num_map_steps, num_map_bands)`:
            what the level encoder's last layer listens to; None without a meter.
        powers: `torch.Tensor` of shape `(num_clips, num_map_steps, num_map_bands)`: the power at
            each place of the maps, weighted by what it adds to loudness; None without a meter.
    """

    steps: torch.Tensor
    maps: torch.Tensor | None = None
    powers: torch.Tensor | None = None

    def select(self, clip_index: torch.LongTensor) -> "LevelStates":
        """Return the states of the clips at each place."""
        return LevelStates(*(None if part is None else part[clip_index] for part in self))


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
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode level features.

        Args:
            input_features: `torch.Tensor` of shape `(num_clips, max_frames, num_level_bands)`.
            num_frames: frames of each clip; without it all have the full number. Nothing of a clip
                depends on what stands beyond its end.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_steps, config.level_encoder_size)`, a step
            being as many frames as the strides along time multiply to; and what the last layer
            made that of, of shape `(num_clips, num_channels, num_map_steps, num_map_bands)`, zero
            beyond a clip's end.
        """
        states = maps = input_features.unsqueeze(1)
        for stride, layer in zip(self.time_strides, self.layers, strict=True):
            if num_frames is not None:
                steps = torch.arange(states.shape[2], device=states.device)
                ends = torch.tensor(num_frames, device=states.device)
                inside = steps[None, :] < ends[:, None]
                states = states * inside[:, None, :, None].to(states)
                num_frames = [-(-count // stride) for count in num_frames]
            maps = states
            kernel = layer.kernel_size[0]
            missing = (-(-states.shape[2] // stride) - 1) * stride + kernel - states.shape[2]
            left = min(missing, (kernel - stride) // 2)
            states = nn.functional.pad(states, (0, 0, left, missing - left))
            states = self.activation(layer(states))
        return states.transpose(1, 2).flatten(2), maps


class MixingBuddyStemMeter(nn.Module):
    """Shares the power of a clip out among the stems and reads what falls to each, in dB.

    A network that names loudness has to learn logarithms, sums over time and gates by example;
    one that only says which stem a sound belongs to leaves the measuring to arithmetic. So masks,
    one a stem, are made at each step and band of the level encoder's maps, of what is heard there
    and of the whole context of the stretch; they add up to 1 over the stems. Power times mask is
    summed over bands, averaged over each audio token and, gated as loudness is, over the clip.

    What is read joins the audio embeddings, and the level head only has to correct it.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__()
        size = config.text_config.hidden_size
        self.num_stems = len(config.level_stems)
        map_channels = [1, *config.level_encoder_channels][-2]
        time_strides = config.level_encoder_strides[:-1]
        self.frames_per_step = math.prod(time_strides)
        self.bands_per_group = 2 ** len(time_strides)
        self.num_groups = -(-config.num_level_bands // self.bands_per_group)
        self.steps_per_token = config.pooling_factor // self.frames_per_step
        #: What a band adds to loudness, in units of `LEVEL_SCALE_DB`.
        self.band_gains = nn.Parameter(torch.zeros(config.num_level_bands))
        self.local_proj = nn.Conv2d(map_channels, config.meter_channels, 3, padding=1)
        self.context_proj = nn.Linear(size, config.meter_channels * self.num_groups)
        self.activation = ACT2FN[config.projector_hidden_act]
        self.mask_proj = nn.Conv2d(config.meter_channels, self.num_stems, 1)
        self.up_proj = nn.Linear(3 * self.num_stems, config.context_mlp_size)
        self.down_proj = nn.Linear(config.context_mlp_size, size)
        self.skip_proj = nn.Linear(3 * self.num_stems, size, bias=False)

    def powers(
        self, input_features: torch.Tensor, num_frames: list[int] | None = None
    ) -> torch.Tensor:
        """Turn level features back into power, grouped as the level encoder's maps are.

        Args:
            input_features: `torch.Tensor` of shape `(num_clips, max_frames, num_level_bands)`.
            num_frames: frames of each clip; without it all have the full number.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_map_steps, num_map_bands)` in float32,
            relative to the power of the sample's common reference, 0 beyond a clip's end.
        """
        levels_db = input_features.float() * FEATURE_SCALE_DB + FEATURE_CENTRE_DB
        powers = _from_db(levels_db + self.band_gains.float() * LEVEL_SCALE_DB)
        if num_frames is not None:
            frames = torch.arange(powers.shape[1], device=powers.device)
            ends = torch.tensor(num_frames, device=powers.device)
            powers = powers * (frames[None, :] < ends[:, None])[:, :, None]
        num_steps = -(-powers.shape[1] // self.frames_per_step)
        missing = (
            self.num_groups * self.bands_per_group - powers.shape[2],
            num_steps * self.frames_per_step - powers.shape[1],
        )
        powers = nn.functional.pad(powers, (0, missing[0], 0, missing[1]))
        powers = powers.unflatten(2, (self.num_groups, -1)).sum(-1)
        return powers.unflatten(1, (num_steps, -1)).mean(2)

    def forward(
        self, embeds: torch.Tensor, levels: LevelStates, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure.

        Args:
            embeds: `torch.Tensor` of shape `(num_clips, num_tokens, hidden_size)`.
            levels: with maps and powers of the same clips.
            attention_mask: `torch.Tensor` of shape `(num_clips, 1, 1, num_tokens)`, True on the
                tokens of each clip; None where all clips are of full length.

        Returns:
            What is added to `embeds`, of its shape; and `torch.Tensor` of shape `(num_clips,
            num_tokens, 2, num_stems)`: level of each stem in a token's stretch of the clip, and
            its gated loudness in the whole clip, in dB relative to the sample's common reference.
        """
        num_tokens, num_steps = embeds.shape[1], levels.maps.shape[2]
        context = self.context_proj(embeds).unflatten(-1, (-1, self.num_groups)).transpose(1, 2)
        context = context.repeat_interleave(self.steps_per_token, dim=2)[:, :, :num_steps]
        heard = self.activation(self.local_proj(levels.maps) + context)
        masks = torch.softmax(self.mask_proj(heard).float(), dim=1)
        with torch.autocast(embeds.device.type, enabled=False):
            powers = (masks * levels.powers.unsqueeze(1)).sum(-1).transpose(1, 2)
            powers = _join(powers, num_tokens, self.steps_per_token)
            powers = powers.unflatten(-1, (self.steps_per_token, -1)).mean(2)
            inside = torch.ones_like(powers)
            if attention_mask is not None:
                inside = inside * attention_mask[:, 0, 0, :, None]
            mean = _weighted_mean(powers, inside)
            passes = inside * (powers >= mean * 10.0 ** (RELATIVE_GATE_DB / 10.0))
            gated = _weighted_mean(powers, passes)
            readings_db = [_to_db(part).expand_as(powers) for part in (powers, gated, mean)]
        scaled = (torch.cat(readings_db, dim=-1) / LEVEL_SCALE_DB).to(embeds.dtype)
        added = self.skip_proj(scaled) + self.down_proj(self.activation(self.up_proj(scaled)))
        return added, torch.stack(readings_db[:2], dim=2)


def _from_db(levels_db: torch.Tensor) -> torch.Tensor:
    """Turn dB into power."""
    return torch.exp(levels_db * (math.log(10.0) / 10.0))


def _to_db(powers: torch.Tensor) -> torch.Tensor:
    """Turn power into dB, no less than `METER_FLOOR_DB`."""
    return 10.0 * torch.log10(powers.clamp(min=10.0 ** (METER_FLOOR_DB / 10.0)))


def _weighted_mean(powers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Average over tokens, with a weight of 0 or 1 each; 0 where none counts."""
    return (powers * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)


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
    convolutions over the level features before it, attention within each clip after it and a meter
    at the end where the configuration asks for them.
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
        self.meter = MixingBuddyStemMeter(config) if config.meter_channels else None

    def encode_levels(
        self, input_features: torch.Tensor, num_frames: list[int] | None = None
    ) -> LevelStates:
        """Return what `forward` takes of level features.

        Args:
            input_features: `torch.Tensor` of shape `(num_clips, max_frames, num_level_bands)`.
            num_frames: frames of each clip; without it all have the full number.
        """
        features = input_features.to(self.layers[-1].weight)
        if self.level_encoder is None:
            return LevelStates(features)
        steps, maps = self.level_encoder(features, num_frames)
        if self.meter is None:
            return LevelStates(steps)
        powers = self.meter.powers(input_features.to(steps.device), num_frames)
        return LevelStates(steps, maps, powers)

    def forward(
        self,
        frames: torch.Tensor,
        levels: LevelStates | None = None,
        token_counts: list[int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Project frames.

        Args:
            frames: `torch.Tensor` of shape `(num_clips, num_frames, frame_size)`.
            levels: what [`MixingBuddyProjector.encode_levels`] made of the same clips; None
                without level features.
            token_counts: tokens of each clip; None where all clips are of full length.

        Returns:
            `torch.Tensor` of shape `(num_clips, ceil(num_frames / pooling_factor), hidden_size)`;
            the last group is filled up with zeros. And what the meter read, see
            [`MixingBuddyStemMeter`]; None without a meter.
        """
        num_tokens = -(-frames.shape[1] // self.pooling_factor)
        joined = _join(frames, num_tokens, self.pooling_factor)
        if levels is not None:
            steps = _join(levels.steps, num_tokens, self.steps_per_token)
            joined = torch.cat([joined, steps.to(joined)], dim=-1)
        embeds = self.layers(joined)
        mask = None
        if token_counts is not None:
            places = torch.arange(num_tokens, device=embeds.device)
            counts = torch.tensor(token_counts, device=embeds.device)
            mask = (places[None, :] < counts[:, None])[:, None, None, :]
        for layer in self.context_layers:
            embeds = layer(embeds, mask)
        if self.meter is None:
            return embeds, None
        added, readings_db = self.meter(embeds, levels, mask)
        return embeds + added, readings_db


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
    clip is what balance is about. Where a meter reads levels, the head corrects what it reads.
    """

    def __init__(self, config: MixingBuddyConfig):
        super().__init__(config.text_config.hidden_size, 2 * len(config.level_stems))
        self.num_stems = len(config.level_stems)

    def forward(
        self, audio_embeds: torch.Tensor, readings_db: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predict levels.

        Args:
            audio_embeds: `torch.Tensor` of shape `(num_audio_tokens, hidden_size)`.
            readings_db: `torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`, what the meter
                read; None without a meter.

        Returns:
            `torch.Tensor` of shape `(num_audio_tokens, 2, num_stems)`: of each of
            `config.level_stems` the level in the token's stretch of the clip and the loudness in
            the whole clip, in dB relative to the sample's common reference.
        """
        # A head kept in float32 may stand beside a language model in half precision.
        levels = super().forward(audio_embeds.to(self.weight.dtype)) * LEVEL_SCALE_DB
        levels = levels.unflatten(-1, (2, self.num_stems))
        return levels if readings_db is None else levels + readings_db


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
