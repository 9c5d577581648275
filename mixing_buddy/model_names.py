"""What a user may name as a model: a folder of a saved model or adapter, or a Hub id."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from mixing_buddy.errors import MixingBuddyError


@contextlib.contextmanager
def refusing_damage(name_or_path: str | Path) -> Iterator[None]:
    """Say of a model that can't be loaded which one it is, and why.

    What libraries raise at damaged files is of any kind, tokenizers' even a bare `Exception`.

    Raises:
        MixingBuddyError: the block raised anything else.
    """
    try:
        yield
    except MixingBuddyError:
        raise
    except Exception as error:
        # Of a missing repository or a broken network transformers says several lines.
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise MixingBuddyError(
            f"{name_or_path} can't be loaded: {lines[0] if lines else type(error).__name__}"
        ) from error


def check_model_name(name_or_path: str | Path) -> None:
    """Make sure that a name can be that of a model, before libraries look for it on the Hub.

    Raises:
        MixingBuddyError: it is a folder without a model, or neither a folder nor a Hub id.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(name_or_path)
    if path.exists():
        if (path / "config.json").is_file():
            _check_config(path / "config.json")
            return
        if (path / "adapter_config.json").is_file():
            return
        raise MixingBuddyError(
            f"{path} holds no config.json: give the folder of a saved model, or leave the model"
            " out to use nano, which comes with the package."
        )
    try:
        validate_repo_id(str(name_or_path))
    except HFValidationError:
        raise MixingBuddyError(
            f"{name_or_path}: there is no such folder, and it can't be a Hub id (NAMESPACE/NAME)."
        ) from None


def _check_config(path: Path) -> None:
    """Raise unless a configuration is one of this model.

    transformers fills in what is missing: of a file of another kind it would make a model of
    billions of weights, all random, and fill the memory with it.
    """
    try:
        kind = json.loads(path.read_text("utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise MixingBuddyError(
            f"{path} is no model's configuration ({type(error).__name__}: {error}): it is damaged. "
            "Copy or save the model again."
        ) from error
    if kind != "mixing_buddy":
        raise MixingBuddyError(
            f"{path} is the configuration of a model of type {kind!r}, not of Mixing Buddy."
        )
