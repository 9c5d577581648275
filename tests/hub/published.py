"""What is published in the tests, the publishing, and what a stranger then finds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from processes import run_python
from server import StandInHub, stand_in_hub
from visitor import weights_of

from mixing_buddy.audio import read_audio, resample, to_mono
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.evaluation.grading import mix_key, song_key, summarise
from mixing_buddy.evaluation.reports import describe_run
from mixing_buddy.labels import decode_labels
from mixing_buddy.rows import open_rows
from mixing_buddy.schema import MODES
from mixing_buddy.stems import STEMS

ROOT = Path(__file__).resolve().parents[2]
# What a clone holds and the push needs, dot files and leavings apart.
CLONED = (
    "dataset_builder",
    "examples",
    "metrics",
    "mixing_buddy",
    "modeling",
    "space",
    "push_to_hub.py",
)
SAID_OF_TINY = """\
---
license: apache-2.0
---

## What it was trained on

Nothing: it is random.
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("round-trip")


@pytest.fixture(scope="session")
def clone(place) -> Path:
    """A copy of the repository, links as links."""
    folder = place / "clone"
    folder.mkdir()
    for name in CLONED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def datasets(place) -> dict[str, Path]:
    """Recipes, and recipes with audio, of two tiny songs; every config."""
    rng = np.random.default_rng(0)
    for place_of_song in ("train/Amber", "test/Coral"):
        folder = place / "songs" / place_of_song
        folder.mkdir(parents=True)
        for stem in STEMS:
            samples = rng.normal(0.0, 0.056, 240_000).clip(-1.0, 1.0)
            soundfile.write(folder / f"{stem}.wav", samples, 24_000, subtype="PCM_16")
    (place / "songs" / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    config = MixingBuddyDatasetConfig(
        sources=(str(place / "songs"),), sampling="sample", samples_per_chunk=2
    )
    built = {}
    for name, embed_audio in (("tiny-recipes", False), ("tiny-audio", True)):
        built[name] = place / name
        settings = BuildSettings(modes=tuple(MODES), embed_audio=embed_audio)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MIXING_BUDDY_CACHE", str(place / "stems"))
            build_dataset(config, built[name], settings)
    return built


@pytest.fixture(scope="session")
def tiny_folder(place, tiny_buddy) -> Path:
    """A tiny model as it was saved, with what its maker says of it."""
    model, processor = tiny_buddy
    folder = place / "tiny"
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(SAID_OF_TINY)
    return folder


@pytest.fixture(scope="session")
def report(place, datasets) -> Path:
    """What `mixing-buddy evaluate --out` would write of nano, had it always been right."""
    dataset = str(datasets["tiny-recipes"])
    rows = labelled(dataset)
    answers = [row["response"] for row in rows]
    run = describe_run(
        None, dataset, config="single_mix", split="test", prompt_category=None, limit=None
    )
    report = {"run": run, **summarise(rows, answers)}
    (place / "report.json").write_text(json.dumps(report))
    return place / "report.json"


def labelled(dataset: str) -> list[dict]:
    return [decode_labels(row) for row in open_rows(dataset, "single_mix", "test")]


class Published(NamedTuple):
    """A stand-in that everything was pushed to, what was said, and the tiny model's new weights."""

    hub: StandInHub
    said: list[subprocess.CompletedProcess[str]]
    newer: str


@pytest.fixture(scope="session")
def published(place, clone, datasets, tiny_folder, report):
    """A push of everything from a clean copy, and of a tiny model in two versions."""
    with stand_in_hub() as hub:
        said = []

        def push(*arguments: str) -> None:
            done = run_python(
                hub,
                place / f"pusher-{len(said)}",
                str(clone / "push_to_hub.py"),
                *arguments,
                "--namespace",
                "jane",
                token=hub.write_token,
            )
            said.append(done)
            assert done.returncode == 0, done.stderr

        for_all = [part for folder in datasets.values() for part in ("--dataset", str(folder))]
        push("--what", "all", *for_all, "--report", str(report), "--tag", "v0.1.0")
        push("--what", "model", "--model", str(tiny_folder), "--tag", "v1")
        shutil.copytree(tiny_folder, place / "newer" / "tiny")
        newer = newer_weights(tiny_folder, place / "newer" / "tiny")
        push("--what", "model", "--model", str(place / "newer" / "tiny"))
        yield Published(hub, said, newer)
        assert hub.unknown == []
        assert not any(each.authorised for each in hub.requests if each.origin == "storage")


def newer_weights(folder: Path, out: Path) -> str:
    """Train a little, so to speak; return what names the new weights."""
    from mixing_buddy.modeling import MixingBuddyForConditionalGeneration

    model = MixingBuddyForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight += 1.0
    model.save_pretrained(out)
    return weights_of(model)


class Visited(NamedTuple):
    """What somebody found who has never seen the repository.

    Args:
        found: see `visitor.py`.
        folder: where it worked; the Space lies in `folder / "cwd" / "space"`.
        mix: what the model heard, of shape `(num_samples,)`.
        rows: rows that the metric was asked about.
        answers: what was answered.
    """

    found: dict[str, Any]
    folder: Path
    mix: np.ndarray
    rows: list[dict]
    answers: list[str]


@pytest.fixture(scope="session")
def visited(published, place, datasets) -> Visited:
    """A second process, which can't import the package and starts with an empty cache."""
    folder, mix = place / "visitor", real_mix()
    (folder / "cwd").mkdir(parents=True)
    soundfile.write(folder / "cwd" / "mix.wav", mix, 24_000, subtype="FLOAT")
    rows = labelled(str(datasets["tiny-recipes"]))
    answers = [rows[0]["response"]] * len(rows)
    asked = {
        "datasets": [f"jane/mixing-buddy-{name}" for name in datasets],
        "model": "jane/mixing-buddy-tiny",
        "tag": "v1",
        "nano": "jane/mixing-buddy-nano",
        "metric": "jane/gain_advice",
        "given": {"predictions": answers, "references": references(rows)},
        "space": "jane/mixing-buddy",
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    visitor = str(Path(__file__).parent / "visitor.py")
    done = run_python(published.hub, folder, visitor, str(folder / "asked.json"), hide=True)
    assert done.returncode == 0, done.stderr
    return Visited(json.loads(done.stdout.splitlines()[-1]), folder, mix, rows, answers)


def references(rows):
    kept = ("category", "target", "anchor", "direction", "min_db", "max_db")
    return [
        {name: row[name] for name in kept} | {"song": song_key(row), "mix": mix_key(row)}
        for row in rows
    ]


def real_mix() -> np.ndarray:
    """Ten seconds of a real song, mono at 24 kHz."""
    stems = [read_audio(ROOT / "examples" / "rubidium" / f"{stem}.flac") for stem in STEMS]
    mix = to_mono(sum(samples for samples, _ in stems))
    return resample(mix, stems[0][1], 24_000)[:240_000].astype(np.float32)
