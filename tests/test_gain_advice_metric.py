"""The metric as the library `evaluate` loads it, from the repository and as it goes to the Hub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mixing_buddy.chunks import Chunk
from mixing_buddy.evaluation.grading import summarise
from mixing_buddy.evaluation.metric_export import export_metric
from mixing_buddy.evaluation.published import summarise_published
from mixing_buddy.recipes import enumerate_recipes
from mixing_buddy.stems import STEMS

evaluate = pytest.importorskip("evaluate")
SOURCE = Path(__file__).resolve().parents[1] / "metrics" / "gain_advice"


@pytest.fixture(autouse=True)
def _modules_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    chunks = [Chunk("here", "test", song, "CC0-1.0", 0.0, 10.0, STEMS) for song in ("A", "B")]
    return [recipe.to_row() for chunk in chunks for recipe in enumerate_recipes(chunk)]


def _answers(rows):
    wrong = ["Lower the bass by 3 to 6 dB.", "All good.", "I can't tell."]
    return [wrong[n % 3] if n % 2 else row["response"] for n, row in enumerate(rows)]


def test_the_metric_is_the_package_s(rows, tmp_path):
    metric = evaluate.load(str(SOURCE), cache_dir=str(tmp_path))
    report = metric.compute(predictions=_answers(rows), references=metric.references(rows), seed=3)
    assert report == summarise(rows, _answers(rows), seed=3)
    published = metric.compute(
        predictions=_answers(rows), references=metric.references(rows), flavour="published"
    )
    assert published == summarise_published(rows, _answers(rows))


def test_numbers_of_labelled_columns_are_understood(rows, tmp_path):
    from mixing_buddy.labels import LABELS

    numbered = [
        row | {n: LABELS[n].index(row[n]) for n in ("category", "target", "anchor", "direction")}
        for row in rows
    ]
    metric = evaluate.load(str(SOURCE), cache_dir=str(tmp_path))
    assert metric.references(numbered) == metric.references(rows)


def test_the_exported_metric_needs_no_package(rows, tmp_path):
    """A visitor of the Hub has evaluate, and nothing of ours."""
    folder = tmp_path / "gain_advice"
    assert all(path.is_file() for path in export_metric(SOURCE, folder))
    references = [
        reference | {"min_db": reference["min_db"], "max_db": reference["max_db"]}
        for reference in evaluate.load(str(SOURCE), cache_dir=str(tmp_path)).references(rows)
    ]
    given = {"predictions": _answers(rows), "references": references}
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    code = f"""
import json, os, sys
os.environ["HF_MODULES_CACHE"] = {str(tmp_path / "visitor")!r}
sys.modules["mixing_buddy"] = None  # importing it fails
import evaluate
metric = evaluate.load({str(folder)!r}, cache_dir={str(tmp_path)!r})
given = json.load(open({str(tmp_path / "given.json")!r}))
print(json.dumps(metric.compute(**given)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == json.loads(json.dumps(summarise(rows, _answers(rows))))
