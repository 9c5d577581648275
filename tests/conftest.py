"""Fixtures that several test files share."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import tiny

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# Nothing in the tests may wait for a network; read by the libraries when they are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
# Processes that test side by side, one a core, would else start a thread for each core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with real audio and reference values, beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("the folder `shared`, with real audio and references, is not beside the repo")
    return path


@pytest.fixture
def killed_while_writing() -> Callable[[Path], Path]:
    """Let another process be killed while it writes a file; returns what it left of it."""

    def kill(path: Path) -> Path:
        before = {*path.parent.iterdir()}
        program = (
            "import os, pathlib, signal, sys\n"
            "from mixing_buddy.files import replacing\n"
            "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
            "    file.write_bytes(b'half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        (left,) = {*path.parent.iterdir()} - before
        return left

    return kill


@pytest.fixture(autouse=True)
def _heeded_interrupts():
    """Heed Ctrl-C even where a shell runs the tests in its background, and so ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _open_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep pytest's streams open: uvicorn sets logging up anew, which closes every handler, and
    absl's, which rouge_score brings, closes the stream that was stderr when it was imported."""
    monkeypatch.setattr(logging, "shutdown", lambda *_: None)


@pytest.fixture(autouse=True)
def _no_rest_after_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of Parquet files rest for seconds at their end; these are too small to need it."""
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Keep decoded stems out of the user's cache, and apart from test to test.

    The folder goes with the test: those of all tests together would fill gigabytes.
    """
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MIXING_BUDDY_CACHE", str(cache))
    yield
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture
def write_song() -> Callable[..., Path]:
    """Function that writes a synthetic song; see `tiny.write_song`."""
    return tiny.write_song


@pytest.fixture
def song_root(tmp_path: Path) -> Path:
    """A tiny source: two training songs and a test song of 20 s, all stems audible."""
    root = tmp_path / "tiny-songs"
    for index, place in enumerate(("train/Amber", "train/Basalt", "test/Coral")):
        tiny.write_song(root / place, duration_s=20.0, seed=index)
    (root / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    return root


@pytest.fixture(scope="session")
def tiny_buddy():
    """A tiny random model with nano's strides, in evaluation mode, and its processor."""
    return tiny.tiny_buddy(**tiny.NANO_STRIDES)


@pytest.fixture
def make_tiny_buddy():
    """Function that makes such a model anew, to be trained; takes fields of the encoder."""
    return lambda **audio_config: tiny.tiny_buddy(**{**tiny.NANO_STRIDES, **audio_config})


@pytest.fixture(scope="session")
def tiny_mert_strides():
    """The same with MERT's strides."""
    return tiny.tiny_buddy(
        conv_dim=[8] * 7, conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2]
    )


@pytest.fixture
def trainer_for(tmp_path):
    """Function that builds a trainer for a model, a processor and rows."""
    from datasets import Dataset
    from training_helpers import as_rendered
    from trl import SFTConfig

    from mixing_buddy.collation import SFTCollator
    from mixing_buddy.training.sft import MixingBuddySFTTrainer

    def build(model, processor, rows, peft_config=None, **arguments):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "remove_unused_columns": False,
            "bf16": False,
            "use_cpu": True,
            "activation_checkpointing": False,
            "per_device_train_batch_size": len(rows),
            "learning_rate": 3e-3,
            "warmup_steps": 5,
            "logging_steps": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
        }
        return MixingBuddySFTTrainer(
            model=model,
            args=SFTConfig(**{**defaults, **arguments}),
            train_dataset=Dataset.from_list(rows).with_transform(as_rendered),
            data_collator=SFTCollator(processor),
            processing_class=processor,
            peft_config=peft_config,
        )

    return build


@pytest.fixture(params=["a_base_group", "c_stable_relax"])
def mert(request, shared_dir) -> Path:
    """Folder of a tiny MERT, with what its authors' own code makes of it."""
    return shared_dir / "fixtures" / "mert" / request.param


@pytest.fixture
def language_model(tmp_path) -> Path:
    """Folder of a tiny Qwen2 with its tokenizer, which does not know the audio token."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mixing_buddy.tokenization import AUDIO_TOKEN, IM_END, train_tokenizer

    folder = tmp_path / "qwen2"
    tokenizer = train_tokenizer(["The drums are too loud. Lower the drums."] * 3, 300)
    tokenizer.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text().replace(AUDIO_TOKEN, "<|spare|>")
        (folder / name).write_text(text)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.convert_tokens_to_ids(IM_END),
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder
