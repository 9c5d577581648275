"""Supervised fine-tuning of Mixing Buddy with TRL.

# Nano from scratch, all weights, on a CPU
```bash
python train_sft.py --config configs/nano.yaml
```

# MERT-330M and Qwen2-7B with QLoRA, on a GPU
```bash
python train_sft.py --config configs/7b_qlora.yaml --songs musdb18hq=/data/musdb18hq
```

Every field of the YAML file can be given as a flag, which wins. A run that was stopped goes on with
`--resume_from_checkpoint latest`.
"""

import sys


def main() -> None:
    """Parse, build, train, save."""
    from trl import ModelConfig, SFTConfig, TrlParser

    from mixing_buddy.errors import MixingBuddyError
    from mixing_buddy.training.arguments import DataArguments
    from mixing_buddy.training.resuming import checkpoint_to_resume
    from mixing_buddy.training.sft import build_trainer

    parser = TrlParser((DataArguments, SFTConfig, ModelConfig), description=__doc__)
    data_args, training_args, model_args = parser.parse_args_and_config()
    try:
        checkpoint = checkpoint_to_resume(training_args)
        trainer = build_trainer(data_args, training_args, model_args)
    except MixingBuddyError as error:
        sys.exit(f"train_sft.py: {error}")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(training_args.output_dir)
    trainer.accelerator.print(f"Saved to {training_args.output_dir}.")


if __name__ == "__main__":
    main()
