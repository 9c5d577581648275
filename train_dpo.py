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
import sys

# Workers make features of many small products: several threads would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Parse, build, train, save."""
    from trl import DPOConfig, TrlParser

    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.training.arguments import ModelArguments
    from mixing_buddy.training.distributed import start_run
    from mixing_buddy.training.dpo import PreferenceArguments, build_trainer
    from mixing_buddy.training.resuming import checkpoint_to_resume
    from mixing_buddy.training.running import run

    parser = TrlParser((PreferenceArguments, DPOConfig, ModelArguments), description=__doc__)
    data_args, training_args, model_args = parser.parse_args_and_config()
    try:
        lock = start_run(training_args)
        checkpoint = checkpoint_to_resume(training_args)
        trainer = build_trainer(data_args, training_args, model_args)
    except MixingBuddyError as error:
        sys.exit(f"train_dpo.py: {error}")
    run(trainer, checkpoint, lock)


if __name__ == "__main__":
    main()
