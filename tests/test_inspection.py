"""The page about a dataset: its counts are those of the rows, its examples can be heard."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from datasets import load_dataset
from typer.testing import CliRunner

from mixing_buddy.cli import app
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.inspection import inspect_dataset
from mixing_buddy.labels import decode_labels
from mixing_buddy.rendering import render_recipe
from mixing_buddy.schema import MODES


@pytest.fixture
def built(song_root, tmp_path):
    out = tmp_path / "tiny"
    build_dataset(
        MixingBuddyDatasetConfig(sources=(str(song_root),), sampling="sample", samples_per_chunk=4),
        out,
        BuildSettings(modes=tuple(MODES)),
    )
    return out


def test_the_page_counts_draws_and_plays(built, song_root, tmp_path):
    page = tmp_path / "page" / "tiny.html"
    arguments = ["inspect", built, "--songs", song_root, "--out", page, "--examples", 1]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    html = page.read_text()
    for mode in MODES:
        assert f'<section id="{mode}">' in html
    # Chunks of 20 s songs: two each; four rows a chunk.
    assert html.count("<tr><td>train</td><td>16</td><td>2</td><td>4</td></tr>") == len(MODES)
    player = re.compile(r'src="data:audio/mpeg;base64,([^"]+)"')
    # One example a config, a player for each clip: one, four, four and one.
    assert len(player.findall(html)) == 10
    section = html.partition('<section id="single_mix">')[2].partition("</section>")[0]
    (sound,) = player.findall(section)
    (row,) = load_dataset(str(built), "single_mix", split="test").select([0])
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound)))
    (clip,) = render_recipe(row, {"tiny": song_root})
    assert rate == 24_000 and abs(len(samples) - len(clip)) < 2_400
    level_db = 20 * np.log10(np.std(samples) / np.std(clip))
    assert abs(level_db) < 1.5
    assert len(list(page.parent.iterdir())) == 1


def test_its_counts_are_those_of_the_rows(built):
    pages = {page.name: page for page in inspect_dataset(str(built), [])}
    assert set(pages) == set(MODES)
    for mode, page in pages.items():
        assert page.examples == []
        rows = [decode_labels(row) for row in load_dataset(str(built), mode, split="train")]
        for column, counts in page.counts.items():
            names = [str(row[column]) for row in rows]
            found = {value: by_split.get("train", 0) for value, by_split in counts.items()}
            assert {name: names.count(name) for name in found} == found
            assert sum(found.values()) == len(rows)
    assert "rejected_kind" in pages["preference"].counts
