"""The model to train, and the adapter trained in its place."""

from __future__ import annotations

from peft import LoraConfig
from trl import ModelConfig, get_quantization_config

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.model_names import check_model_name
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.modeling.assembly_mixing_buddy import quantization_settings
from mixing_buddy.presets import PRESETS
from mixing_buddy.training.arguments import ModelArguments

#: Every linear layer of the language model, and none of the audio encoder's, which share suffixes.
LORA_TARGETS = (
    r".*language_model\.layers\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)

#: Parts that start untrained and are trained in full beside the adapter.
TRAINED_IN_FULL = ["multi_modal_projector", "layer_mix", "level_head"]


def build_model(model_args: ModelArguments):
    """Build a preset, or load a folder or Hub id.

    Returns:
        Model and processor.

    Raises:
        MixingBuddyError: if a part can't be loaded, or a loaded model is asked to change its shape.
    """
    name = model_args.model_name_or_path
    if name == "nano":
        model, processor = PRESETS[name](**model_args.config_fields())
        if model_args.attn_implementation is not None:
            model.set_attn_implementation(model_args.attn_implementation)
        return model, processor
    dtype = model_args.dtype or "auto"
    quantization_config = get_quantization_config(model_args)
    if name in PRESETS:
        parts = {
            "audio": model_args.audio_name_or_path,
            "audio_revision": model_args.audio_revision,
            "text": model_args.text_name_or_path,
            "text_revision": model_args.text_revision,
        }
        return PRESETS[name](
            dtype=dtype,
            quantization=quantization_config,
            attn_implementation=model_args.attn_implementation,
            **{part: value for part, value in parts.items() if value is not None},
            **model_args.config_fields(),
        )
    if model_args.config_fields():
        raise MixingBuddyError(
            f"{next(iter(model_args.config_fields()))} shapes a new model, and {name} has its shape"
            " already: leave it out, or start from a preset."
        )
    check_model_name(name)
    model = MixingBuddyForConditionalGeneration.from_pretrained(
        name,
        revision=model_args.model_revision,
        dtype=dtype,
        quantization_config=quantization_settings(quantization_config),
        attn_implementation=model_args.attn_implementation,
    )
    return model, MixingBuddyProcessor.from_pretrained(name, revision=model_args.model_revision)


def lora_config(model_args: ModelConfig) -> LoraConfig | None:
    """Return the adapter's configuration, None for full training."""
    if not model_args.use_peft:
        return None
    return LoraConfig(
        r=model_args.lora_r,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=TRAINED_IN_FULL,
        task_type="CAUSAL_LM",
    )


def keep_trainables_in_float32(model) -> None:
    """Undo TRL's cast of a quantised model's trainable weights to bfloat16.

    The new parts are trained from scratch, where bfloat16's steps are too coarse; autocast brings
    them to the precision of the computation.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
