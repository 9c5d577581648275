"""What a user may name as a model: a folder of a saved model or adapter, or a Hub id."""

from __future__ import annotations

from pathlib import Path

from mixing_buddy.errors import MixingBuddyError


def check_model_name(name_or_path: str | Path) -> None:
    """Make sure that a name can be that of a model, before libraries look for it on the Hub.

    Raises:
        MixingBuddyError: it is a folder without a model, or neither a folder nor a Hub id.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(name_or_path)
    if path.exists():
        if any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
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
