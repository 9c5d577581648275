"""Teach Mixing Buddy to hear stem levels, before `train_sft.py` teaches it to speak of them.

Only the audio encoder, the projector and the level head are trained, on how loud each stem stands
in each stretch of a clip; the language model is not run, so a step costs a fraction of one of
`train_sft.py`, which then starts from the folder that this wrote.

```bash
python train_hearing.py --config configs/nano_hearing.yaml
python train_sft.py --config configs/nano.yaml
```

Every field of the YAML file can be given as a flag, which wins. A run that was stopped goes on with
`--resume_from_checkpoint latest`. docs/training.md explains the fields.
"""

import os
import sys

# Workers make features of many small products: several threads would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Parse, build, train, save."""
    from transformers import TrainingArguments
    from trl import TrlParser

    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.training.arguments import (
        AugmentationArguments,
        DataArguments,
        ModelArguments,
    )
    from mixing_buddy.training.distributed import start_run
    from mixing_buddy.training.hearing import build_trainer
    from mixing_buddy.training.resuming import checkpoint_to_resume
    from mixing_buddy.training.running import run

    parser = TrlParser(
        (DataArguments, TrainingArguments, ModelArguments, AugmentationArguments),
        description=__doc__,
    )
    data_args, training_args, model_args, augmentation = parser.parse_args_and_config()
    try:
        lock = start_run(training_args)
        checkpoint = checkpoint_to_resume(training_args)
        trainer = build_trainer(data_args, training_args, model_args, augmentation)
    except MixingBuddyError as error:
        sys.exit(f"train_hearing.py: {error}")
    run(trainer, checkpoint, lock)


if __name__ == "__main__":
    main()
