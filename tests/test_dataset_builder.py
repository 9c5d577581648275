from __future__ import annotations

import csv
import inspect
import os
import subprocess
import sys

import pytest
import soundfile
import typer
from typer.testing import CliRunner

from mixing_buddy.cli.build import build
from mixing_buddy.cli.render import render
from mixing_buddy.dataset_builder import MixingBuddyDataset, MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import build_dataset
from mixing_buddy.errors import OutputError, RecipeError, SongError
from mixing_buddy.flaws import Category
from mixing_buddy.recipes import Recipe
from mixing_buddy.rendering import render_recipe


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


def prepared(tmp_path, *sources, num_proc=1, **settings):
    builder = MixingBuddyDataset(
        cache_dir=str(tmp_path), sources=tuple(str(source) for source in sources), **settings
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
        timeout=60,
    )
    assert out.stdout.strip() == "60", out.stderr


def test_rows_are_recipes_that_render(song_root, tmp_path):
    _, dataset = prepared(tmp_path, song_root, sampling="sample", samples_per_chunk=3)
    assert len(dataset["test"]) == 6
    for row in dataset["test"]:
        recipe = Recipe.from_row(row)
        assert recipe.to_row() == row
        assert list(row) == list(recipe.to_row())
        assert render_recipe(row, {"tiny": song_root}).any()


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
    }
    write_song(song_root / "test" / "Coral", duration_s=20.0, seed=99)
    others.add(folder())
    write_song(song_root / "validation" / "Dolomite", duration_s=10.0)
    others.add(folder())
    (song_root / "source.yaml").write_text("name: tiny\nlicence: CC-BY-4.0\n")
    others.add(folder())
    assert len(others | {first}) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "some"}, "Unknown sampling 'some'"),
        ({"samples_per_chunk": 0}, "at least 1"),
        ({"no_error_tolerance_db": 4.0}, "between 0 and 3 dB"),
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


@pytest.mark.parametrize("num_proc", [1, 2])
def test_a_built_folder_opens_without_our_code_and_renders(song_root, tmp_path, run, num_proc):
    import datasets

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
    rows = datasets.load_dataset(str(out), "single_mix", split="test", cache_dir=str(tmp_path))
    assert set(rows["category"]) == {category.value for category in Category}
    _, built = prepared(tmp_path / "builder", song_root)
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
    assert audio.tobytes() == render_recipe(row, {"tiny": song_root}).tobytes()

    result = run(
        "render", out, "--songs", song_root, "--out", tmp_path / "one", "--uid", row["uid"]
    )
    assert result.exit_code == 0, result.output
    (one,) = (tmp_path / "one").glob("*.wav")
    assert one.read_bytes() == (mixes / index[2]["file"]).read_bytes()


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
    before = sorted(out.rglob("*"))
    with pytest.raises(OutputError, match="--overwrite replaces it"):
        build_dataset(config, out)
    build_dataset(config, out, overwrite=True)
    assert sorted(out.rglob("*")) == before
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "master.wav").write_bytes(b"1")
    with pytest.raises(OutputError, match="no data set"):
        build_dataset(config, precious, overwrite=True)
    assert (precious / "master.wav").exists()


def test_render_says_what_is_wrong(song_root, tmp_path, run):
    out = tmp_path / "out"
    build_dataset(MixingBuddyDatasetConfig(sources=(str(song_root),)), out)
    for arguments, message in (
        ((tmp_path / "nowhere", "--songs", song_root), "can't be opened"),
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
    report = build_dataset(config, tmp_path / "out")
    assert dict(report.chunks) == {"train": 90, "test": 26}
    # 30 rows where all three stems can be heard, 10 where two can.
    assert sum(count for (split, _), count in report.rows.items() if split == "test") == (
        (14 + 1) * 30 + (25 - 14) * 10
    )
