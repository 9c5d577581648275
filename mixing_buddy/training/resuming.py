"""Which checkpoint to go on from."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from mixing_buddy.errors import MixingBuddyError


def checkpoint_to_resume(training_args: TrainingArguments) -> str | None:
    """Return the checkpoint to go on from.

    ``resume_from_checkpoint`` is a folder, or ``latest`` for the newest in the output folder.

    Raises:
        MixingBuddyError: if the newest is asked for and there is none, or if the output folder
            holds checkpoints and nothing says whether to go on from them.
    """
    folder = Path(training_args.output_dir)
    newest = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    wanted = training_args.resume_from_checkpoint
    if wanted == "latest":
        if newest is None:
            raise MixingBuddyError(f"{folder} holds no checkpoint to resume from.")
        return newest
    if wanted is None and newest is not None:
        raise MixingBuddyError(
            f"{folder} already holds {Path(newest).name}. Add --resume_from_checkpoint latest to "
            "go on from it, or choose another --output_dir."
        )
    return wanted
