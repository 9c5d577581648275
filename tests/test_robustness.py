"""Whatever a user hands in or does: the documented exit code, one line, nothing half-written."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.streams import stream_audio
from mixing_buddy.audio import audio_info, read_audio, write_audio
from mixing_buddy.cli import main
from mixing_buddy.errors import AudioError, MixingBuddyError, OutputError, ProjectError
from mixing_buddy.files import open_to_replace
from mixing_buddy.stems import STEMS

RATE = 24_000
DATA = Path(__file__).parent / "data" / "workstations"
NANO = Path(__file__).parents[1] / "mixing_buddy" / "checkpoints" / "nano"

#: What a user types, and what it must never print.
DOCUMENTED = {0, 1, 2, 3, 130}


def fuzz(max_examples: int):
    return settings(
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@dataclass
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line that says what was wrong."""
        return self.err.rstrip("\n").split("\n")[-1].rsplit("\r", 1)[-1]

    def check(self) -> Ended:
        assert self.code in DOCUMENTED, self
        assert "Traceback" not in self.out + self.err, self
        if self.code == 1:
            assert self.message.startswith("mixing-buddy: "), self
            assert self.err.count("mixing-buddy: ") == 1, self
            assert self.message.isprintable(), self
        return self


@pytest.fixture(scope="session")
def nano():
    from mixing_buddy.cli.options import load_buddy

    return load_buddy(None, None, 16)


@pytest.fixture
def cli(monkeypatch, nano, capfd) -> Callable[..., Ended]:
    """Function that runs a command in this process, with a nano that is loaded already."""
    from mixing_buddy.cli import options

    load = options.load_buddy
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(
        options,
        "load_buddy",
        lambda model, *args, **kwargs: nano if model is None else load(model, *args, **kwargs),
    )

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mixing-buddy", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return Ended(code, *capfd.readouterr()).check()

    return run


@pytest.fixture
def heard(tmp_path_factory, nano, monkeypatch) -> None:
    """Let every song be heard as one that was: for tests of what comes after listening."""
    if not _HEARD:
        song = write_tracks(tmp_path_factory.mktemp("heard") / "song")
        _HEARD.append(nano.advise(song, anchor="drums", measure=True))
    monkeypatch.setattr(type(nano), "advise", lambda *_, **__: _HEARD[0])


_HEARD: list = []


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of songs and the dataset that was built of them."""
    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset

    root = tmp_path_factory.mktemp("robust") / "tiny-songs"
    for index, place in enumerate(("train/Amber", "test/Coral")):
        tiny.write_song(root / place, duration_s=10.0, seed=index)
    (root / "source.yaml").write_text("name: tiny\nlicence: CC0-1.0\n")
    out = root.parent / "dataset"
    cache = root.parent / "stems"
    config = MixingBuddyDatasetConfig(sources=(str(root),), stem_cache_dir=str(cache))
    build_dataset(config, out, BuildSettings())
    return root, out


def noise(duration_s: float = 3.0, *, seed: int = 0, amplitude: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, amplitude, round(duration_s * RATE)).clip(-1, 1)


def write_tracks(folder: Path, *, duration_s: float = 3.0, subtype: str = "PCM_16") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, stem in enumerate(STEMS):
        samples = noise(duration_s, seed=index)
        soundfile.write(folder / f"{stem}.wav", samples, RATE, subtype=subtype)
    return folder


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# Damaged files


FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}


@pytest.fixture(scope="module")
def whole_files() -> dict[str, bytes]:
    files = {}
    for name, (file_format, subtype) in FORMATS.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, noise(2.5), RATE, format=file_format, subtype=subtype)
        files[name] = buffer.getvalue()
    return files


def damage(data: bytes, draw, *, header: int = 200) -> bytes:
    """Overwrite bytes near the start, then perhaps cut the file anywhere."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, min(header, len(spoilt)) - 1))
        piece = draw(
            st.sampled_from([b"\0", b"\xff", b"\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80"])
            | st.binary(min_size=1, max_size=4)
        )
        spoilt[place : place + len(piece)] = piece
    if draw(st.booleans()):
        del spoilt[draw(st.integers(0, len(spoilt))) :]
    return bytes(spoilt)


@pytest.mark.parametrize("name", FORMATS)
@fuzz(60)
@given(data=st.data())
def test_damaged_audio_is_read_or_refused(tmp_path, whole_files, name, data):
    path = tmp_path / f"song.{name}"
    path.write_bytes(damage(whole_files[name], data.draw))
    for read in (
        read_audio,
        audio_info,
        open_song,
        lambda p: [block.shape for block in stream_audio(p, RATE, 10)],
    ):
        try:
            read(path)
        except MixingBuddyError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("name", FORMATS)
@fuzz(4)
@given(data=st.data())
def test_damaged_audio_ends_advise_as_documented(tmp_path, cli, whole_files, name, data):
    path = tmp_path / f"song.{name}"
    path.write_bytes(damage(whole_files[name], data.draw))
    assert cli("advise", path, "--anchor", "drums").code in (0, 1, 3)


@pytest.mark.parametrize("rate", [0, 1, 2**31 - 1])
def test_a_sample_rate_beyond_all_reason_is_refused(tmp_path, whole_files, rate):
    path = tmp_path / "song.wav"
    data = whole_files["wav"]
    path.write_bytes(data[:24] + rate.to_bytes(4, "little") + data[28:])
    for read in (read_audio, audio_info, open_song):
        with pytest.raises(AudioError):
            read(path)


CONTENTS = {
    "NaN": (np.where(np.arange(3 * RATE) == RATE, np.nan, 0.1), 1, "NaN"),
    "infinite": (np.where(np.arange(3 * RATE) == RATE, -np.inf, 0.1), 1, "infinite"),
    "DC": (np.full(3 * RATE, 0.5), None, ""),
    "silence": (np.zeros(3 * RATE), 1, "nothing to judge"),
    "clipped": (np.sign(noise()), None, ""),
    "far beyond full scale": (noise() * 1e30, None, ""),
    "denormal": (noise() * 1e-40, 1, "nothing to judge"),
    "one sample": (np.array([0.5]), 1, "at least 2 s"),
    "no samples": (np.zeros(0), 1, "zero length"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_any_content_is_judged_or_refused(tmp_path, cli, content):
    samples, code, message = CONTENTS[content]
    path = tmp_path / "song.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    page = tmp_path / "page.html"
    done = cli("advise", path, "--anchor", "drums", "--html", page)
    assert done.code in ((0, 3) if code is None else (code,)), done
    assert message in done.err
    assert page.exists() == (done.code != 1)


@pytest.mark.parametrize("content", ["NaN", "DC", "silence", "one sample", "no samples"])
def test_any_content_of_one_track_is_judged_or_refused(tmp_path, cli, content):
    folder = write_tracks(tmp_path / "song")
    soundfile.write(folder / "bass.wav", CONTENTS[content][0], RATE, subtype="FLOAT")
    out = tmp_path / "out"
    done = cli("advise", folder, "--anchor", "drums", "--apply", out)
    assert done.code == (1 if content in ("NaN", "no samples") else 0), done
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        ["out", "song"] if done.code == 0 else ["song"]
    )


@pytest.mark.parametrize("data", [b"", b"\0", b"RIFF", b"no audio" * 50])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.aiff", "a.txt", "a"])
def test_what_is_no_audio_is_refused(tmp_path, cli, name, data):
    (tmp_path / name).write_bytes(data)
    assert cli("advise", tmp_path / name).code == 1


def test_a_header_that_promises_more_is_refused(tmp_path, cli, whole_files):
    lies = {
        "a.wav": (40, (0x7FFFFF00).to_bytes(4, "little")),
        "b.aiff": (22, (0x7FFFFF00).to_bytes(4, "big")),
        "c.flac": (21, b"\xff" * 5),
    }
    for name, (place, promise) in lies.items():
        data = whole_files[name.split(".")[1]]
        (tmp_path / name).write_bytes(data[:place] + promise + data[place + len(promise) :])
        done = cli("advise", tmp_path / name, "--json")
        assert done.code in (0, 1, 3)


# Projects


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def oversized(path: Path, name: str, size: int) -> None:
    """Let an archive say that a member unpacks to that size."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    while data[entry + 46 : entry + 46 + len(name)] != name.encode():
        entry = data.index(b"PK\x01\x02", entry + 4)
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(data))


PROJECTS = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(b"\x89\0\xff" * 999),
    "half an archive": lambda path: path.write_bytes(
        archive_of(path, {"project.xml": b"<Project/>"}).read_bytes()[:40]
    ),
    "no project": lambda path: archive_of(path, {"other.xml": b"<Project/>"}),
    "entities": lambda path: archive_of(
        path,
        {"project.xml": b'<!DOCTYPE p [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><P>&b;</P>'},
    ),
    "deep": lambda path: archive_of(
        path,
        {
            "project.xml": b"<Project><Structure>"
            + b"<Track>" * 50_000
            + b"</Track>" * 50_000
            + b"</Structure></Project>"
        },
    ),
    "deep lanes": lambda path: archive_of(
        path,
        {
            "project.xml": b"<Project><Arrangement>"
            + b"<Lanes>" * 50_000
            + b"</Lanes>" * 50_000
            + b"</Arrangement></Project>"
        },
    ),
    "huge": lambda path: oversized(
        archive_of(path, {"project.xml": b"<Project/>"}), "project.xml", 2**31
    ),
}


@pytest.mark.parametrize("kind", PROJECTS)
def test_hostile_dawprojects_end_in_one_line(tmp_path, cli, kind):
    path = tmp_path / "song.dawproject"
    PROJECTS[kind](path)
    assert cli("advise", path, "--write", tmp_path / "out.dawproject").code == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [b"", b"<", b"<REAPER_PROJECT", b"<REAPER_PROJECT\n>", b"<REAPER_PROJECT\n" + b"<A\n" * 10**4,
     b"\xff\xfe<\0", b"<REAPER_PROJECT\n<TRACK\n<ITEM\n<SOURCE WAVE\nFILE /dev/zero\n>\n>\n>\n>"],
)  # fmt: skip
def test_hostile_rpps_end_in_one_line(tmp_path, cli, text):
    path = tmp_path / "song.rpp"
    path.write_bytes(text)
    assert cli("advise", path, "--write", tmp_path / "out.rpp").code == 1
    assert list(tmp_path.iterdir()) == [path]


def test_audio_that_would_fill_the_disk_is_not_unpacked(tmp_path, monkeypatch):
    from mixing_buddy.workstations.listening import open_project

    path = tmp_path / "song.dawproject"
    archive_of(
        path,
        {"project.xml": (DATA / "project.xml").read_bytes(), "audio/kick.wav": bytes(2**20),
         "audio/vox.wav": bytes(2**20)},
    )  # fmt: skip
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 2**20})())
    with pytest.raises(ProjectError, match="space"), open_project(path):
        pass


# Tables and descriptions


def write_consensus(path: Path) -> bytes:
    lines = ["song,engineer,stem,gain_db"]
    for engineer in "abcd":
        lines += [f"Amber,{engineer},{stem},{len(stem) / 2 + ord(engineer) % 3}" for stem in STEMS]
    path.write_text("\n".join(lines) + "\n")
    return path.read_bytes()


@fuzz(40)
@given(data=st.data())
def test_damaged_tables_are_read_or_refused(tmp_path, data):
    from mixing_buddy.consensus.sources import READERS
    from mixing_buddy.consensus.tables import read_consensus

    path = tmp_path / "balances.csv"
    path.write_bytes(damage(write_consensus(path), data.draw, header=10**6))
    for reader in (*READERS.values(), lambda p, **_: read_consensus(p)):
        try:
            reader(path, stem_names={})
        except MixingBuddyError:
            pass


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize(
    "data", [b"", b"\0\0", b"PAR1", b"PAR1xxxxPAR1", b'"', b"a\n1,2\n", b"\xff"]
)
def test_what_is_no_table_is_refused(tmp_path, cli, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert cli("consensus", path, "--out", tmp_path / "out").code == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text", [b"[", b"\xff\xfe", b"- a", b"name: [1]", b"name: a/b", b"a: " + b"[" * 50_000, b"\0",
             b"name: &a [*a]", b"licences: {1: 2}", b"? {a: b}\n: c", b"name: !!python/object:os.x"]
)  # fmt: skip
def test_a_bad_source_yaml_is_refused(tmp_path, cli, text):
    root = tmp_path / "songs"
    tiny.write_song(root / "test" / "Amber", duration_s=1.0)
    (root / "source.yaml").write_bytes(text)
    assert cli("build", root, "--out", tmp_path / "out").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["songs"]


@pytest.mark.parametrize(
    "mapping", ["", "=", "=vocals", "bass", "bass.wav=", "bass.wav=tuba", "x=bass", "[/b]=bass",
                "bass=bass=bass", "\n=bass", "bass.wav=\x1b[31m"]
)  # fmt: skip
def test_a_bad_map_is_refused(tmp_path, cli, mapping):
    folder = write_tracks(tmp_path / "song")
    assert cli("advise", folder, "--map", mapping).code == 1


# Datasets and models


def spoil_parquet(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    for path in folder.rglob("*.parquet"):
        path.write_bytes(spoil(path.read_bytes()))


def other_table(data: bytes) -> bytes:
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame({"a": [1, 2]}).to_parquet(buffer)
    return buffer.getvalue()


SPOILT = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "noise": lambda data: b"\0\1\2" * 500,
    "no metadata": lambda data: data[:-40] + b"\0" * 36 + b"PAR1",
    "middle": lambda data: data[:200] + b"\xff" * 400 + data[600:],
    "of another kind": other_table,
}


@pytest.mark.parametrize("kind", SPOILT)
def test_damaged_datasets_end_in_one_line(tmp_path, cli, built, monkeypatch, kind):
    import shutil

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    root, dataset = built
    spoilt = tmp_path / "dataset"
    shutil.copytree(dataset, spoilt)
    if kind == "of another kind":
        (spoilt / "README.md").unlink()
    spoil_parquet(spoilt, SPOILT[kind])
    songs = ("--songs", root)
    out = tmp_path / "out"
    commands = [
        ("evaluate", spoilt, *songs, "--out", out),
        ("render", spoilt, *songs, "--out", out),
        ("inspect", spoilt, *songs, "--out", out),
    ]
    for command in commands:
        assert cli(*command).code == 1, command
        assert not out.exists()


def copy_of_nano(folder: Path) -> Path:
    folder.mkdir()
    for path in NANO.iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    return folder


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def without_some_weights(data: bytes) -> bytes:
    from safetensors.torch import load, save

    tensors = load(data)
    return save(dict(list(tensors.items())[::2]), metadata={"format": "pt"})


MODEL_DAMAGE = {
    "weights cut": ("model.safetensors", lambda data: data[: len(data) // 2]),
    "weights empty": ("model.safetensors", lambda data: b""),
    "weights noise": ("model.safetensors", lambda data: b"\xff" * 100),
    "weights missing": ("model.safetensors", None),
    "half of the weights": ("model.safetensors", without_some_weights),
    "config cut": ("config.json", lambda data: data[: len(data) // 2]),
    "config a list": ("config.json", lambda data: b"[1]"),
    "config empty": ("config.json", lambda data: b"{}"),
    "config binary": ("config.json", lambda data: b"\xff\xfe\0"),
    "config of another model": ("config.json", lambda data: b'{"model_type": "bert"}'),
    "config missing": ("config.json", None),
    "config other size": (
        "config.json",
        lambda data: data.replace(b'"hidden_size": ', b'"hidden_size": 1'),
    ),
    "tokenizer cut": ("tokenizer.json", lambda data: data[: len(data) // 2]),
    "tokenizer missing": ("tokenizer.json", None),
    "tokenizer settings cut": ("tokenizer_config.json", lambda data: b"{"),
}


@pytest.mark.parametrize("kind", MODEL_DAMAGE)
def test_a_damaged_model_folder_ends_in_one_line(tmp_path, cli, kind):
    name, spoil = MODEL_DAMAGE[kind]
    folder = copy_of_nano(tmp_path / "model")
    if spoil is None:
        (folder / name).unlink()
    else:
        replace(folder / name, spoil((NANO / name).read_bytes()))
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(), RATE)
    done = cli("advise", song, "--model", folder)
    assert done.code == 1, done
    assert str(folder) in done.message


@pytest.mark.parametrize(
    "adapter", [None, b"{", b"{}", b"[]", b'{"peft_type": "LORA"}', b'{"peft_type": 1}']
)
def test_commands_on_models_refuse_what_is_none(tmp_path, cli, adapter):
    folder = tmp_path / "model"
    folder.mkdir()
    if adapter is not None:
        (folder / "adapter_config.json").write_bytes(adapter)
    out = tmp_path / "out"
    assert cli("merge", folder, out).code == 1
    assert cli("convert-encoder", folder, out).code == 1
    for what in ("adapter", "dataset", "model"):
        push = ("push", "--dry-run", "--namespace", "me", "--what", what, f"--{what}", folder)
        assert cli(*push).code == 1, what
    assert cli("serve", "--model", folder, "--port", 0).code == 1
    assert not out.exists()


@pytest.mark.parametrize("config", [b"{}", b"{", b'{"model_type": "hubert"}'])
@pytest.mark.parametrize("weights", [b"", b"\x80\x02garbage", b"PK\x03\x04zip", "list", "code"])
def test_convert_encoder_refuses_what_is_no_encoder(tmp_path, cli, config, weights):
    import pickle

    import torch

    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_bytes(config)
    if weights == "list":
        torch.save([1, 2], folder / "pytorch_model.bin")
    elif weights == "code":
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(os.getcwd))
    else:
        (folder / "pytorch_model.bin").write_bytes(weights)
    assert cli("convert-encoder", folder, tmp_path / "out").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


# Names


NAMES = [
    "Ünïcödé 音楽 🎚.wav",
    "two\nlines.wav",
    "-dash.wav",
    "a" * 246 + ".wav",
    "ö" * 120 + ".wav",
    "with space 'and' \"quotes\".wav",
    "<img src=x onerror=alert(1)>&amp;.wav",
    "[bold][red]:smile:.wav",
    "\x1b[31mred\x07.wav",
    os.fsdecode(b"latin-\xe9.wav"),
    "~nobody.wav",
    "%s{}{0}$HOME.wav",
    "name=vocals.wav",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_written_and_escaped(tmp_path, monkeypatch, cli, heard, name):
    song = tmp_path / "in"
    write_tracks(song)
    (song / "other.wav").rename(song / name)
    monkeypatch.chdir(song)
    out, page, gains = tmp_path / name, tmp_path / "page.html", tmp_path / "gains.csv"
    printed = cli(
        "advise", song, "--anchor", "drums", "--map", f"{name}=other", "--apply", out,
        "--html", page, "--gains", gains,
    )  # fmt: skip
    assert printed.code == 0, printed
    assert (out / name).is_file()
    assert "\x1b" not in printed.out and "\x07" not in printed.out
    if name.isprintable() and name.isascii() and len(name) < 100:
        assert name in printed.out
    told = json.loads(cli("advise", song, "--map", f"{name}=other", "--json").out)
    assert told
    html = page.read_text("utf-8")
    assert "<img src=x" not in html
    assert cli("advise", "--anchor", "drums", "--html", page, "--", name).code in (0, 3)
    assert "<img src=x" not in page.read_text("utf-8")
    soundfile.write(os.fsencode(song / name), np.zeros(0), RATE, format="WAV")
    refused = cli("advise", "--", name)
    assert refused.code == 1
    assert "zero length" in refused.message


def test_names_that_are_no_files_are_refused_without_waiting(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    odd = ["x.wav", "pipe.wav", "loop", "dangling.wav", "~no-such-user", "~no-such-user/x.wav"]
    paths = [*odd, "a" * 300, "/dev/zero", "/dev/null", "", "."]
    for path in paths:
        assert cli("advise", path).code == 1, path
        assert cli("compare", path, path).code == 1, path
        assert cli("build", path, "--out", "out").code == 1, path
        assert cli("render", path, "--songs", path, "--out", "out").code in (1, 2), path
        assert cli("evaluate", path, "--songs", path).code == 1, path
        assert cli("inspect", path).code == 1, path
        assert cli("consensus", path).code == 1, path
        assert not Path("out").exists()
    song = write_tracks(tmp_path / "song")
    for name in ("x.wav", "loop", "pipe.wav"):
        (tmp_path / name).rename(song / name)
    assert cli("advise", song, "--anchor", "drums").code == 0


# Outputs


class Full:
    """Lets every write to a file below a folder fail as on a full disk."""

    def __init__(self, monkeypatch, folder: Path, code: int = errno.ENOSPC):
        self.error = OSError(code, os.strerror(code))
        self.folder = folder
        self.write = os.write
        real_fdopen, real_open = os.fdopen, io.open

        def guard(file, name):
            if isinstance(name, int):
                name = os.readlink(f"/proc/self/fd/{name}")
            if str(name).startswith(str(folder)) and file.writable():
                return _FullFile(file, self.error)
            return file

        def opened(name, *args, **kwargs):
            return guard(real_open(name, *args, **kwargs), name)

        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(
            os, "fdopen", lambda fd, *args, **kwargs: guard(real_fdopen(fd, *args, **kwargs), fd)
        )


class _FullFile:
    """A file without room."""

    def __init__(self, file, error: OSError):
        self._file, self._error = file, error

    def write(self, *_):
        raise self._error

    writelines = write

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@contextlib.contextmanager
def small_files(most_bytes: int):
    """Let no file grow beyond a size, which libsndfile meets as it meets a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


OUTPUTS = {
    "--html": "page.html",
    "--gains": "gains.csv",
    "--labels": "labels.txt",
    "--apply": "out",
}


PLACES = ["/proc", "file/below", "/dev/full", "dir", "x" * 260]


@pytest.mark.parametrize(
    ("option", "target"),
    # A folder is just what --apply makes.
    [each for each in itertools.product(OUTPUTS, PLACES) if each != ("--apply", "dir")],
)
def test_outputs_that_cannot_be_written_end_in_one_line(tmp_path, cli, heard, option, target):
    song = write_tracks(tmp_path / "song")
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dir" / "inside").mkdir(parents=True)
    is_whole = target in ("/dev/full", "dir")
    target = tmp_path / target if is_whole else tmp_path / target / OUTPUTS[option]
    before = listing(tmp_path)
    done = cli("advise", song, "--anchor", "drums", option, target)
    assert done.code == 1, done
    assert listing(tmp_path) == before
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("option", ["--html", "--gains", "--labels"])
def test_a_full_disk_leaves_what_was_there(tmp_path, cli, heard, monkeypatch, option, code):
    song = write_tracks(tmp_path / "song")
    out = tmp_path / "out"
    out.mkdir()
    target = out / OUTPUTS[option]
    if option == "--html":
        target.write_text("an older page")
    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        Full(patch, out, code)
        done = cli("advise", song, "--anchor", "drums", option, target)
    assert done.code == 1, done
    assert os.strerror(code) in done.message
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
def test_a_full_disk_leaves_no_part_of_a_sound(tmp_path, name, subtype):
    with small_files(4096), pytest.raises(OutputError, match=name):
        write_audio(tmp_path / name, noise()[np.newaxis], RATE, subtype=subtype)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_part_of_corrected_tracks(tmp_path, cli, heard):
    song = write_tracks(tmp_path / "song", subtype="FLOAT")
    with small_files(65_536):
        done = cli("advise", song, "--fader", "bass=-3", "--apply", tmp_path / "out")
    assert done.code == 1, done
    assert [path.name for path in tmp_path.iterdir()] == ["song"]


def test_commands_on_a_full_disk_end_in_one_line(tmp_path, cli, built, monkeypatch):
    root, dataset = built
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        Full(patch, tmp_path)
        for command in (
            ("build", root, "--out", out),
            ("inspect", dataset, "--out", out),
            ("evaluate", dataset, "--songs", root, "--limit", 1, "--no-baselines", "--out", out),
        ):
            assert cli(*command).code == 1, command
    left = {name for name, data in listing(tmp_path).items() if data}
    assert left == set()


def test_outputs_never_replace_what_was_read(tmp_path, cli):
    song = write_tracks(tmp_path / "song")
    mix = tmp_path / "mix.wav"
    soundfile.write(mix, noise(), RATE)
    before = listing(tmp_path)
    for arguments in (
        ("advise", mix, "--html", mix),
        ("advise", song, "--html", song / "bass.wav"),
        ("advise", song, "--html", song),
        ("advise", song, "--apply", song),
        ("advise", song, "--gains", song / "bass.wav"),
        ("advise", song, "--labels", song / "bass.wav"),
        ("build", tmp_path, "--out", tmp_path),
    ):
        assert cli(*arguments).code == 1, arguments
        assert listing(tmp_path) == before, arguments


def test_outputs_may_lie_inside_the_input(tmp_path, cli, heard):
    song = write_tracks(tmp_path / "song")
    before = listing(song)
    arguments = ("advise", song, "--anchor", "drums", "--apply", song / "advised",
                 "--html", song / "advice.html")  # fmt: skip
    assert cli(*arguments).code == 0
    after = listing(song)
    assert before.items() <= after.items()
    again = cli(*arguments)
    assert again.code == 1 and "holds files already" in again.message
    assert listing(song) == after


@fuzz(20)
@given(size=st.integers(0, 5), fails=st.booleans())
def test_replacing_is_all_or_nothing(tmp_path, size, fails):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        with open_to_replace(path) as file:
            file.write(bytes(size))
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert path.read_bytes() == (b"old" if fails else bytes(size))
    assert list(tmp_path.iterdir()) == [path]


# Ends in the middle


def start(*arguments: object, before: str) -> subprocess.Popen:
    """Start a command in a process group of its own, as a shell does, after some code."""
    code = f"from mixing_buddy.cli import main\n{before}\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def interrupt(process: subprocess.Popen, when: Callable[[], bool]) -> Ended:
    """Press Ctrl-C once something is there."""
    deadline_s = time.monotonic() + 300
    try:
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Ended(process.returncode, out, err).check()


SLOW = """
import {module} as module, time, pathlib
def slowly(*args, real=module.{name}, **kwargs):
    {first}
    pathlib.Path({flag!r}).touch()
    time.sleep({seconds})
    return real(*args, **kwargs)
module.{name} = slowly
"""


def slow(module: str, name: str, flag: Path, *, first: str = "", seconds: float = 60) -> str:
    """Code that makes a function raise a flag and then take its time."""
    return SLOW.format(module=module, name=name, flag=str(flag), first=first, seconds=seconds)


def test_ctrl_c_while_listening(tmp_path, cli):
    song = write_tracks(tmp_path / "song")
    page, out = tmp_path / "page.html", tmp_path / "out"
    from torch.nn.modules.module import register_module_forward_pre_hook

    hook = register_module_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        done = cli("advise", song, "--html", page, "--apply", out)
    finally:
        hook.remove()
    assert done.code == 130, done
    assert done.message == "mixing-buddy: interrupted."
    assert list(tmp_path.iterdir()) == [song]


def test_ctrl_c_while_writing_tracks(tmp_path):
    song, flag = write_tracks(tmp_path / "song"), tmp_path / "writing"
    page, out = tmp_path / "page.html", tmp_path / "out"
    before = slow("mixing_buddy.advising.exporting", "_write_mix", flag)
    command = ("advise", song, "--anchor", "drums", "--html", page, "--apply", out)
    done = interrupt(start(*command, before=before), flag.exists)
    assert done.code == 130, done
    assert done.message == "mixing-buddy: interrupted."
    assert {path.name for path in tmp_path.iterdir()} == {"song", "writing"}


def test_ctrl_c_in_a_batch_that_then_goes_on(tmp_path, cli, monkeypatch):
    songs, out = tmp_path / "songs", tmp_path / "advice.jsonl"
    for name in ("a", "b"):
        write_tracks(songs / name)
    from mixing_buddy.advising.batches import AdviceFile

    real = AdviceFile.add

    def add(self, *args):
        real(self, *args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(AdviceFile, "add", add)
        done = cli("advise", songs, "--batch", out)
    assert done.code == 130, done
    assert done.message.endswith("mixing-buddy: interrupted.")
    (kept,) = out.read_text().splitlines()
    assert cli("advise", songs, "--batch", out).code == 0
    first, second = out.read_text().splitlines()
    assert first == kept
    paths = [json.loads(line)["song_path"] for line in (first, second)]
    assert paths == [str(songs / "a"), str(songs / "b")]


def test_ctrl_c_in_a_build_that_then_goes_on(tmp_path, built, cli, monkeypatch):
    root, dataset = built
    out, flag = tmp_path / "dataset", tmp_path / "writing"
    before = slow("mixing_buddy.dataset_builder.building", "write_rows", flag, seconds=1)
    process = start("build", root, "--out", out, "--num-proc", 2, before=before)
    done = interrupt(process, flag.exists)
    assert done.code == 130, done
    assert done.message == "mixing-buddy: interrupted."
    assert not out.exists()
    kept = len(list((tmp_path / ".dataset.building" / "songs").glob("*/single_mix.parquet")))
    assert kept >= 1
    from mixing_buddy.dataset_builder import building

    written = []
    real = building.write_rows
    monkeypatch.setattr(
        building,
        "write_rows",
        lambda path, *args, **kw: written.append(path) or real(path, *args, **kw),
    )
    assert cli("build", root, "--out", out).code == 0
    assert len(written) == 2 - kept
    assert not (tmp_path / ".dataset.building").exists()
    parquet = {n: d for n, d in listing(dataset).items() if n.endswith(".parquet")}
    assert {n: d for n, d in listing(out).items() if n.endswith(".parquet")} == parquet


def test_ctrl_c_in_an_evaluation_that_then_goes_on(tmp_path, built, cli):
    root, dataset = built
    out, flag = tmp_path / "report", tmp_path / "asking"
    answers = str(out / "answers.jsonl")
    first = f"if not pathlib.Path({answers!r}).exists(): return real(*args, **kwargs)"
    command = ("evaluate", dataset, "--songs", root, "--limit", 4, "--no-baselines", "--out", out,
               "--batch-size", 2)  # fmt: skip
    before = slow("mixing_buddy.evaluation.answering", "_ask", flag, first=first)
    done = interrupt(start(*command, before=before), flag.exists)
    assert done.code == 130, done
    assert done.message == "mixing-buddy: interrupted."
    assert sorted(path.name for path in out.iterdir()) == ["answers.jsonl", "settings.json"]
    kept = (out / "answers.jsonl").read_text()
    assert len(kept.splitlines()) == 2
    assert cli(*command).code == 0
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    found = {each["uid"]: each["answer"] for each in answers}
    assert [found[each["uid"]] for each in map(json.loads, kept.splitlines())] == [
        each["answer"] for each in map(json.loads, kept.splitlines())
    ]
    assert json.loads((out / "report.json").read_text())["num_rows"] == 4


@pytest.fixture
def noise_for_songs(monkeypatch) -> list[int]:
    """Let songs be generated of noise, without a synthesiser; gives the numbers of those made."""
    made: list[int] = []

    def generate(seed, index, split, **_):
        made.append(index)
        return {stem: noise(1.0, seed=index) for stem in STEMS}, {}

    monkeypatch.setattr("mixing_buddy.generated_songs.corpus.generate_song", generate)
    monkeypatch.setattr("mixing_buddy.generated_songs.corpus.check_soundfonts", lambda _: [])
    return made


def test_ctrl_c_while_songs_are_generated_that_then_goes_on(
    tmp_path, cli, monkeypatch, noise_for_songs
):
    command = ("generate-songs", tmp_path / "songs", "--count", 3)
    real = soundfile.write

    def write(path, *args, **kwargs):
        if len(noise_for_songs) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", write)
        done = cli(*command)
    assert done.code == 130, done
    assert done.message == "mixing-buddy: interrupted."
    assert [path.name for path in (tmp_path / "songs" / "train").iterdir()] == ["song-00000"]
    assert cli(*command).code == 0
    assert noise_for_songs == [0, 1, 1, 2]


def test_songs_on_a_full_disk_are_whole_or_not_there(tmp_path, cli, noise_for_songs):
    with small_files(65_536):
        done = cli("generate-songs", tmp_path / "big", "--count", 1)
        assert done.code == 0, done
    with small_files(4096):
        done = cli("generate-songs", tmp_path / "small", "--count", 1)
    assert done.code == 1, done
    assert list((tmp_path / "small" / "train").iterdir()) == []


@pytest.mark.parametrize("font", ["", "gone.sf2", "noise.sf2", "/dev/null", "."])
def test_generate_songs_refuses_what_is_no_soundfont_or_folder(tmp_path, cli, monkeypatch, font):
    monkeypatch.chdir(tmp_path)
    Path("noise.sf2").write_bytes(b"\0\1" * 99)
    Path("file").write_text("")
    assert cli("generate-songs", "out", "--count", 1, "--soundfont", font).code == 1
    assert cli("generate-songs", "file", "--count", 1).code == 1
    # The folder stands, for the next try; no part of a song is in it.
    assert not list(tmp_path.rglob("*song-*"))


def test_serve_says_what_is_wrong_with_an_address(cli):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli("serve", "--port", taken.getsockname()[1]).code == 1
    assert cli("serve", "--host", "256.0.0.1", "--port", 0).code == 1


def test_answers_and_settings_that_are_none_are_refused(tmp_path, built, cli):
    root, dataset = built
    out = tmp_path / "report"
    command = ("evaluate", dataset, "--songs", root, "--limit", 2, "--no-baselines", "--out", out)
    assert cli(*command).code == 0
    for name, texts in {
        "settings.json": ["", "[", "[]", "null", "1", "[" * 10**5],
        "answers.jsonl": ["1\n", "{}\n", "[]\n", "{\n", '{"uid": []}\n', "\udcff\n"],
    }.items():
        whole = (out / name).read_bytes()
        for text in texts:
            (out / name).write_bytes(text.encode("utf-8", "surrogateescape"))
            assert cli(*command).code == 1, (name, text)
        (out / name).write_bytes(whole)


class Gone(io.RawIOBase):
    """An output that takes nothing, until it is closed."""

    def __init__(self, code: int):
        self.code: int | None = code
        self._file = open(os.devnull, "wb")

    def fileno(self):
        return self._file.fileno()

    def writable(self):
        return True

    def write(self, data):
        if self.code is not None:
            raise OSError(self.code, os.strerror(self.code))
        return len(data)


@pytest.mark.parametrize("arguments", [("--json",), ()])
@pytest.mark.parametrize(("code", "is_silent"), [(errno.EPIPE, True), (errno.ENOSPC, False)])
def test_output_that_nobody_takes_is_no_traceback(
    tmp_path, cli, heard, monkeypatch, arguments, code, is_silent
):
    song = tmp_path / "song.wav"
    soundfile.write(song, noise(), RATE)
    gone = Gone(code)
    stream = io.TextIOWrapper(io.BufferedWriter(gone), "utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["mixing-buddy", "advise", str(song), *arguments])
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    with pytest.raises(SystemExit) as end:
        main()
    gone.code = None
    assert end.value.code == 1
    assert "Traceback" not in error.getvalue()
    assert ("mixing-buddy: " in error.getvalue()) != is_silent
    stream.close()


@pytest.mark.parametrize("shell", ["{} --help | true", "{} --help > /dev/full", "{} --help >&-"])
def test_a_shell_that_takes_no_output_gets_no_traceback(shell):
    command = Path(sys.executable).with_name("mixing-buddy")
    done = subprocess.run(["bash", "-c", shell.format(command)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_the_exit_codes_are_documented(cli):
    text = cli("--help").out
    guide = (Path(__file__).parents[1] / "docs" / "user-guide.md").read_text("utf-8")
    for code in map(str, DOCUMENTED):
        assert f"| {code} |" in guide
        assert f"{code} " in text.split("Exit codes")[1]


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("advise",), ("advise", "a", "--batch-size", "x"), ("--nonsense",)],
)
def test_wrong_options_end_with_2(cli, arguments):
    assert cli(*arguments).code == 2
