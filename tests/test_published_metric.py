"""The published flavour says what the published script said."""

from __future__ import annotations

import json

import pytest

from mixing_buddy.evaluation.published import published_verdict, summarise_published
from mixing_buddy.flaws import FLAWS, Category

_DIRECTIONS = {"increase": "raise", "decrease": "lower", "none": "none", None: None}


def _row(target, category):
    flaw = FLAWS[Category(category)]
    row = {"target": target, "category": category, "direction": flaw.direction}
    return row | {"min_db": flaw.min_db, "max_db": flaw.max_db}


@pytest.mark.parametrize("checkpoint", ["checkpoint-3200", "checkpoint-4600-0"])
def test_every_published_verdict_comes_out(shared_dir, checkpoint):
    folder = shared_dir / "fixtures" / "published-predictions"
    lines = (folder / f"predictions-{checkpoint}.jsonl").read_text("utf-8").splitlines()
    verdicts = json.loads((folder / f"predictions-{checkpoint}.published_metric.json").read_text())
    assert len(lines) == len(verdicts) == 100
    for line, verdict in zip(map(json.loads, lines), verdicts, strict=True):
        row = _row(line["target_stem"], line["error_category"])
        expected = {name: value for name, value in verdict.items() if name != "global_uid"}
        expected["predicted_direction"] = _DIRECTIONS[expected["predicted_direction"]]
        assert published_verdict(row, line["generated"]).to_dict() == expected, line["generated"]


def test_the_fault_is_reproduced():
    answer = "The bass needs to be slightly quieter. Lower the bass by 3 to 6 dB."
    verdict = published_verdict(_row("bass", "loud"), answer)
    assert verdict.predicted_direction is None
    assert not (verdict.both or verdict.stem or verdict.direction or verdict.magnitude)


def test_a_balanced_answer_is_given_the_true_stem():
    verdict = published_verdict(_row("bass", "loud"), "No changes are needed.")
    assert (verdict.stem, verdict.direction, verdict.predicted_stem) == (True, False, "bass")
    rows = [_row("bass", category) for category in Category]
    report = summarise_published(rows, ["No changes are needed."] * len(rows))
    assert report == {"joint": 0.2, "stem": 1.0, "direction": 0.2, "magnitude": 0.0}
