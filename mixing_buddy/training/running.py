"""From a command line to a model that is saved: what all training scripts do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from trl import TrlParser

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.training.checks import check_launch, describe_run
from mixing_buddy.training.distributed import start_run
from mixing_buddy.training.resuming import checkpoint_to_resume


def train_by_command_line(
    arguments: Sequence[type],
    build_trainer: Callable[..., Any],
    *,
    description: str | None,
    argv: Sequence[str] | None = None,
    describe: Callable[..., str | None] | None = None,
) -> None:
    """Parse, build, train, save.

    Args:
        arguments: dataclasses of the flags, those of data first and transformers' own second.
        build_trainer: makes the trainer of them.
        description: what `--help` says of the script.
        argv: flags; by default those that the script was called with.
        describe: makes of the first three what is to be printed instead of training, or None.
    """
    parser = TrlParser(arguments, description=description)
    parsed = parser.parse_args_and_config(argv)
    training_args = parsed[1]
    try:
        described = describe(*parsed[:3]) if describe else None
        if described is not None:
            print(described)
            return
        lock = start_run(training_args)
        checkpoint = checkpoint_to_resume(training_args)
        trainer = build_trainer(*parsed)
    except MixingBuddyError as error:
        sys.exit(f"{parser.prog}: {error}")
    warning = check_launch(training_args)
    trainer.accelerator.print(describe_run(trainer), *([warning] if warning else []), sep="\n")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(training_args.output_dir)
    trainer.accelerator.print(f"Saved to {training_args.output_dir}.")
    lock.release()
