"""Supervised fine-tuning of Mixing Buddy with TRL.

# Nano from scratch, all weights, on a CPU
```bash
python train_sft.py --config configs/nano.yaml
```

# MERT-330M and Qwen2-7B with QLoRA, on a GPU
```bash
python train_sft.py --config configs/7b_qlora.yaml --songs musdb18hq=/data/musdb18hq
```

# What that run would need, without loading anything
```bash
python train_sft.py --config configs/7b_qlora.yaml --dry_run
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
    from trl import SFTConfig

    from mixing_buddy.training.arguments import (
        AugmentationArguments,
        DataArguments,
        LearningArguments,
        ModelArguments,
        ValidationArguments,
    )
    from mixing_buddy.training.dry_run import describe, dry_run_flags
    from mixing_buddy.training.running import train_by_command_line
    from mixing_buddy.training.sft import build_trainer

    train_by_command_line(
        (
            DataArguments,
            SFTConfig,
            ModelArguments,
            AugmentationArguments,
            LearningArguments,
            ValidationArguments,
        ),
        build_trainer,
        description=__doc__,
        argv=dry_run_flags(sys.argv[1:]),
        describe=lambda *args: describe(*args) if args[2].dry_run else None,
    )


if __name__ == "__main__":
    main()
