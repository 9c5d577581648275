"""Puts a model together from a MERT encoder and a causal language model, by Hub id or folder."""

from __future__ import annotations

from typing import Any

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.tokenization import AUDIO_TOKEN

#: Fields of a MERT configuration that change the computation while key names stay the same, with
#: the value that leaves it plain HuBERT.
_PLAIN_HUBERT = {"deepnorm": False, "feature_extractor_cqt": False}


class UnsupportedEncoderError(MixingBuddyError):
    """The encoder's checkpoint asks for a computation that HuBERT's structure does not have."""


def load_audio_encoder(audio: str, *, revision: str | None = None, dtype: Any = "auto"):
    """Load a MERT (or HuBERT) checkpoint into transformers' own ``HubertModel``.

    MERT has HuBERT's structure and key names, so none of its remote code is needed.

    Args:
        audio: Hub id or folder.
        revision: commit of the Hub repository.
        dtype: data type of the weights.

    Returns:
        The encoder, in evaluation mode, with layer drop and masking off.

    Raises:
        UnsupportedEncoderError: for deepnorm or constant-Q variants of MERT.
    """
    from transformers import HubertConfig, HubertModel

    fields, _ = HubertConfig.get_config_dict(audio, revision=revision)
    for field, plain in _PLAIN_HUBERT.items():
        if fields.get(field, plain) != plain:
            raise UnsupportedEncoderError(
                f"{audio}: its configuration sets {field}={fields[field]}, a computation that "
                "HuBERT's structure does not have. Use MERT-v1-95M or MERT-v1-330M."
            )
    known = HubertConfig().to_dict()
    fields = {name: value for name, value in fields.items() if name in known}
    fields |= {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0}
    fields |= {"model_type": "hubert", "architectures": ["HubertModel"]}
    return HubertModel.from_pretrained(
        audio, config=HubertConfig(**fields), revision=revision, dtype=dtype, use_safetensors=True
    )


def from_parts(
    audio: str,
    text: str,
    *,
    audio_revision: str | None = None,
    text_revision: str | None = None,
    dtype: Any = "auto",
    quantization_config: Any | None = None,
    device_map: Any | None = None,
    **config_fields: Any,
):
    """Join a pretrained encoder and language model; projector, layer mix and level head are new.

    Args:
        audio: Hub id or folder of a MERT or HuBERT encoder.
        text: Hub id or folder of a causal language model with its tokenizer.
        audio_revision: commit of the encoder's repository.
        text_revision: commit of the language model's repository.
        dtype: data type of the weights.
        quantization_config: quantisation of the language model, such as a ``BitsAndBytesConfig``.
        device_map: where the language model goes; needed for quantised weights.
        config_fields: further fields of ``MixingBuddyConfig``.

    Returns:
        Model and processor.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyForConditionalGeneration

    encoder = load_audio_encoder(audio, revision=audio_revision, dtype=dtype)
    language_model = AutoModelForCausalLM.from_pretrained(
        text,
        revision=text_revision,
        dtype=dtype,
        quantization_config=quantization_config,
        device_map=device_map,
    )
    tokenizer = AutoTokenizer.from_pretrained(text, revision=text_revision)
    tokenizer.add_special_tokens({"additional_special_tokens": [AUDIO_TOKEN]})
    embeddings = language_model.get_input_embeddings()
    if len(tokenizer) > embeddings.num_embeddings:
        language_model.resize_token_embeddings(len(tokenizer))
    config = MixingBuddyConfig(
        audio_config=encoder.config,
        text_config=language_model.config,
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        **config_fields,
    )
    # The large parts already exist: build the rest around empty shells and put them in.
    with torch.device("meta"):
        model = MixingBuddyForConditionalGeneration(config)
    core = model.model
    core.audio_tower, core.language_model = encoder, language_model.model
    model.lm_head = language_model.lm_head
    small = (core.layer_mix, core.multi_modal_projector, core.level_head)
    for part in small:
        part.to_empty(device=language_model.device)
        part.to(encoder.dtype)
        for module in part.modules():
            module._is_hf_initialized = False
            model._initialize_weights(module)
    model.tie_weights()
    model.generation_config = language_model.generation_config
    model.generation_config.do_sample = False
    for sampling in ("temperature", "top_p", "top_k"):
        setattr(model.generation_config, sampling, None)
    if quantization_config is not None:
        for flag in ("hf_quantizer", "is_quantized", "is_loaded_in_4bit", "is_loaded_in_8bit"):
            if hasattr(language_model, flag):
                setattr(model, flag, getattr(language_model, flag))
        model.config.quantization_config = language_model.config.quantization_config
    return model, build_processor(config, tokenizer)


def build_processor(config, tokenizer):
    """Build the processor that goes with a model configuration.

    Args:
        config: a ``MixingBuddyConfig``.
        tokenizer: the language model's tokenizer, with the audio token.
    """
    from importlib.resources import files

    from mixing_buddy.modeling import MixingBuddyFeatureExtractor, MixingBuddyProcessor

    feature_extractor = MixingBuddyFeatureExtractor(
        conv_kernel=config.audio_config.conv_kernel,
        conv_stride=config.audio_config.conv_stride,
        num_level_bands=config.num_level_bands,
    )
    return MixingBuddyProcessor(
        feature_extractor,
        tokenizer,
        chat_template=files("mixing_buddy").joinpath("chat_template.jinja").read_text("utf-8"),
        audio_token=AUDIO_TOKEN,
        pooling_factor=config.pooling_factor,
    )
