"""Several processes train as one does, go on when one is killed, and never write apart."""

import json
import multiprocessing
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from distributed_run import train
from transformers import TrainingArguments

from mixing_buddy.errors import MixingBuddyError, OutputError
from mixing_buddy.training.arguments import AugmentationArguments, DataArguments
from mixing_buddy.training.distributed import (
    ProcessesError,
    check_world_size,
    claim_output_folder,
    describe_world,
)
from mixing_buddy.training.streaming import RowStream, stream_training_rows

REPOSITORY = Path(__file__).resolve().parents[1]
ACCELERATE = sorted((REPOSITORY / "configs" / "accelerate").glob("*.yaml"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A tiny dataset of 16 training rows, and its songs."""
    from tiny import write_song

    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import build_dataset

    root = tmp_path_factory.mktemp("built")
    for index, place in enumerate(("train/Amber", "train/Basalt")):
        write_song(root / "songs" / place, duration_s=20.0, seed=index)
    (root / "songs" / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    config = MixingBuddyDatasetConfig(
        sources=(str(root / "songs"),), sampling="sample", samples_per_chunk=4
    )
    build_dataset(config, root / "dataset")
    return str(root / "dataset"), str(root / "songs")


@pytest.fixture(scope="module")
def two_processes(built, tmp_path_factory):
    """What two processes under torchrun wrote: results of each rank, and of the resumed run."""
    out = tmp_path_factory.mktemp("two")

    def launch():
        # Not torchrun's own restarts: gloo at times meets addresses of the processes that died.
        return subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--standalone", "--nproc_per_node", "2"),
                *(str(REPOSITORY / "tests" / "distributed_run.py"), str(out), *built),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MIXING_BUDDY_CACHE": str(out / "cache")},
            timeout=300,
        )

    killed = launch()
    assert killed.returncode != 0 and "exitcode  : -9" in killed.stderr, killed.stderr[-4000:]
    resumed = launch()
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    ranks = [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]
    return ranks, json.loads((out / "resumed0.json").read_text())


def test_two_processes_have_the_loss_curve_of_one(two_processes, tmp_path):
    (first, _), _ = two_processes
    alone, accumulated = (
        np.array(train(tmp_path, world_size=1, accumulation=each)) for each in (1, 2)
    )
    assert alone.shape == (4, 3) and not np.isclose(alone[0, 0], alone[-1, 0], rtol=0.1)
    # All but the level error, which is logged as a mean over accumulated batches.
    np.testing.assert_allclose(accumulated[:, ::2], alone[:, ::2], rtol=1e-4)
    for curve, wanted in zip(first["curves"], (alone, accumulated), strict=True):
        np.testing.assert_allclose(curve, wanted, rtol=1e-4, atol=1e-5)


def test_after_one_process_was_killed_both_go_on_with_the_same_losses(two_processes):
    (first, _), (checkpoint, resumed) = two_processes
    assert checkpoint == "checkpoint-2"
    np.testing.assert_allclose(resumed, first["with_dropout"], rtol=1e-6)


@pytest.mark.parametrize("way", [0, 1], ids=["without workers", "with two workers"])
def test_two_processes_stream_disjoint_rows_that_are_all_rows(two_processes, built, way):
    ranks, _ = two_processes
    stream = RowStream(((built[0], "single_mix", "train"),), 1, 5, 0)
    every = sorted(row["uid"] for row in stream.one_pass(0, 0))
    assert len(every) == 16
    assert sorted(ranks[0]["streamed"][way] + ranks[1]["streamed"][way]) == every


def test_world_size_is_said(two_processes, tmp_path):
    ranks, _ = two_processes
    assert ranks[0]["world"].startswith("2 processes on cpu (MULTI_CPU, gloo); global batch 2 x 8")
    alone = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, gradient_accumulation_steps=3)
    assert describe_world(alone) == (
        "1 process on cpu; global batch 1 x 8 x 3 accumulated = 24 samples a step."
    )


def test_the_stream_has_another_order_at_each_pass_and_never_ends(built):
    stream = RowStream(((built[0], "single_mix", "train"),), 3, 100, 7)
    passes = [
        [[row["uid"] for row in stream.one_pass(part, index)] for part in range(3)]
        for index in range(2)
    ]
    for parts in passes:
        assert len({uid for part in parts for uid in part}) == sum(map(len, parts)) == 16
    assert passes[0] != passes[1]
    read = stream.read([0], lambda batch: batch)
    both = [next(read)["uid"] for _ in range(len(passes[0][0]) + len(passes[1][0]))]
    assert both == passes[0][0] + passes[1][0]


def test_a_stream_without_a_number_of_steps_is_refused(built, tmp_path):
    dataset, songs = built
    data = DataArguments(dataset=[dataset], songs=[songs], streaming=True)
    endless = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(MixingBuddyError, match="--max_steps"):
        stream_training_rows(data, endless, AugmentationArguments())
    endless.max_steps = 3
    with pytest.raises(MixingBuddyError, match="swap_stems_probability"):
        stream_training_rows(data, endless, AugmentationArguments(swap_stems_probability=0.5))


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_that_do_not_train_together_are_refused(variable):
    gpu = torch.device("cuda")
    arguments = Namespace(world_size=1, device=gpu)
    check_world_size(arguments, {variable: "1"})
    with pytest.raises(ProcessesError, match=f"(?s){variable}=2, but 1 .*torchrun"):
        check_world_size(arguments, {variable: "2"})
    # One SLURM task a machine, eight processes each.
    check_world_size(
        Namespace(world_size=16, device=gpu), {"WORLD_SIZE": "16", "SLURM_STEP_NUM_TASKS": "2"}
    )


def test_sharding_that_was_asked_for_and_not_got_is_refused(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    for variable in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        check_world_size(arguments, {variable: "false"})
        with pytest.raises(ProcessesError, match="GPUs only"):
            check_world_size(arguments, {variable: "true"})


def test_one_run_only_writes_a_folder(tmp_path):
    first = Namespace(output_dir=str(tmp_path / "run"), process_index=0)
    lock = claim_output_folder(first)
    with pytest.raises(OutputError, match="another training run"):
        claim_output_folder(first, timeout_s=0.1)
    other = claim_output_folder(Namespace(output_dir=first.output_dir, process_index=1))
    assert not other.is_locked
    lock.release()
    claim_output_folder(first, timeout_s=0.1).release()


def _decode(barrier, folder, cache, decoded):
    import mixing_buddy.stem_store as stem_store
    from mixing_buddy.songs import find_song, read_source

    load_stems = stem_store.load_stems

    def counting(song, sample_rate):
        decoded.put(song.name)
        return load_stems(song, sample_rate)

    stem_store.load_stems = counting
    song = find_song(read_source(folder), "train", "Amber")
    barrier.wait()
    assert stem_store.StemStore(cache).open(song).shape[0] == 4


def test_processes_that_start_together_decode_a_song_once(built, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, decoded = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_decode, args=(barrier, built[1], str(tmp_path), decoded))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert decoded.get(timeout=1) == "Amber"
    assert decoded.empty()


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_takes_the_configuration(path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path))
    assert config.use_cpu is False and config.num_processes % config.num_machines == 0
    # What stands in the sections must be options of `accelerate launch`: it ignores others.
    options = set(vars(launch_command_parser().parse_args(["--config_file", str(path), "x.py"])))
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(getattr(config, section)) <= options
    # Precision belongs to the training configuration, which would win anyway.
    assert "mixed_precision" not in yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2_two_nodes"])
def test_fsdp_cuts_the_real_models_structure_by_layer(name, make_tiny_buddy):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy

    settings = yaml.safe_load((REPOSITORY / f"configs/accelerate/{name}.yaml").read_text())
    wrapped = settings["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"].split(",")
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=wrapped,
    )
    # MERT-v1-330M's layers are of this kind.
    model, _ = make_tiny_buddy(do_stable_layer_norm=True, feat_extract_norm="layer")
    policy = fsdp2_prepare_auto_wrap_policy(plugin, model)
    found = [type(module).__name__ for module in model.modules() if policy(module)]
    assert found == [wrapped[1]] * 2 + [wrapped[0]] * 4
