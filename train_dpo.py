"""Direct preference optimisation of Mixing Buddy with TRL.

# Nano, all weights of its language model, on a CPU
```bash
python train_dpo.py --config configs/nano_dpo.yaml
```

# An adapter that `train_sft.py --config configs/7b_qlora.yaml` saved, on a GPU
```bash
python train_dpo.py --config configs/7b_dpo.yaml --songs musdb18hq=/data/musdb18hq
```

Every field of the YAML file can be given as a flag, which wins. A run that was stopped goes on with
`--resume_from_checkpoint latest`.
"""

import os

# Workers make features of many small products: several threads would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Parse, build, train, save."""
    from trl import DPOConfig

    from mixing_buddy.training.arguments import ModelArguments
    from mixing_buddy.training.dpo import PreferenceArguments, build_trainer
    from mixing_buddy.training.running import train_by_command_line

    train_by_command_line(
        (PreferenceArguments, DPOConfig, ModelArguments), build_trainer, description=__doc__
    )


if __name__ == "__main__":
    main()
