"""Which checkpoint to go on from."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import TrainingArguments

from mixing_buddy.errors import MixingBuddyError


def checkpoint_to_resume(training_args: TrainingArguments) -> str | None:
    """Return the checkpoint to go on from.

    ``resume_from_checkpoint`` is a folder, or ``latest`` for the newest in the output folder that
    was saved whole.

    Raises:
        MixingBuddyError: if the newest is asked for and there is none, or if the output folder
            holds checkpoints and nothing says whether to go on from them.
    """
    folder = Path(training_args.output_dir)
    newest = newest_whole_checkpoint(folder)
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


def newest_whole_checkpoint(folder: Path) -> str | None:
    """Find the newest checkpoint, leaving out what a run that was killed while saving left.

    The trainer's state is written last, so a checkpoint is whole where that can be read.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    for path in sorted(found, key=lambda path: int(path.name[11:]), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None
