"""Evaluation runs: what is asked once is kept, and the report says what was found."""

import json
import re
import shutil
import sys

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
from mixing_buddy.evaluation.text_report import TextSettings
from mixing_buddy.labels import decode_labels
from mixing_buddy.publishing.results import Result, to_model_index
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


@pytest.fixture
def text_libraries():
    for name in ("sacrebleu", "rouge_score", "nltk"):
        pytest.importorskip(name)


@pytest.mark.usefixtures("text_libraries")
@pytest.mark.parametrize("config", ["single_mix", "differential"])
def test_text_metrics_stand_beside_those_of_baselines(built, song_root, config):
    rows = rows_of(built, config)
    answers = [row["response"] for row in rows]
    answers[0] = "I can't say."
    beside = ask_baselines(rows, config, built, [str(song_root)])
    answered, run = Answered(rows, answers, None, 0, 0.0), run_of(config)
    plain = build_report(answered, run, beside=beside)
    report = build_report(answered, run, beside=beside, text_settings=TextSettings())
    assert report["references"] == {"num_rows": 0, "per_row": 1}
    for sums in (report, *report["baselines"].values()):
        assert set(sums["text"]) == set(sums["intervals"]["text"]) == {"bleu", "rouge_l", "meteor"}
    bleu = report["text"]["bleu"]
    # One of twelve answers is wrong, the others are their references.
    assert bleu["right"] == pytest.approx(100)
    assert bleu["wrong"] < 50
    assert bleu["best_of"] == pytest.approx((11 * 100 + bleu["wrong"]) / 12)
    assert report["baselines"]["oracle"]["text"]["bleu"]["best_of"] == pytest.approx(100)
    assert report["baselines"]["oracle"]["text"]["bleu"]["wrong"] is None
    assert json.loads(json.dumps(report)) == report
    for page in (as_markdown(report), as_html(report, [])):
        assert all(name in page for name in ("BLEU (of 100)", "METEOR (of 1)", "no references"))
    assert "BLEU" not in as_markdown(plain) + as_html(plain, [])
    # A model card names them; the Hub's table ranks models by being right.
    named = {each.metric_name for each in to_model_index([Result("someone/tiny", report)])}
    assert "BLEU, nearest reference (of 100)" in named
    assert results_blocks(report, "someone/tiny") == results_blocks(plain, "someone/tiny")


@pytest.mark.usefixtures("text_libraries")
def test_of_several_references_the_nearest_and_the_mean_are_shown(built):
    rows = rows_of(built, "single_mix")
    for row in rows[1:]:
        row["references"] = ["Nothing of the sort.", row["response"]]
    answered = Answered(rows, [row["response"] for row in rows], None, 0, 0.0)
    report = build_report(answered, run_of("single_mix"), text_settings=TextSettings())
    assert report["references"] == {"num_rows": 11, "per_row": 23 / 12}
    assert report["text"]["rouge_l"]["best_of"] == 1 > report["text"]["rouge_l"]["mean_of"]
    markdown = as_markdown(report)
    assert "mean of references" in markdown
    assert "11 of 12 rows have references" in markdown


@pytest.mark.usefixtures("text_libraries")
def test_text_metrics_are_added_to_a_finished_run(built, song_root, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mixing_buddy.cli import app

    def evaluate(*options):
        words = ["evaluate", built, "--songs", str(song_root), "--no-baselines"]
        return CliRunner().invoke(app, [*words, "--out", str(tmp_path / "run"), *options])

    oracle = Oracle(built, song_root, "single_mix")
    monkeypatch.setattr("mixing_buddy.cli.options.load_buddy", lambda *_, **__: oracle)
    # What is missing is said before anything is asked.
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sacrebleu", None)
        assert "[text-metrics]" in str(evaluate("--text-metrics").exception)
    assert "--text-metrics" in str(evaluate("--similarity-model", "nowhere").exception)
    assert not (tmp_path / "run").exists()

    assert evaluate().exit_code == 0
    first = json.loads((tmp_path / "run" / "report.json").read_text())
    monkeypatch.setattr("mixing_buddy.cli.options.load_buddy", never)
    done = evaluate("--text-metrics")
    assert done.exit_code == 0, done.output
    second = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "text" not in first
    assert second["text"]["bleu"]["best_of"] == pytest.approx(100)
    assert second["by"] == first["by"]
