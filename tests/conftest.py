"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixing_buddy.stems import STEMS

# Nothing in the tests may wait for a network; read by the libraries when they are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with real audio and reference values, beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("the folder `shared`, with real audio and references, is not beside the repo")
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep decoded stems out of the user's cache, and apart from test to test."""
    monkeypatch.setenv("MIXING_BUDDY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write_song() -> Callable[..., Path]:
    """Function that writes a synthetic song; see `_write_song`."""
    return _write_song


@pytest.fixture
def song_root(tmp_path: Path) -> Path:
    """A tiny source: two training songs and a test song of 20 s, all stems audible."""
    root = tmp_path / "tiny-songs"
    for index, place in enumerate(("train/Amber", "train/Basalt", "test/Coral")):
        _write_song(root / place, duration_s=20.0, seed=index)
    (root / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    return root


def _write_song(
    folder: Path,
    *,
    duration_s: float = 20.0,
    sample_rate: int = 24_000,
    num_channels: int = 1,
    silent: tuple[str, ...] = (),
    suffix: str = ".wav",
    seed: int = 0,
) -> Path:
    """Write four stems of noise at about -25 dBFS RMS each, those in `silent` as zeros."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for stem in STEMS:
        shape = (round(duration_s * sample_rate), num_channels)
        samples = rng.normal(0.0, 0.0 if stem in silent else 0.056, shape).clip(-1.0, 1.0)
        soundfile.write(folder / f"{stem}{suffix}", samples, sample_rate, subtype="PCM_16")
    return folder
