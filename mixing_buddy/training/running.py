"""From a trainer that is built to a model that is saved: the end of both training scripts."""

from __future__ import annotations

from mixing_buddy.training.checks import check_launch, describe_run


def run(trainer, checkpoint: str | None, lock) -> None:
    """Say what will be trained, train, and save.

    Args:
        trainer: from `sft.build_trainer` or `dpo.build_trainer`.
        checkpoint: folder to go on from; None to start.
        lock: what `distributed.start_run` returned; given back at the end.
    """
    warning = check_launch(trainer.args)
    trainer.accelerator.print(describe_run(trainer), *([warning] if warning else []), sep="\n")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(trainer.args.output_dir)
    trainer.accelerator.print(f"Saved to {trainer.args.output_dir}.")
    lock.release()
