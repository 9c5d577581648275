"""Evaluation runs: what is asked once is kept, and the report says what was found."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from datasets import load_dataset

from mixing_buddy.advising.ranking import Ranking, list_candidates
from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
from mixing_buddy.dataset_builder.building import BuildSettings, build_dataset
from mixing_buddy.errors import OutputError, RecipeError
from mixing_buddy.evaluation.answering import Answered, answer_rows
from mixing_buddy.evaluation.comparing import Beside, ask_baselines
from mixing_buddy.evaluation.report_page import as_html, as_markdown
from mixing_buddy.evaluation.reports import build_report, results_blocks, write_report
from mixing_buddy.labels import decode_labels
from mixing_buddy.rendering import render_recipe
from mixing_buddy.stems import STEMS

MODES = ("single_mix", "stems", "differential")


def run_of(config: str) -> dict:
    return {
        "model": "nano",
        "weights": "folder:0",
        "dataset": "tiny",
        "config": config,
        "split": "test",
        "prompt_category": None,
        "command": "mixing-buddy evaluate tiny",
    }


def build(song_root, out, *modes) -> str:
    build_dataset(
        MixingBuddyDatasetConfig(sources=(str(song_root),), sampling="sample", samples_per_chunk=6),
        out,
        BuildSettings(modes=modes),
    )
    return str(out)


@pytest.fixture
def built(song_root, tmp_path):
    return build(song_root, tmp_path / "tiny", *MODES)


class Oracle:
    """Knows every row by its sound; may be interrupted after so many answers."""

    batch_size = 4

    def __init__(self, dataset, song_root, config, *, stops_after=10**6):
        self.stops_after = stops_after
        self.num_asked = 0
        self.responses = {}
        for row in load_dataset(dataset, config, split="test"):
            clips = render_recipe(row, {"tiny": song_root})
            self.responses[self._key(clips)] = row["response"]

    @staticmethod
    def _key(clips):
        return b"".join(np.asarray(clip).tobytes() for clip in clips)

    def answer(self, clips, instructions):
        if self.num_asked >= self.stops_after:
            raise KeyboardInterrupt
        self.num_asked += len(instructions)
        return [self.responses[self._key(each)] for each in clips]

    def rank(self, clips, anchors, *, stems, mode, **_):
        rankings = []
        for place, anchor in enumerate(anchors):
            candidates = list_candidates(stems[place] if stems else STEMS, anchor, mode=mode)
            probabilities = np.linspace(1, 2, len(candidates))
            rankings.append(Ranking(candidates, np.log(probabilities / probabilities.sum())))
        return rankings


def never():
    raise AssertionError("nothing is left to ask")


def rows_of(dataset, config, split="test"):
    return [decode_labels(row) for row in load_dataset(dataset, config, split=split)]


@pytest.mark.parametrize("config", MODES)
def test_the_oracle_scores_everything_and_a_broken_run_goes_on(built, song_root, tmp_path, config):
    rank = config != "differential"
    songs, settings = [str(song_root)], {"weights": "folder:0"}

    def ask(buddy, out):
        return answer_rows(
            lambda: buddy, built, songs, config=config, rank=rank, out=out, settings=settings
        )

    whole = ask(Oracle(built, song_root, config), tmp_path / "whole")
    assert (len(whole.rows), whole.num_resumed) == (12, 0)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        ask(Oracle(built, song_root, config, stops_after=4), broken)
    with (broken / "answers.jsonl").open("a") as file:
        file.write('{"uid": "half a li')
    oracle = Oracle(built, song_root, config)
    resumed = ask(oracle, broken)
    assert (resumed.num_resumed, oracle.num_asked) == (4, 8)
    report = build_report(resumed, run_of(config))
    assert report == build_report(whole, run_of(config))
    write_report(broken, resumed, report)
    assert report["joint"] == 1.0
    if config == "differential":
        assert report["error_db"] < 0.25
    else:
        counts = np.array(report["confusion"]["counts"])
        assert counts.trace() == counts.sum() == 12
        assert {each["joint"] for each in report["by_gain"]["model"]} == {1.0}
    # What was written can be gone on from as well, without a model.
    again = answer_rows(
        never, built, songs, config=config, rank=rank, out=broken, settings=settings
    )
    assert list(again.answers) == list(whole.answers)
    assert again.posteriors == whole.posteriors


def test_answers_to_other_questions_are_refused(built, song_root, tmp_path):
    oracle = Oracle(built, song_root, "single_mix")
    songs, out = [str(song_root)], tmp_path / "out"
    ours = {"weights": "folder:0"}
    answer_rows(lambda: oracle, built, songs, out=out, settings=ours)
    with pytest.raises(OutputError, match="weights was 'folder:0', now 'folder:1'"):
        answer_rows(never, built, songs, out=out, settings={"weights": "folder:1"})
    with pytest.raises(OutputError, match="rows was"):
        answer_rows(never, built, songs, out=out, limit=3, settings=ours)
    with pytest.raises(RecipeError, match="single_mix, stems"):
        answer_rows(never, built, songs, config="preference")
    with pytest.raises(RecipeError, match="--rank"):
        answer_rows(never, built, songs, config="differential", rank=True)
    with pytest.raises(RecipeError, match="there are"):
        answer_rows(never, built, songs, prompt_category="shouting")
    (out / "settings.json").unlink()
    with pytest.raises(OutputError, match=r"no settings\.json"):
        answer_rows(never, built, songs, out=out, settings=ours)


def test_baselines_stand_beside_and_score_what_they_must(built, song_root):
    rows = rows_of(built, "single_mix")
    beside = ask_baselines(rows, "single_mix", built, [str(song_root)])
    still = beside.answers["constant: balanced"]
    report = build_report(Answered(rows, still, None, 0, 0.0), run_of("single_mix"), beside=beside)
    balanced = sum(row["category"] == "no_error" for row in rows) / len(rows)
    assert report["joint"] == report["baselines"]["constant: balanced"]["joint"] == balanced
    assert report["baselines"]["oracle"]["joint"] == 1.0
    assert sum(name.startswith("constant") for name in beside.answers) == 2
    learnt = {"text", "loudness rule", "ceiling", "ceiling, reading"}
    assert learnt <= set(report["baselines"])
    markdown = as_markdown(report)
    assert all(f"| {name} |" in markdown for name in report["baselines"])


def test_of_constants_the_best_stands_for_all(built, song_root):
    rows = rows_of(built, "single_mix")
    rows = [row for row in rows if row["target"] == "vocals" and row["direction"] == "lower"]
    beside = ask_baselines(rows, "single_mix", built, [str(song_root)])
    (best,) = (name for name in beside.answers if name.startswith("constant: vocals"))
    report = build_report(
        Answered(rows, beside.answers[best], None, 0, 0.0), run_of("single_mix"), beside=beside
    )
    assert report["joint"] == 1.0


def test_without_training_songs_the_learners_are_left_out_and_it_says_so(song_root, tmp_path):
    shutil.rmtree(song_root / "train")
    out = build(song_root, tmp_path / "alone", "single_mix")
    rows = rows_of(out, "single_mix")
    beside = ask_baselines(rows, "single_mix", out, [str(song_root)])
    assert set(beside.answers) == {"constant: balanced", "oracle"} | {
        name for name in beside.answers if name.startswith("constant")
    }
    assert "left out" in beside.notes[0]
    report = build_report(Answered(rows, [r["response"] for r in rows], None, 0, 0.0),
                          run_of("single_mix"), beside=beside)  # fmt: skip
    assert beside.notes[0] in as_markdown(report)


def test_the_page_needs_no_other_file_and_shows_what_it_says(built, song_root, tmp_path):
    rows = rows_of(built, "single_mix")
    posteriors = [{"balanced": 0.5, "bass loud": 0.3, "vocals quiet": 0.2}] * len(rows)
    beside = ask_baselines(rows, "single_mix", built, [str(song_root)])
    answered = Answered(rows, ["Raise the <b>bass</b> by 3 dB."] * len(rows), posteriors, 0, 1.0)
    report = build_report(answered, run_of("single_mix"), flavour="published", beside=beside)
    write_report(tmp_path, answered, report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    html = (tmp_path / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "mixing-buddy evaluate tiny" in html
    # An answer is shown as it stands, never run.
    assert "<b>bass</b>" not in html and "&lt;b&gt;bass" in html
    # The likeliest advice is graded: here always "balanced".
    balanced = sum(row["category"] == "no_error" for row in rows) / len(rows)
    assert report["ranked"]["joint"] == report["calibration"]["model"]["joint"]["share"] == balanced
    assert report["calibration"]["model"]["joint"]["error"] == pytest.approx(abs(0.5 - balanced))
    for heading in ("By category", "By song", "By the published rules", "Calibration"):
        assert heading in html


def test_one_song_has_no_interval_and_its_report_can_be_written(built, song_root):
    rows = rows_of(built, "differential")
    answers = [row["response"] for row in rows]
    nothing = Beside({}, {}, None, [])
    report = build_report(Answered(rows, answers, None, 0, 0.0), run_of("differential"),
                          beside=nothing)  # fmt: skip
    assert report["num_songs"] == 1
    assert report["intervals"]["joint"] is None
    assert "100.0 |" in as_markdown(report)
    assert "<html" in as_html(report, [])


def test_results_blocks_are_what_the_hub_reads(built):
    from huggingface_hub import parse_eval_result_entries

    rows = rows_of(built, "differential")
    answered = Answered(rows, ["Nothing needs to change."] * len(rows), None, 0, 0.0)
    report = build_report(answered, run_of("differential"))
    blocks = results_blocks(report, "someone/tiny")
    joint, error = parse_eval_result_entries(yaml.safe_load(yaml.safe_dump(blocks)))
    assert (joint.dataset_id, joint.task_id, joint.value) == ("someone/tiny", "differential", 0.0)
    assert (error.task_id, error.value) == (
        "differential_error_db",
        round(report["error_db"], 2),
    )
