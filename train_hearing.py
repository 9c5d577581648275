"""Teach Mixing Buddy to hear stem levels, before `train_sft.py` teaches it to speak of them.

Only the audio encoder, the projector and the level head are trained, on how loud each stem stands
in each stretch of a clip and, if asked for, on which stem of a single mix is off; the language
model is not run, so a step costs a fraction of one of `train_sft.py`, which then starts from the
folder that this wrote.

```bash
python train_hearing.py --config configs/nano_hearing.yaml
python train_sft.py --config configs/nano.yaml
```

Every field of the YAML file can be given as a flag, which wins. A run that was stopped goes on with
`--resume_from_checkpoint latest`. docs/training.md explains the fields.
"""

import os

# Workers make features of many small products: several threads would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Parse, build, train, save."""
    from transformers import TrainingArguments

    from mixing_buddy.training.arguments import (
        AugmentationArguments,
        DataArguments,
        HearingArguments,
        ModelArguments,
    )
    from mixing_buddy.training.hearing import build_trainer
    from mixing_buddy.training.running import train_by_command_line

    train_by_command_line(
        (
            DataArguments,
            TrainingArguments,
            ModelArguments,
            AugmentationArguments,
            HearingArguments,
        ),
        build_trainer,
        description=__doc__,
    )


if __name__ == "__main__":
    main()
