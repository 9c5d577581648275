from __future__ import annotations

import csv
import inspect
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from mixing_buddy.cli.build import build
from mixing_buddy.cli.render import render
from mixing_buddy.dataset_builder import MixingBuddyDataset, MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.embedding import open_embedded
from mixing_buddy.errors import OutputError, RecipeError, SongError
from mixing_buddy.flaws import Category
from mixing_buddy.labels import LABELS, decode_labels
from mixing_buddy.rendering import RenderTransform, render_recipe
from mixing_buddy.schema import MODES, PREFERENCE_COLUMNS, Recipe

ALL = BuildSettings(modes=tuple(MODES))


@pytest.fixture
def run(monkeypatch):
    """Run the two commands as the command line does."""
    # Rich takes the width of its tables from here.
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    app.command("build")(build)
    app.command("render")(render)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def prepared(tmp_path, *sources, num_proc=1, mode="single_mix", **settings):
    builder = MixingBuddyDataset(
        cache_dir=str(tmp_path),
        config_name=mode,
        sources=tuple(str(source) for source in sources),
        **settings,
    )
    builder.download_and_prepare(num_proc=num_proc)
    return builder, builder.as_dataset()


def test_rows_are_the_same_whatever_the_number_of_processes(song_root, tmp_path):
    _, one = prepared(tmp_path / "one", song_root, num_proc=1)
    _, two = prepared(tmp_path / "two", song_root, num_proc=2)
    assert {split: len(rows) for split, rows in one.items()} == {"train": 120, "test": 60}
    for split in one:
        assert one[split].to_list() == two[split].to_list()
    assert len(set(one["train"]["uid"])) == 120


def test_building_in_processes_works_after_torch_has_started_its_threads(tmp_path, write_song):
    for name in ("a", "b"):
        write_song(tmp_path / "songs" / "train" / name, duration_s=10.0, sample_rate=44_100)
    code = f"""
import torch
torch.nn.functional.conv1d(torch.randn(8, 1, 500_000), torch.randn(80, 1, 99), stride=99)
from mixing_buddy.dataset_builder import MixingBuddyDataset
builder = MixingBuddyDataset(cache_dir={str(tmp_path)!r}, sources=({str(tmp_path / "songs")!r},))
builder.download_and_prepare(num_proc=2)
print(builder.info.splits["train"].num_examples)
"""
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert out.stdout.strip() == "60", out.stderr


@pytest.mark.parametrize("mode", MODES)
def test_rows_are_recipes_that_render(song_root, tmp_path, mode):
    settings = {"sampling": "sample", "samples_per_chunk": 3, "num_references": 2}
    _, dataset = prepared(tmp_path, song_root, mode=mode, **settings)
    assert len(dataset["test"]) == 6
    for row in dataset["test"]:
        recipe = Recipe.from_row(row)
        assert recipe.mode == mode
        assert recipe.to_row() == decode_labels(row)
        assert list(row) == list(recipe.to_row())
        assert set(PREFERENCE_COLUMNS) <= set(row) or mode != "preference"
        assert len(render_recipe(row, {"tiny": song_root})) == len(row["audios"])
    for column, names in LABELS.items():
        if column in dataset["test"].features:
            assert dataset["test"].features[column].names == list(names)


def test_the_cache_follows_the_content_of_the_songs_and_the_settings(
    song_root, tmp_path, write_song
):
    def folder(**settings):
        return MixingBuddyDataset(
            cache_dir=str(tmp_path / "cache"), sources=(str(song_root),), **settings
        ).cache_dir

    first = folder()
    assert folder() == first
    assert folder(stem_cache_dir=str(tmp_path / "elsewhere")) == first
    others = {
        folder(seed=1),
        folder(no_error_tolerance_db=3.0),
        folder(sampling="sample"),
        folder(sampling="sample", samples_per_chunk=3),
        folder(num_references=1),
        folder(config_name="stems"),
    }
    write_song(song_root / "test" / "Coral", duration_s=20.0, seed=99)
    others.add(folder())
    write_song(song_root / "validation" / "Dolomite", duration_s=10.0)
    others.add(folder())
    (song_root / "source.yaml").write_text("name: tiny\nlicence: CC-BY-4.0\n")
    others.add(folder())
    assert len(others | {first}) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "some"}, "Unknown sampling 'some'"),
        ({"samples_per_chunk": 0}, "at least 1"),
        ({"no_error_tolerance_db": 4.0}, "between 0 and 3 dB"),
        ({"num_references": 11}, "from 0 to 10"),
    ],
)
def test_settings_that_make_no_sense_are_refused(song_root, tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        prepared(tmp_path, song_root, **settings)


def test_sources_must_be_there_and_differ_by_name(song_root, tmp_path, write_song):
    with pytest.raises(SongError, match="at least one folder"):
        prepared(tmp_path)
    write_song(tmp_path / "other" / "tiny" / "test" / "a", duration_s=1.0)
    with pytest.raises(SongError, match="both named 'tiny'"):
        prepared(tmp_path, song_root, tmp_path / "other" / "tiny")


def load(out, mode="single_mix", **options):
    import datasets

    return datasets.load_dataset(str(out), mode, cache_dir=str(out.parent / "hf"), **options)


@pytest.mark.parametrize("num_proc", [1, 2])
def test_a_built_folder_opens_without_our_code_and_renders(song_root, tmp_path, run, num_proc):
    out = tmp_path / "data" / "tiny"
    result = run("build", song_root, "--out", out, "--num-proc", num_proc)
    assert result.exit_code == 0, result.output
    assert "train" in result.output and "120" in result.output
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "README.md",
        "single_mix/test-00000-of-00001.parquet",
        "single_mix/train-00000-of-00001.parquet",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["tiny"]
    rows = load(out, split="test")
    categories = set(rows.features["category"].int2str(rows["category"]))
    assert categories == {category.value for category in Category}
    _, built = prepared(tmp_path / "builder", song_root)
    assert rows.features == built["test"].features
    assert rows.to_list() == built["test"].to_list()

    mixes = tmp_path / "mixes"
    result = run("render", out, "--songs", f"tiny={song_root}", "--out", mixes, "--limit", 4)
    assert result.exit_code == 0, result.output
    with (mixes / "index.csv").open() as file:
        index = list(csv.DictReader(file))
    assert len(index) == 4 == len(list(mixes.glob("*.wav")))
    row = next(row for row in rows if row["uid"] == index[2]["uid"])
    audio, rate = soundfile.read(mixes / index[2]["file"], dtype="float32")
    assert rate == 24_000
    assert audio.tobytes() == render_recipe(row, {"tiny": song_root})[0].tobytes()

    result = run(
        "render", out, "--songs", song_root, "--out", tmp_path / "one", "--uid", row["uid"]
    )
    assert result.exit_code == 0, result.output
    (one,) = (tmp_path / "one").glob("*.wav")
    assert one.read_bytes() == (mixes / index[2]["file"]).read_bytes()


def test_every_mode_opens_whole_streamed_and_shared_out(song_root, tmp_path):
    from datasets import get_dataset_config_names
    from datasets.distributed import split_dataset_by_node

    out = tmp_path / "tiny"
    sampling = {"sampling": "sample", "samples_per_chunk": 5}
    build_dataset(
        MixingBuddyDatasetConfig(sources=(str(song_root),), **sampling),
        out,
        BuildSettings(modes=tuple(MODES), rows_per_shard=6),
    )
    assert set(get_dataset_config_names(str(out))) == set(MODES)
    for mode in MODES:
        _, built = prepared(tmp_path / "builder", song_root, mode=mode, **sampling)
        rows = load(out, mode)
        assert set(rows) == {"train", "test"}
        assert rows["train"].to_list() == built["train"].to_list()
        stream = load(out, mode, split="train", streaming=True)
        assert (len(rows["train"]), stream.num_shards) == (20, 4)
        assert list(stream) == rows["train"].to_list()
        uids = set()
        for world_size in (2, 3):
            parts = [
                [row["uid"] for row in split_dataset_by_node(stream, rank, world_size)]
                for rank in range(world_size)
            ]
            uids = {uid for part in parts for uid in part}
            assert sum(map(len, parts)) == len(rows["train"]) == len(uids)
        # The transform of recipes serves a stream as well.
        rendered = RenderTransform({"tiny": song_root})(
            {name: [value] for name, value in next(iter(stream)).items()}
        )
        assert len(rendered["clips"][0]) == len(rendered["audios"][0])
    mixed = [row["uid"] for row in stream.shuffle(seed=1, buffer_size=100)]
    assert mixed != list(rows["train"]["uid"]) and set(mixed) == uids


def test_the_card_says_what_is_in_it(song_root, tmp_path):
    from huggingface_hub import DatasetCard

    (song_root / "train" / "Amber").rename(song_root / "train" / "Solo - One")
    (song_root / "test" / "Coral").rename(song_root / "test" / "Solo - Two")
    out = tmp_path / "tiny"
    report = build_dataset(MixingBuddyDatasetConfig(sources=(str(song_root),)), out, ALL)
    assert report.shared_artists == {"Solo": ["train", "test"]}
    card = DatasetCard.load(out / "README.md")
    data = card.data.to_dict()
    assert {config["config_name"] for config in data["configs"]} == set(MODES)
    infos = {info["config_name"]: info for info in data["dataset_info"]}
    for mode, info in infos.items():
        sizes = {split["name"]: split["num_examples"] for split in info["splits"]}
        assert sizes == {split: report.num_rows(mode, split) for split in ("train", "test")}
        files = sum(path.stat().st_size for path in (out / mode).iterdir())
        assert info["download_size"] == files
    assert data["size_categories"] == ["n<1K"] and data["license"] == "apache-2.0"
    for column in load(out, "preference", split="test").features:
        assert f"| `{column}` |" in card.text
    assert "| tiny | CC0-1.0 | 3 |" in card.text
    assert "Solo (train and test)" in card.text


def test_audio_is_embedded_where_the_licence_allows(song_root, tmp_path, run, write_song):
    import datasets

    write_song(song_root / "validation" / "Dolomite", duration_s=10.0)
    out = tmp_path / "tiny"
    arguments = ("build", song_root, "--out", out, "--embed-audio", "--sampling", "sample",
                 "--samples-per-chunk", "2", "--mode", "single_mix", "--mode", "stems")  # fmt: skip
    (song_root / "source.yaml").write_text("licence: CC0-1.0\nlicences:\n  Coral: all mine\n")
    result = run(*arguments)
    assert isinstance(result.exception, SongError)
    assert "1 of 4 songs may not be embedded" in str(result.exception)
    assert "Coral (all mine)" in str(result.exception)
    assert not out.exists()
    (song_root / "source.yaml").write_text("licence: CC0-1.0\n")
    assert run(*arguments).exit_code == 0
    for mode in ("single_mix", "stems"):
        rows = load(out, mode, split="test")
        kind = rows.features["audio"] if mode == "single_mix" else rows.features["clips"].feature
        assert kind == datasets.Audio(sampling_rate=24_000)
        opened = open_embedded(rows)
        rendered = RenderTransform({"tiny-songs": song_root})(
            rows.select_columns([c for c in rows.column_names if c not in ("audio", "clips")])[:]
        )
        for index in range(len(rows)):
            row = opened[index]
            assert isinstance(row["target"], str)
            for clip, wanted in zip(row["clips"], rendered["clips"][index], strict=True):
                assert np.abs(clip - wanted).max() < 1e-4
            assert ("audio" in row) == (mode == "single_mix")
    recipes_only = tmp_path / "recipes"
    build_dataset(MixingBuddyDatasetConfig(sources=(str(song_root),)), recipes_only)
    with pytest.raises(RecipeError, match="no audio in these rows"):
        open_embedded(load(recipes_only, split="test"))


# Kills itself where it is told: after the third song, in the middle of the merge, or between the
# two renames that put the new dataset in the place of the old.
KILLED = """
import os, signal, sys
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig, building

where, songs, out = sys.argv[1:]
merged = []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def on_song(done, total):
    if where == "songs" and done == 3:
        die()

def merge_shards(*args, **kwargs):
    merge(*args, **kwargs)
    merged.append(1)
    if where == "merge" and len(merged) == 2:
        die()

def publish(workspace):
    workspace.out.rename(workspace.root / "old")
    die()

merge, building.merge_shards = building.merge_shards, merge_shards
if where == "publish":
    building.Workspace.publish = publish
building.build_dataset(
    MixingBuddyDatasetConfig(sources=(songs,)),
    out,
    building.BuildSettings(
        modes=("single_mix", "differential"), num_proc=2 if where == "songs" else 1, overwrite=True
    ),
    on_song=on_song,
)
"""


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path, write_song):
    root = tmp_path / "songs"
    for index in range(5):
        place = root / ("test" if index == 4 else "train") / f"song-{index}"
        write_song(place, duration_s=10.0, seed=index)
    config = MixingBuddyDatasetConfig(sources=(str(root),))
    settings = BuildSettings(modes=("single_mix", "differential"), overwrite=True)

    def content(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    build_dataset(config, tmp_path / "whole", settings)
    wanted = content(tmp_path / "whole")
    out = tmp_path / "killed"
    work = tmp_path / ".killed.building"
    for where in ("songs", "merge", "publish"):
        before = content(out) if out.exists() else None
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, where, str(root), str(out)], capture_output=True
        )
        assert killed.returncode == -9, killed.stderr.decode()
        finished = len(list((work / "songs").iterdir()))
        assert finished >= 3 if where == "songs" else finished == 5
        built = set()
        build_dataset(config, out, settings, on_song=lambda done, total, to=built: to.add(done))
        assert built == ({4, 5} if finished == 3 else {5} if finished == 4 else set())
        assert content(out) == wanted
        assert before in (None, wanted)
        assert not work.exists()


def test_a_build_killed_at_random_moments_gives_the_same_bytes(tmp_path, write_song):
    root, out = tmp_path / "songs", tmp_path / "killed"
    for index in range(6):
        write_song(root / "train" / f"song-{index}", duration_s=20.0, seed=index)
    config = MixingBuddyDatasetConfig(sources=(str(root),))
    settings = BuildSettings(modes=("single_mix", "preference"))
    start = time.perf_counter()
    build_dataset(config, tmp_path / "whole", settings)
    duration_s = time.perf_counter() - start
    rng = np.random.default_rng(0)
    for _ in range(8):
        if not (child := os.fork()):
            try:
                build_dataset(config, out, settings)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.0, 0.6) * duration_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if out.exists():
            break
        # Whole or not there: nothing stands beside the hidden folder.
        assert {path.name for path in tmp_path.iterdir()} <= {"songs", "whole", ".killed.building"}
    if not out.exists():
        build_dataset(config, out, settings)
    for path in (tmp_path / "whole").rglob("*.*"):
        assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def test_what_another_build_left_is_not_used(song_root, tmp_path):
    config = MixingBuddyDatasetConfig(sources=(str(song_root),))
    out = tmp_path / "out"

    class Stop(BaseException):
        pass

    def stop(done, total):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        build_dataset(config, out, on_song=stop)
    assert not out.exists()
    seen = []
    other = MixingBuddyDatasetConfig(sources=(str(song_root),), seed=1)
    build_dataset(other, out, on_song=lambda done, total: seen.append(done))
    assert seen == [1, 2, 3]
    build_dataset(other, tmp_path / "again")
    for path in (out / "single_mix").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "single_mix" / path.name).read_bytes()


def test_two_builds_do_not_mix(song_root, tmp_path, monkeypatch):
    import filelock

    from mixing_buddy.dataset_builder import workspace

    monkeypatch.setattr(workspace, "_LOCK_TIMEOUT_S", 0.1)
    config = MixingBuddyDatasetConfig(sources=(str(song_root),))
    (tmp_path / ".out.building").mkdir()
    with filelock.FileLock(tmp_path / ".out.building" / "lock"):
        with pytest.raises(OutputError, match="another build into this folder is on"):
            build_dataset(config, tmp_path / "out")
    build_dataset(config, tmp_path / "out")


def test_a_broken_song_stops_the_build_or_is_listed(song_root, tmp_path, run):
    (song_root / "train" / "Amber" / "bass.wav").unlink()
    path = song_root / "train" / "Basalt" / "drums.wav"
    audio, rate = soundfile.read(path)
    audio[7] = float("nan")
    soundfile.write(path, audio, rate, subtype="FLOAT")
    out = tmp_path / "out"
    result = run("build", song_root, "--out", out)
    assert isinstance(result.exception, SongError)
    assert "no file for bass" in str(result.exception)
    assert not out.exists()
    result = run("build", song_root, "--out", out, "--skip-broken")
    assert result.exit_code == 0, result.output
    flat = result.output.replace("\n", "")
    assert "no file for bass" in flat and "drums.wav: NaN" in flat
    assert [path.name for path in (out / "single_mix").iterdir()] == ["test-00000-of-00001.parquet"]


def test_nothing_is_overwritten_unasked(song_root, tmp_path):
    config = MixingBuddyDatasetConfig(sources=(str(song_root),))
    out = tmp_path / "out"
    report = build_dataset(config, out)
    assert (report.songs["train"], report.chunks["train"]) == (2, 4)
    replacing = BuildSettings(overwrite=True)
    before = sorted(out.rglob("*"))
    with pytest.raises(OutputError, match="--overwrite replaces it"):
        build_dataset(config, out)
    build_dataset(config, out, replacing)
    assert sorted(out.rglob("*")) == before
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "master.wav").write_bytes(b"1")
    with pytest.raises(OutputError, match="no dataset"):
        build_dataset(config, precious, replacing)
    assert (precious / "master.wav").exists()
    with pytest.raises(RecipeError, match="Unknown mode 'duet'"):
        build_dataset(config, tmp_path / "new", BuildSettings(modes=("duet",)))
    assert {path.name for path in tmp_path.iterdir()} == {"tiny-songs", "out", "precious"}


def test_render_says_what_is_wrong(song_root, tmp_path, run):
    out = tmp_path / "out"
    build_dataset(MixingBuddyDatasetConfig(sources=(str(song_root),)), out)
    for arguments, message in (
        ((out, "--songs", song_root, "--mode", "stems"), "stems, split 'test' can't be opened"),
        ((tmp_path / "nowhere", "--songs", song_root), "no such folder"),
        ((out, "--songs", song_root, "--split", "validation"), "'validation' can't be opened"),
        ((out, "--songs", song_root, "--uid", "x"), "no row 'x'"),
        ((out, "--songs", f"a={song_root}"), "source 'tiny'"),
        ((out, "--songs", f"a={tmp_path}/b"), "no such folder"),
    ):
        result = run("render", *arguments, "--out", tmp_path / "mixes")
        assert message in str(result.exception)


def test_commands_import_nothing_heavy_at_the_top():
    for command in (build, render):
        source = inspect.getsource(inspect.getmodule(command))
        for name in ("torch", "datasets", "transformers"):
            assert f"\nimport {name}" not in source and f"\nfrom {name}" not in source


def test_real_songs_build(shared_dir, tmp_path):
    data = shared_dir / "data"
    config = MixingBuddyDatasetConfig(
        sources=(str(data / "cc0-songs"), str(data / "musdb18hq-excerpt"))
    )
    report = build_dataset(config, tmp_path / "out", ALL)
    assert dict(report.chunks) == {"train": 90, "test": 26}
    # 30 rows where all three stems can be heard, 10 where two can; 36 and 16 in "differential".
    for mode, three, two in (("single_mix", 30, 10), ("stems", 30, 10), ("differential", 36, 16)):
        assert report.num_rows(mode, "test") == (14 + 1) * three + (25 - 14) * two
