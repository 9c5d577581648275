"""The command line as a user runs it: in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "rubidium"
COMMANDS = [
    "advise",
    "average",
    "build",
    "consensus",
    "evaluate",
    "generate-songs",
    "inspect",
    "judge",
    "render",
    "serve",
]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("mixing-buddy"), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_with_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"mixing-buddy {command}" in done.stdout


def test_help_lists_every_command_at_once():
    start_s = time.perf_counter()
    done = run("--help")
    assert all(command in done.stdout for command in COMMANDS)
    # No timing of speed: importing torch alone takes longer than this on any machine at hand.
    assert time.perf_counter() - start_s < 10


def test_advise_prints_words_table_and_verdict(tmp_path):
    done = run("advise", EXAMPLE, "--fader", "vocals=-9", "--anchor", "drums", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vocals -9 dB" in done.stdout
    assert "0:00-0:10" in done.stdout
    assert "Whole song" in done.stdout
    assert "Traceback" not in done.stderr


def test_advise_speaks_json():
    done = run("advise", EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) >= {"text", "stem", "direction", "min_db", "max_db", "windows"}
    assert told["direction"] in ("raise", "lower", "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["advise", "nowhere"], "no such file or folder"),
        (["advise", EXAMPLE, "--fader", "vocals"], "STEM=DB"),
        (["advise", EXAMPLE, "--fader", "vocals=nan"], "between -60 and 60"),
        (["advise", EXAMPLE, "--anchor", "cowbell"], "choose one of"),
        (["build", "nowhere", "--out", "out"], "nowhere"),
        (["evaluate", "nowhere", "--songs", "nowhere"], "nowhere"),
        (["evaluate", "nowhere", "--songs", "nowhere", "--mode", "preference"], "single_mix"),
        (["inspect", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_get_one_line_and_no_traceback(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_from_songs_to_a_graded_model(song_root, tmp_path):
    dataset, mixes, report = tmp_path / "dataset", tmp_path / "mixes", tmp_path / "report"
    built = run("build", song_root, "--out", dataset, "--num-proc", 2)
    assert built.returncode == 0, built.stderr
    rendered = run("render", dataset, "--songs", song_root, "--out", mixes, "--limit", 2)
    assert rendered.returncode == 0, rendered.stderr
    assert len(list(mixes.glob("*.wav"))) == 2
    page = run("inspect", dataset, "--songs", song_root, "--out", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    html = (tmp_path / "page.html").read_text()
    assert html.count("<audio") == 3
    assert "no_error" in html
    graded = run("evaluate", dataset, "--songs", song_root, "--limit", 6, "--out", report)
    assert graded.returncode == 0, graded.stderr
    result = json.loads((report / "report.json").read_text())
    assert result["num_rows"] == 6
    assert 0.0 <= result["joint"] <= 1.0
    assert len((report / "answers.jsonl").read_text().splitlines()) == 6
