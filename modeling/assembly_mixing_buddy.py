"""Putting a model together from a pretrained encoder and a pretrained language model."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    HubertConfig,
    HubertModel,
)
from transformers.utils.hub import cached_file, extract_commit_hash

#: Fields of a MERT configuration that change the computation while key names stay the same, with
#: the value that leaves it plain HuBERT.
_PLAIN_HUBERT = {"deepnorm": False, "feature_extractor_cqt": False}

#: Modules that stay in their own precision when a model is quantised: everything but the language
#: model's layers. Matched as the beginnings of full names.
NOT_QUANTIZED = [
    "model.audio_tower",
    "model.layer_mix",
    "model.multi_modal_projector",
    "model.level_head",
    "lm_head",
]


class PartsError(ValueError):
    """A part can't be used, or parts don't fit together; the message says what to do."""


class UnsupportedEncoderError(PartsError):
    """The encoder's checkpoint asks for a computation that HuBERT's structure does not have."""


def quantization_settings(
    quantization: str | BitsAndBytesConfig | None, compute_dtype: Any = None
) -> BitsAndBytesConfig | None:
    """Return what `quantization` stands for, with the parts left out that shall stay as they are.

    Args:
        quantization: `"nf4"` (4 bit, with double quantisation), `"int8"`, or a configuration.
        compute_dtype: precision that 4-bit weights are multiplied in; by default bfloat16 on a
            GPU and float32 on a CPU, where bfloat16 is many times slower.

    Raises:
        PartsError: if `quantization` is another name.
    """
    if quantization is None:
        return None
    if isinstance(quantization, str):
        if compute_dtype is None:
            compute_dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        if quantization == "nf4":
            quantization = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=compute_dtype,
            )
        elif quantization == "int8":
            quantization = BitsAndBytesConfig(load_in_8bit=True)
        else:
            raise PartsError(f"quantization is {quantization!r}: choose 'nf4' or 'int8'.")
    if quantization.llm_int8_skip_modules is None:
        quantization.llm_int8_skip_modules = list(NOT_QUANTIZED)
    return quantization


def resolve_revision(name_or_path: str, revision: str | None = None) -> str:
    """Return the exact state of a checkpoint.

    Args:
        name_or_path: Hub id or folder.
        revision: branch, tag or commit of the Hub repository; `"main"` by default.

    Returns:
        The commit of a Hub repository. For a folder `"folder:"` and a fingerprint of its weights:
        their names, sizes, and first and last megabytes.

    Raises:
        PartsError: if there is no such folder or repository.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        try:
            path = cached_file(str(name_or_path), "config.json", revision=revision)
        except OSError as error:
            raise PartsError(f"{name_or_path}: {error}") from error
        return extract_commit_hash(path, None)
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(2**20))
            file.seek(max(size - 2**20, 0))
            digest.update(file.read())
    return f"folder:{digest.hexdigest()[:16]}"


def converted_encoder_folder(audio: str, commit: str) -> Path:
    """Return where `mixing-buddy convert-encoder` keeps a Hub encoder as safetensors."""
    return Path(constants.HF_ASSETS_CACHE) / "mixing_buddy" / audio.replace("/", "--") / commit


def load_audio_encoder(audio: str, *, revision: str | None = None, dtype: Any = "auto"):
    """Load a MERT (or HuBERT) checkpoint into transformers' own `HubertModel`.

    MERT has HuBERT's structure and key names (weight norm under its old or its new names), so none
    of its remote code is needed. Weights are read from safetensors only.

    Args:
        audio: Hub id or folder.
        revision: commit of the Hub repository.
        dtype: data type of the weights.

    Returns:
        The encoder, in evaluation mode, with layer drop and masking off.

    Raises:
        UnsupportedEncoderError: for deepnorm or constant-Q variants of MERT.
        PartsError: if there are no safetensors weights, or they lack some of the encoder's.
    """
    audio = str(audio)
    if not Path(audio).is_dir():
        revision = resolve_revision(audio, revision)
        converted = converted_encoder_folder(audio, revision)
        if converted.is_dir():
            audio, revision = str(converted), None
    fields, _ = HubertConfig.get_config_dict(audio, revision=revision)
    for field, plain in _PLAIN_HUBERT.items():
        if fields.get(field, plain) != plain:
            raise UnsupportedEncoderError(
                f"{audio}: its configuration sets {field}={fields[field]}, a computation that "
                "HuBERT's structure does not have. Use MERT-v1-95M or MERT-v1-330M."
            )
    known = HubertConfig().to_dict()
    fields = {name: value for name, value in fields.items() if name in known}
    fields |= {"layerdrop": 0.0, "apply_spec_augment": False}
    fields |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    fields |= {"model_type": "hubert", "architectures": ["HubertModel"]}
    try:
        encoder, report = HubertModel.from_pretrained(
            audio,
            config=HubertConfig(**fields),
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except OSError as error:
        where = f" --revision {revision}" if revision else ""
        raise PartsError(
            f"{audio} has no safetensors weights, and pickled ones (pytorch_model.bin, as MERT's "
            f"authors publish) are never loaded. Run `mixing-buddy convert-encoder {audio}{where}` "
            f"once, then try again. ({error})"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise PartsError(
            f"{audio}: its weights lack {missing[0]} and {len(missing) - 1} more of HuBERT's: this "
            "is no MERT or HuBERT encoder."
        )
    return encoder


def load_tokenizer(
    text: str,
    *,
    revision: str | None = None,
    audio_token: str = "<|audio|>",
    local_files_only: bool = False,
):
    """Load a language model's tokenizer and give it the audio token."""
    tokenizer = AutoTokenizer.from_pretrained(
        text, revision=revision, trust_remote_code=False, local_files_only=local_files_only
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [audio_token]})
    return tokenizer


def _load_language_model(text: str, num_tokens: int, revision: str | None, **kwargs):
    """Load a causal language model with room for `num_tokens` tokens."""
    language_model = AutoModelForCausalLM.from_pretrained(
        text, revision=revision, use_safetensors=True, trust_remote_code=False, **kwargs
    )
    old = language_model.get_input_embeddings().num_embeddings
    if num_tokens > old:
        language_model.resize_token_embeddings(num_tokens, mean_resizing=False)
        # The mean, so that parts put together twice are one model: resizing draws at random.
        for table in (
            language_model.get_input_embeddings(),
            language_model.get_output_embeddings(),
        ):
            with torch.no_grad():
                table.weight[old:] = table.weight[:old].float().mean(0).to(table.weight.dtype)
    return language_model


class MixingBuddyAssemblyMixin:
    """Gives a model with a language-model head the constructor `from_parts`."""

    @classmethod
    def from_parts(
        cls,
        audio: str,
        text: str,
        *,
        quantization: str | BitsAndBytesConfig | None = None,
        audio_revision: str | None = None,
        text_revision: str | None = None,
        dtype: Any = "auto",
        device_map: Any | None = None,
        attn_implementation: str | None = None,
        audio_token: str = "<|audio|>",
        **config_fields: Any,
    ):
        """Join a pretrained encoder and language model; all that stands between them is new.

        No remote code of either repository runs. The commits that were loaded are written into the
        configuration, whether or not a revision was asked for.

        Args:
            audio: Hub id or folder of a MERT or HuBERT encoder.
            text: Hub id or folder of a causal language model with its tokenizer.
            quantization: `"nf4"`, `"int8"` or a `BitsAndBytesConfig` for the language model's
                layers; None to leave them as they are.
            audio_revision: commit of the encoder's repository.
            text_revision: commit of the language model's repository.
            dtype: data type of the weights.
            device_map: where the language model goes; None for the GPU, if there is one, where
                it is quantised, else the CPU.
            attn_implementation: how attention is computed, such as `"sdpa"`.
            audio_token: placeholder of a clip.
            config_fields: further fields of the configuration, such as `pooling_factor`.

        Returns:
            The model, in evaluation mode.

        Raises:
            PartsError: if a part can't be loaded.
        """
        audio, text = str(audio), str(text)
        audio_commit = resolve_revision(audio, audio_revision)
        text_commit = resolve_revision(text, text_revision)
        quantization_config = quantization_settings(
            quantization, None if dtype in ("auto", None) else dtype
        )
        if quantization_config is not None and device_map is None:
            device_map = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
        text_revision = None if Path(text).is_dir() else text_commit
        audio_revision = None if Path(audio).is_dir() else audio_commit
        encoder = load_audio_encoder(audio, revision=audio_revision, dtype=dtype)
        tokenizer = load_tokenizer(text, revision=text_revision, audio_token=audio_token)
        language_model = _load_language_model(
            text,
            len(tokenizer),
            text_revision,
            dtype=dtype,
            quantization_config=quantization_config,
            device_map=device_map,
        )
        config = cls.config_class(
            audio_config=encoder.config,
            text_config=language_model.config,
            audio_token_id=tokenizer.convert_tokens_to_ids(audio_token),
            audio_name_or_path=audio,
            audio_revision=audio_commit,
            text_name_or_path=text,
            text_revision=text_commit,
            **config_fields,
        )
        model = _join(cls, config, encoder, language_model)
        if attn_implementation is not None:
            model.set_attn_implementation(attn_implementation)
        return model.eval()


def _join(cls, config, encoder, language_model):
    # The large parts already exist: build the rest around empty shells and put them in.
    with torch.device("meta"):
        model = cls(config)
    core = model.model
    core.audio_tower = encoder.to(language_model.device)
    core.language_model, model.lm_head = language_model.model, language_model.lm_head
    loaded = {id(module) for part in (encoder, language_model) for module in part.modules()}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if id(module) not in loaded and own:
            module.to_empty(device=language_model.device, recurse=False)
            module._is_hf_initialized = False
            model._initialize_weights(module)
            module.to(encoder.dtype)
    model.tie_weights()
    model.generation_config = language_model.generation_config
    model.generation_config.do_sample = False
    for sampling in ("temperature", "top_p", "top_k"):
        setattr(model.generation_config, sampling, None)
    quantizer = getattr(language_model, "hf_quantizer", None)
    if quantizer is not None:
        for flag in ("hf_quantizer", "is_quantized", "is_loaded_in_4bit", "is_loaded_in_8bit"):
            if hasattr(language_model, flag):
                setattr(model, flag, getattr(language_model, flag))
        model.config.quantization_config = language_model.config.quantization_config
    return model
