"""Configuration of the Mixing Buddy model."""

import math
from collections.abc import Sequence

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

#: Level features are (dB - FEATURE_CENTRE_DB) / FEATURE_SCALE_DB, floored at FEATURE_FLOOR_DB:
#: constants, not statistics, so that a feature means the same level in every clip.
FEATURE_FLOOR_DB = -80.0
FEATURE_CENTRE_DB = -35.0
FEATURE_SCALE_DB = 15.0


def num_audio_frames(
    num_samples: int, conv_kernel: Sequence[int], conv_stride: Sequence[int]
) -> int:
    """Count the frames that the encoder's convolutions make of a clip.

    Args:
        num_samples: length of the clip in samples.
        conv_kernel: kernel sizes of the convolutional front end.
        conv_stride: strides of the convolutional front end.

    Returns:
        The number of frames, at least 0.
    """
    length = num_samples
    for kernel, stride in zip(conv_kernel, conv_stride, strict=True):
        length = (length - kernel) // stride + 1 if length >= kernel else 0
    return length


def receptive_field(conv_kernel: Sequence[int], conv_stride: Sequence[int]) -> int:
    """Return the number of samples that one frame sees, the shortest clip that can be encoded."""
    field, step = 1, 1
    for kernel, stride in zip(conv_kernel, conv_stride, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def num_audio_tokens(
    num_samples: int,
    *,
    conv_kernel: Sequence[int],
    conv_stride: Sequence[int],
    pooling_factor: int,
) -> int:
    """Count the language-model positions that one clip fills.

    The only place where this number is computed: the processor expands its placeholders by it,
    the model pools its frames by it, and the model raises where the two disagree.

    Args:
        num_samples: length of the clip in samples; clips shorter than the receptive field count
            as that long, because the feature extractor pads them.
        conv_kernel: kernel sizes of the encoder's convolutional front end.
        conv_stride: strides of the encoder's convolutional front end.
        pooling_factor: consecutive frames joined into one token.

    Returns:
        The number of audio tokens, at least 1.
    """
    num_samples = max(num_samples, receptive_field(conv_kernel, conv_stride))
    frames = num_audio_frames(num_samples, conv_kernel, conv_stride)
    return -(-frames // pooling_factor)


@strict
class MixingBuddyConfig(PreTrainedConfig):
    r"""Configuration of Mixing Buddy: encoder, projector and language model.

    Args:
        audio_config (`HubertConfig` or `dict`, *optional*):
            The waveform encoder. MERT has HuBERT's structure, so any MERT size is a `HubertConfig`.
        text_config (`PreTrainedConfig` or `dict`, *optional*, defaults to a `Qwen2Config`):
            Any causal language model of transformers.
        audio_token_id (`int`): id of the placeholder token that audio embeddings replace.
        num_level_bands (`int`, defaults to 64):
            Bands of the level features (log energies in dB relative to the sample's common
            reference) that stand beside the encoder's states, which forget level; 0 turns them off.
        level_fft_size (`int`, defaults to 2048): samples that each level feature sees.
        level_encoder_channels (`list[int]`, *optional*): channels of the convolutions over the
            level features, along time and frequency, before they join the encoder's states; by
            default none, and the features join as they are.
        level_encoder_strides (`list[int]`, *optional*): stride along time of each of these
            convolutions; their product divides `pooling_factor`. Along frequency it is 2.
        meter_channels (`int`, defaults to 0): channels of the network that shares the power of the
            level features out among the stems, whose loudness is then measured rather than guessed
            (see `MixingBuddyStemMeter`); 0 for none. It needs `level_encoder_channels`.
        num_context_layers (`int`, defaults to 0): attention layers over the audio tokens of a clip,
            in both directions, between projector and language model.
        num_context_heads (`int`, defaults to 4): attention heads of each of them.
        context_mlp_size (`int`, defaults to 768): width of the MLP in each of them.
        context_dropout (`float`, defaults to 0.1): dropout in each of them.
        pooling_factor (`int`, defaults to 10): consecutive encoder frames joined into one token.
        projector_hidden_sizes (`list[int]`): widths of the projector's hidden layers.
        projector_dropouts (`list[float]`): dropout after each hidden layer, one for each.
        projector_hidden_act (`str`, defaults to `"gelu"`): activation after each hidden layer.
        level_stems (`list[str]`): stems whose level the auxiliary head predicts.
        level_loss_weight (`float`, defaults to 0.05):
            Weight of the auxiliary level loss, which drives gradient into the projector.
        trained_modes (`list[str]`, *optional*): modes of the dataset that the answers were learnt
            from, such as `"single_mix"` and `"stems"`; it says what the model can be asked about.
        initializer_range (`float`, defaults to 0.02): standard deviation of initial weights.
        audio_name_or_path (`str`, *optional*): Hub id or folder that the encoder came from.
        audio_revision (`str`, *optional*): its commit, or a fingerprint of the folder's weights.
        text_name_or_path (`str`, *optional*): Hub id or folder that the language model came from.
        text_revision (`str`, *optional*): its commit, or a fingerprint of the folder's weights.
    """

    model_type = "mixing_buddy"
    sub_configs_defaults = {  # noqa: RUF012 (transformers reads a plain dict)
        "audio_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="hubert",
            # A dropped or masked layer would shorten or blur the states that the layer mix sums.
            init_kwargs={"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0},
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
    }

    audio_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    audio_token_id: int = 151646
    num_level_bands: int = 64
    level_fft_size: int = 2048
    level_encoder_channels: list[int] | tuple[int, ...] = ()
    level_encoder_strides: list[int] | tuple[int, ...] = ()
    meter_channels: int = 0
    num_context_layers: int = 0
    num_context_heads: int = 4
    context_mlp_size: int = 768
    context_dropout: float | int = 0.1
    pooling_factor: int = 10
    projector_hidden_sizes: list[int] | tuple[int, ...] = (2048, 4096, 4096, 2048)
    projector_dropouts: list[float] | tuple[float, ...] = (0.3, 0.2, 0.1, 0.1)
    projector_hidden_act: str = "gelu"
    level_stems: list[str] | tuple[str, ...] = ("bass", "drums", "other", "vocals")
    level_loss_weight: float | int = 0.05
    trained_modes: list[str] | tuple[str, ...] | None = None
    initializer_range: float = 0.02
    audio_name_or_path: str | None = None
    audio_revision: str | None = None
    text_name_or_path: str | None = None
    text_revision: str | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        if isinstance(self.audio_config, dict):
            defaults = self.sub_configs_defaults["audio_config"].init_kwargs
            self.audio_config = {**defaults, **self.audio_config}
        super().__post_init__(**kwargs)
        # Only the top-level switch counts for tying, so it follows the language model's.
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        # `save_pretrained` writes only the class saved; the others load the same folder too.
        self.auto_map = {
            "AutoConfig": "configuration_mixing_buddy.MixingBuddyConfig",
            **{
                auto: "modeling_mixing_buddy.MixingBuddyForConditionalGeneration"
                for auto in ("AutoModel", "AutoModelForCausalLM", "AutoModelForMultimodalLM")
            },
        }

    def validate_architecture(self):
        """Check what the parts must agree on; raises `ValueError` naming the field."""
        if len(self.projector_dropouts) != len(self.projector_hidden_sizes):
            raise ValueError(
                f"projector_dropouts has {len(self.projector_dropouts)} values and "
                f"projector_hidden_sizes {len(self.projector_hidden_sizes)}: give one dropout for "
                "each hidden layer."
            )
        if self.pooling_factor < 1:
            raise ValueError(f"pooling_factor is {self.pooling_factor}: it must be 1 or more.")
        channels, strides = self.level_encoder_channels, self.level_encoder_strides
        if len(channels) != len(strides):
            raise ValueError(
                f"level_encoder_channels has {len(channels)} values and level_encoder_strides "
                f"{len(strides)}: give one stride for each layer."
            )
        if channels and not self.num_level_bands:
            raise ValueError(
                "level_encoder_channels is set, but num_level_bands is 0: without level features "
                "there is nothing to encode."
            )
        if self.meter_channels and not channels:
            raise ValueError(
                f"meter_channels is {self.meter_channels}, but level_encoder_channels is empty: "
                "the meter listens to what the level encoder makes of the level features."
            )
        if self.pooling_factor % math.prod(strides):
            raise ValueError(
                f"level_encoder_strides multiply to {math.prod(strides)}, which does not divide "
                f"pooling_factor, {self.pooling_factor}."
            )
        if self.num_context_layers and self.text_config.hidden_size % self.num_context_heads:
            raise ValueError(
                f"num_context_heads is {self.num_context_heads}, which does not divide the "
                f"language model's width, {self.text_config.hidden_size}."
            )

    @property
    def level_encoder_size(self) -> int:
        """Numbers that a step of the level encoder has; without it, of a frame."""
        if not self.level_encoder_channels:
            return self.num_level_bands
        # Every layer halves the bands.
        bands = -(-self.num_level_bands // 2 ** len(self.level_encoder_channels))
        return self.level_encoder_channels[-1] * bands

    def num_audio_tokens(self, num_samples: int) -> int:
        """Count the language-model positions that a clip of `num_samples` samples fills."""
        return num_audio_tokens(
            num_samples,
            conv_kernel=self.audio_config.conv_kernel,
            conv_stride=self.audio_config.conv_stride,
            pooling_factor=self.pooling_factor,
        )


__all__ = ["MixingBuddyConfig"]
