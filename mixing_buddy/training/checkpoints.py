"""Adapter checkpoints: a few megabytes that say which base they were trained on.

A folder holds LoRA, projector, layer mix and level head (PEFT's ``adapter_model.safetensors``), the
processor, and ``config.json``, which names encoder and language model with their commits. A base
that was a whole Mixing Buddy model is named in ``adapter_config.json``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mixing_buddy.errors import MixingBuddyError

#: Fields of a configuration that name the parts it was put together from.
_PARTS = ("audio_name_or_path", "audio_revision", "text_name_or_path", "text_revision")


class AdapterError(MixingBuddyError):
    """An adapter can't be loaded, or does not belong to the base at hand."""


def is_adapter(name_or_path: str | Path, *, revision: str | None = None) -> bool:
    """Say whether a folder or Hub id holds an adapter rather than a whole model."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if Path(name_or_path).is_dir():
        return (Path(name_or_path) / "adapter_config.json").is_file()
    return find_adapter_config_file(str(name_or_path), revision=revision) is not None


def base_revision(model) -> str | None:
    """Return the exact state of the whole checkpoint that a model was loaded from.

    Args:
        model: a ``MixingBuddyForConditionalGeneration``.

    Returns:
        A commit, or a fingerprint of a folder's weights; None where it was built, not loaded.
    """
    from mixing_buddy.modeling.assembly_mixing_buddy import resolve_revision

    if not model.name_or_path:
        return None
    if Path(model.name_or_path).is_dir():
        return resolve_revision(model.name_or_path)
    return getattr(model.config, "_commit_hash", None)


class AdapterCheckpoints:
    """Mixin for a trainer: adapters that it saves say which base they belong to."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        from peft import PeftModel

        output_dir = output_dir or self.args.output_dir
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if isinstance(model, PeftModel):
            name_base(model, output_dir)
        super()._save(output_dir, state_dict)


def name_base(peft_model, folder: str | Path) -> None:
    """Write a base's configuration beside its adapter, and its state into the adapter's own.

    Args:
        peft_model: PEFT's model around a ``MixingBuddyForConditionalGeneration``, to be saved next.
        folder: where it will be saved.
    """
    from copy import deepcopy

    base = peft_model.get_base_model()
    revision = base_revision(base)
    for config in peft_model.peft_config.values():
        config.revision = revision
    config = deepcopy(base.config)
    # How the base was held in memory while training says nothing about the base.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)


def load_adapter(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    base: Any | None = None,
    dtype: Any = "auto",
    quantization: Any | None = None,
    device_map: Any | None = None,
    is_trainable: bool = False,
):
    """Load an adapter on the base that it names.

    Args:
        name_or_path: folder or Hub id of the adapter.
        revision: commit of the adapter's Hub repository.
        base: the base, where it is at hand already; it must be the one that the adapter names.
        dtype: data type of the base's weights; the adapter's stay in float32.
        quantization: ``"nf4"``, ``"int8"`` or a ``BitsAndBytesConfig`` for the base's language
            model.
        device_map: where a quantised language model goes.
        is_trainable: whether training goes on.

    Returns:
        The PEFT model, whose ``get_base_model()`` is a ``MixingBuddyForConditionalGeneration`` with
        the adapter in its layers, and the processor.

    Raises:
        AdapterError: if there is no adapter, if it names no base, or another one.
    """
    name = str(name_or_path)
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise AdapterError(
            f"{name} is an adapter, which needs PEFT: pip install 'mixing-buddy[train]', or merge "
            "it with `mixing-buddy merge` on a machine that has it."
        ) from error
    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyProcessor

    if not is_adapter(name, revision=revision):
        raise AdapterError(f"{name} holds no adapter_config.json: it is no adapter.")
    adapter_config = PeftConfig.from_pretrained(name, revision=revision)
    config = MixingBuddyConfig.from_pretrained(name, revision=revision)
    if base is None:
        base = _load_base(
            name,
            adapter_config,
            config,
            dtype=dtype,
            quantization=quantization,
            device_map=device_map,
        )
    _check_base(name, adapter_config, config, base)
    if config.trained_modes is not None:
        # The adapter's answers, not those of a whole model that it was begun from.
        base.config.trained_modes = config.trained_modes
    # PEFT copies these parts in the base's precision; what was trained in float32 would be rounded.
    for part, module in base.named_modules():
        if part.rpartition(".")[2] in (adapter_config.modules_to_save or ()):
            module.float()
    model = PeftModel.from_pretrained(base, name, revision=revision, is_trainable=is_trainable)
    return model, MixingBuddyProcessor.from_pretrained(name, revision=revision)


def merge_adapter(
    name_or_path: str | Path,
    out: str | Path,
    *,
    revision: str | None = None,
    dtype: Any = "auto",
) -> Path:
    """Write base and adapter as one whole model.

    The base is loaded unquantised, also where the adapter was trained on a quantised one.

    Args:
        name_or_path: folder or Hub id of the adapter.
        out: folder to write: safetensors, processor and the model's code.
        revision: commit of the adapter's Hub repository.
        dtype: data type of the result; by default that of the base.

    Returns:
        The folder.

    Raises:
        AdapterError: as ``load_adapter``, or if the folder exists.
    """
    import torch

    out = Path(out)
    if out.exists():
        raise AdapterError(f"{out} exists already: remove it, or write elsewhere.")
    model, processor = load_adapter(name_or_path, revision=revision, dtype=dtype)
    merged = model.merge_and_unload(progressbar=True, safe_merge=True)
    if dtype == "auto":
        dtype = merged.lm_head.weight.dtype
    merged.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
    write_model(merged, processor, out)
    return out


def write_model(model, processor, out: Path) -> None:
    """Write a whole model and its processor to a folder that appears when it is complete.

    Args:
        model: a ``MixingBuddyForConditionalGeneration``.
        processor: its processor.
        out: folder that does not exist yet.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / "model"
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        folder.rename(out)


def _load_base(name, adapter_config, config, *, dtype, quantization, device_map):
    from mixing_buddy.modeling import MixingBuddyConfig, MixingBuddyForConditionalGeneration
    from mixing_buddy.modeling.assembly_mixing_buddy import PartsError, quantization_settings

    whole = adapter_config.base_model_name_or_path
    try:
        if whole:
            # A folder has no commits to choose from.
            commit = None if Path(whole).is_dir() else adapter_config.revision
            return MixingBuddyForConditionalGeneration.from_pretrained(
                whole,
                revision=commit,
                dtype=dtype,
                quantization_config=quantization_settings(quantization),
                device_map=device_map,
            ).eval()
        if config.audio_name_or_path is None or config.text_name_or_path is None:
            raise AdapterError(
                f"{name} names no base: it was trained on a model that was built, not loaded. Save "
                "that model first, train on the saved folder, or give `base`."
            )
        own = set(MixingBuddyConfig.__annotations__) - {
            "audio_config",
            "text_config",
            "audio_token_id",
            "tie_word_embeddings",
            *_PARTS,
        }
        return MixingBuddyForConditionalGeneration.from_parts(
            config.audio_name_or_path,
            config.text_name_or_path,
            audio_revision=config.audio_revision,
            text_revision=config.text_revision,
            quantization=quantization,
            dtype=dtype,
            device_map=device_map,
            **{field: getattr(config, field) for field in own},
        )
    except (PartsError, OSError) as error:
        raise AdapterError(f"The base of {name} can't be loaded. {error}") from error


def _check_base(name, adapter_config, config, base) -> None:
    """Refuse a base whose weights are not those that the adapter was trained on."""
    if adapter_config.base_model_name_or_path:
        pairs = [(adapter_config.revision, base_revision(base), base.name_or_path)]
    else:
        pairs = [
            (config.audio_revision, base.config.audio_revision, base.config.audio_name_or_path),
            (config.text_revision, base.config.text_revision, base.config.text_name_or_path),
        ]
    for trained_on, found, where in pairs:
        if trained_on is not None and trained_on != found:
            raise AdapterError(
                f"{name} was trained on revision {trained_on} of its base, but {where} is at "
                f"{found}: load that revision, or train again."
            )
