"""Pickled encoder weights to safetensors, once, by PyTorch's restricted unpickler.

MERT's authors publish ``pytorch_model.bin`` alone. ``torch.load(weights_only=True)`` builds tensors
and plain containers and refuses everything else; PyTorch 2.11, the least that this package asks
for, has the repairs of both known ways around it (CVE-2025-32434 in 2.6, CVE-2026-24747 in 2.10).
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from pathlib import Path

from mixing_buddy.assembly import AssemblyError

_PICKLED = "pytorch_model.bin"


def convert_encoder(audio: str, out: str | Path | None = None, *, revision: str | None = None):
    """Write an encoder's pickled weights as safetensors beside its unchanged configuration.

    The result is loaded before it gets its name, so what stands there works.

    Args:
        audio: Hub id, or folder with ``config.json`` and ``pytorch_model.bin``.
        out: folder to write. None keeps a Hub encoder in the cache, where
            ``from_parts`` finds it under its Hub id and commit.
        revision: commit of the Hub repository.

    Returns:
        The folder.

    Raises:
        AssemblyError: if there is nothing to convert, the file holds more than tensors, the folder
            exists, or the weights are no encoder's.
    """
    import torch
    from safetensors.torch import save_file
    from transformers.utils.hub import cached_file

    from mixing_buddy.modeling.assembly_mixing_buddy import (
        PartsError,
        converted_encoder_folder,
        load_audio_encoder,
        resolve_revision,
    )

    is_folder = Path(audio).is_dir()
    if out is None and is_folder:
        raise AssemblyError(f"{audio} is a folder: say where to write its conversion.")
    try:
        commit = None if is_folder else resolve_revision(audio, revision)
        config_file = cached_file(audio, "config.json", revision=commit)
        weights_file = cached_file(audio, _PICKLED, revision=commit)
    except (PartsError, OSError) as error:
        raise AssemblyError(f"{audio}: nothing to convert. {error}") from error
    out = Path(out) if out is not None else converted_encoder_folder(audio, commit)
    if out.exists():
        raise AssemblyError(f"{out} exists already: remove it, or write elsewhere.")
    try:
        state = torch.load(weights_file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AssemblyError(
            f"{weights_file} holds more than tensors, so it was not loaded: {error}"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise AssemblyError(
            f"{weights_file} can't be read ({error}): it is truncated or damaged. Get it again."
        ) from error
    if not isinstance(state, dict):
        raise AssemblyError(f"{weights_file} holds no named tensors; not a model's weights.")
    not_tensors = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if not_tensors:
        raise AssemblyError(
            f"{weights_file}: {not_tensors[0]} is no tensor; not a model's weights."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / "encoder"
        folder.mkdir()
        tensors = {name: value.clone().contiguous() for name, value in state.items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        shutil.copyfile(config_file, folder / "config.json")
        try:
            load_audio_encoder(str(folder))
        except PartsError as error:
            raise AssemblyError(f"{audio} can't be used: {error}") from error
        folder.rename(out)
    return out
