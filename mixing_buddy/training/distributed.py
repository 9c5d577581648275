"""Several processes and machines: which run together, who writes, and losses that add up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers import TrainingArguments

from mixing_buddy.errors import MixingBuddyError, OutputError

#: Where launchers say how many processes they started: torchrun and accelerate, then MPI's and
#: SLURM's `srun`.
_WORLD_SIZE_VARIABLES = (
    "WORLD_SIZE",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)

LOCK_NAME = ".training.lock"


class ProcessesError(MixingBuddyError):
    """The processes that were started do not train together."""


def check_world_size(
    training_args: TrainingArguments, environ: Mapping[str, str] = os.environ
) -> None:
    """Make sure that every process that was started takes part.

    accelerate, told to use several GPUs where there is none, starts processes that know nothing of
    one another; so does ``srun`` without ``torchrun``. Each would train alone, on all rows.

    Args:
        training_args: the arguments; making them joins the process group.
        environ: environment variables.

    Raises:
        ProcessesError: fewer processes take part than the environment says were started, or the
            model was to be sharded and would not be.
    """
    joined = training_args.world_size
    for variable in _WORLD_SIZE_VARIABLES:
        started = environ.get(variable, "1")
        if started.isdecimal() and int(started) > joined:
            raise ProcessesError(
                f"{variable}={started}, but {joined} of these processes can train together: the "
                "others would train alone and write the same folder. On GPUs, check that each "
                "process sees one (nvidia-smi, CUDA_VISIBLE_DEVICES); on CPUs, use `torchrun "
                f"--nproc_per_node {started} train_sft.py ... --use_cpu`."
            )
    if training_args.device.type == "cpu":
        for variable in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
            if environ.get(variable, "false").lower() == "true":
                raise ProcessesError(
                    f"{variable} is set, but this run is on the CPU, and accelerate shards models "
                    "on GPUs only: it would train a whole model in each process. Use torchrun "
                    "alone there."
                )


def describe_world(training_args: TrainingArguments) -> str:
    """Say how many processes train, on what, and the batch size that they make together."""
    state = training_args.distributed_state
    batch, steps = training_args.train_batch_size, training_args.gradient_accumulation_steps
    world_size = training_args.world_size
    kind = f" ({state.distributed_type.value}, {state.backend})" if world_size > 1 else ""
    processes = "1 process" if world_size == 1 else f"{world_size} processes"
    return (
        f"{processes} on {training_args.device.type}{kind}; global batch {world_size} x {batch} x "
        f"{steps} accumulated = {world_size * batch * steps} samples a step."
    )


def claim_output_folder(training_args: TrainingArguments, timeout_s: float = 15.0) -> FileLock:
    """Keep any other run from writing the same folder until this process ends.

    The operating system lets go of the lock when the process dies, however it dies.

    Args:
        training_args: the arguments; processes other than the first claim nothing.
        timeout_s: how long to wait. Data-loading workers of a killed run hold its lock until they
            notice, which takes them a few seconds.

    Returns:
        The lock, held by the first process for as long as the object lives.

    Raises:
        OutputError: another run writes the folder.
    """
    folder = Path(training_args.output_dir)
    lock = FileLock(folder / LOCK_NAME)
    if training_args.process_index == 0:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            raise OutputError(
                f"{folder}: another training run is writing there. Wait for it, or choose another "
                "--output_dir; to train in several processes, see docs/clusters.md."
            ) from None
    return lock


def start_run(training_args: TrainingArguments) -> FileLock:
    """Check the processes, claim the output folder and say what takes part.

    Returns:
        The lock of the output folder, to be kept until the end.

    Raises:
        ProcessesError: see `check_world_size`.
        OutputError: see `claim_output_folder`.
    """
    check_world_size(training_args)
    lock = claim_output_folder(training_args)
    if training_args.process_index == 0:
        print(describe_world(training_args), flush=True)
    return lock


def num_known(levels_db: torch.Tensor) -> torch.Tensor:
    """Count the levels that are not NaN: `torch.Tensor` of shape `()`, float32."""
    return levels_db.isnan().logical_not().sum(dtype=torch.float32)


def count_known_levels(batches: Sequence[Mapping[str, Any]], accelerator: Any) -> torch.Tensor:
    """Count the stem levels known in the batches of one step, by all processes.

    Args:
        batches: this process's batches of one optimiser step.
        accelerator: the trainer's ``Accelerator``.

    Returns:
        `torch.Tensor` of shape `()`.
    """
    counted = sum(
        num_known(batch["stem_levels_labels_db"]).item()
        for batch in batches
        if "stem_levels_labels_db" in batch
    )
    return accelerator.reduce(torch.tensor(counted, device=accelerator.device), reduction="sum")
