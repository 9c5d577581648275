"""What two processes do in `test_distributed.py`: `torchrun --nproc_per_node 2` of this file.

Arguments: folder for results, dataset and songs. The first time it trains in ways that the test
compares with one process, then one process is killed, which ends the other. The second time both
go on from the newest checkpoint.
"""

import json
import os
import signal
import sys
from pathlib import Path

from tiny import NANO_STRIDES, tiny_buddy
from training_helpers import as_rendered, sample_rows

#: Gradient accumulation to rows a step: the same rows a step in every way of training.
ROWS_A_STEP, STEPS = 8, 4


def uneven_rows():
    """Rows with answers of unequal length and some levels unknown, so that no mean is trivial."""
    rows = sample_rows(8) * 4
    uneven = []
    for index, row in enumerate(rows):
        powers = row["stem_powers"][0].copy()
        if index % 4 == 1:
            powers[:, 2] = float("nan")
        response = row["response"] * (1 + index % 3)
        uneven.append({**row, "response": response, "stem_powers": [powers]})
    return uneven


def train(output_dir, *, world_size, accumulation, dropout=0.0, resume=None, callbacks=()):
    """Train a tiny model on `uneven_rows`; return the log's losses, levels and norms."""
    from datasets import Dataset
    from trl import SFTConfig

    from mixing_buddy.collation import SFTCollator
    from mixing_buddy.training.sft import MixingBuddySFTTrainer

    model, processor = tiny_buddy(**NANO_STRIDES)
    model.config.level_loss_weight = 1.0
    for name, module in model.model.multi_modal_projector.named_modules():
        if name.startswith("layers.") and hasattr(module, "p"):
            module.p = dropout
    trainer = MixingBuddySFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(output_dir),
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            per_device_train_batch_size=ROWS_A_STEP // world_size // accumulation,
            gradient_accumulation_steps=accumulation,
            ddp_find_unused_parameters=False,
            learning_rate=3e-3,
            max_steps=STEPS,
            save_steps=2,
            save_strategy="steps" if dropout else "no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(uneven_rows()).with_transform(as_rendered),
        data_collator=SFTCollator(processor),
        processing_class=processor,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return [
        [entry[name] for name in ("loss", "level_mae_db", "grad_norm")]
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def streamed_uids(dataset, songs, output_dir, *, workers, num_rows):
    """Return the ids of as many streamed rows as one pass gives to this process."""
    from trl import SFTConfig

    from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
    from mixing_buddy.training.sft import MixingBuddySFTTrainer
    from mixing_buddy.training.streaming import stream_training_rows

    class Uids:
        def __call__(self, rows):
            assert all(len(row["clips"]) == 1 for row in rows)
            return {"uids": [row["uid"] for row in rows]}

    model, processor = tiny_buddy(**NANO_STRIDES)
    data = DataArguments(dataset=[dataset], songs=[songs], streaming=True, shuffle_buffer=5)
    arguments = SFTConfig(
        output_dir=str(output_dir),
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        bf16=False,
        use_cpu=True,
        per_device_train_batch_size=1,
        dataloader_num_workers=workers,
        max_steps=1,
        report_to="none",
    )
    trainer = MixingBuddySFTTrainer(
        model=model,
        args=arguments,
        train_dataset=stream_training_rows(data, arguments, AugmentationArguments()),
        data_collator=Uids(),
        processing_class=processor,
    )
    batches = iter(trainer.get_train_dataloader())
    return [uid for _ in range(num_rows) for uid in next(batches)["uids"]]


def main(out: Path, dataset: str, songs: str) -> None:
    """Do everything; see above."""
    import datasets
    from transformers import TrainerCallback, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    from mixing_buddy.training.distributed import describe_world

    rank = int(os.environ["RANK"])
    killed = out / "killed"
    # A stream of Parquet files rests for seconds at its end; these are too small to need it.
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0.0
    if not (out / f"rank{rank}.json").exists():
        results = {
            "curves": [train(out, world_size=2, accumulation=each) for each in (1, 2)],
            "with_dropout": train(out / "whole", world_size=2, accumulation=1, dropout=0.3),
            "streamed": [
                streamed_uids(dataset, songs, out, workers=workers, num_rows=8)
                for workers in (0, 2)
            ],
            "world": describe_world(TrainingArguments(output_dir=str(out), use_cpu=True)),
        }
        (out / f"rank{rank}.json").write_text(json.dumps(results))

        class Kill(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                if rank == 1 and state.global_step == 3:
                    os.kill(os.getpid(), signal.SIGKILL)

        train(killed, world_size=2, accumulation=1, dropout=0.3, callbacks=[Kill()])
    checkpoint = get_last_checkpoint(str(killed))
    resumed = train(killed, world_size=2, accumulation=1, dropout=0.3, resume=checkpoint)
    (out / f"resumed{rank}.json").write_text(json.dumps([Path(checkpoint).name, resumed]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
