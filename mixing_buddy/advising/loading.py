"""Loading a model to listen with: what device it runs on, and in which precision."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.model_names import check_model_name, refusing_damage
from mixing_buddy.modeling import MixingBuddyForConditionalGeneration, MixingBuddyProcessor
from mixing_buddy.modeling.assembly_mixing_buddy import PartsError, quantization_settings
from mixing_buddy.training.checkpoints import is_adapter, load_adapter

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device that a model runs on.

    Args:
        device: its name, such as "cpu", "cuda" or "cuda:1"; None or "auto" for the GPU if there is
            one.

    Raises:
        MixingBuddyError: there is no such device here.
    """
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise MixingBuddyError(
            f"The device is {device!r}: choose auto, cpu, cuda, cuda:1 (the second GPU) or mps."
        ) from None
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            built = "" if torch.version.cuda or torch.version.hip else " (this torch has no CUDA)"
            raise MixingBuddyError(
                f"The device is {device}, and torch finds no GPU here{built}: use cpu or auto."
            )
        if (chosen.index or 0) >= torch.cuda.device_count():
            raise MixingBuddyError(
                f"The device is {device}, and there are {torch.cuda.device_count()} GPUs, counted "
                "from cuda:0."
            )
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise MixingBuddyError("The device is mps, which this machine does not have: use cpu.")
    return chosen


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None,
    device: str | torch.device | None,
    dtype: str | torch.dtype,
    quantization: str | BitsAndBytesConfig | None,
) -> tuple[Any, Any]:
    """Load a whole model, or an adapter on the base that it names.

    Args:
        name_or_path: folder or Hub id.
        revision: commit of the Hub repository.
        device: as for `choose_device`.
        dtype: data type of the weights; "auto" for that in which they were saved.
        quantization: "nf4", "int8" or a ``BitsAndBytesConfig``.

    Returns:
        The model in evaluation mode on its device, and its processor.

    Raises:
        MixingBuddyError: there is no such model, device or type, bitsandbytes is missing, or the
            adapter's base can't be loaded.
    """
    check_model_name(name_or_path)
    device = choose_device(device)
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype) or not found.is_floating_point:
            raise MixingBuddyError(
                f"The data type is {dtype!r}: choose auto, float32, bfloat16 or float16."
            )
        dtype = found
    missing = [
        library
        for library in ("bitsandbytes", "accelerate")
        if quantization is not None and importlib.util.find_spec(library) is None
    ]
    if missing:
        raise MixingBuddyError(
            f'Quantised weights need {missing[0]}: pip install "mixing-buddy[train]".'
        )
    with refusing_damage(name_or_path):
        try:
            model, processor = _load(name_or_path, revision, device, dtype, quantization)
        except PartsError as error:
            raise MixingBuddyError(str(error)) from error
    if quantization is None:
        model.to(device)
    return model.eval(), processor


def _load(name_or_path, revision, device, dtype, quantization):
    # Quantised weights are made on the device where they stay.
    device_map = None if quantization is None else {"": device}
    if is_adapter(name_or_path, revision=revision):
        adapted, processor = load_adapter(
            name_or_path,
            revision=revision,
            dtype=dtype,
            quantization=quantization,
            device_map=device_map,
        )
        # Merged into whole weights an adapter costs no time; quantised ones can't take it in.
        model = adapted.merge_and_unload() if quantization is None else adapted.get_base_model()
        return model, processor
    model, report = MixingBuddyForConditionalGeneration.from_pretrained(
        name_or_path,
        revision=revision,
        dtype=dtype,
        quantization_config=quantization_settings(quantization),
        device_map=device_map,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        # transformers draws them at random and goes on.
        raise MixingBuddyError(
            f"{name_or_path}: its weights lack {missing[0]} and {len(missing) - 1} more: it is not "
            "a whole model. Copy or save it again."
        )
    return model, MixingBuddyProcessor.from_pretrained(name_or_path, revision=revision)
