"""The runner of experiments: its plan, what it runs again, and the tables it writes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from experimenting import measuring, planting, running, tables  # noqa: E402
from experimenting.making import (  # noqa: E402
    LEARNT_ANEW,
    QUESTIONS,
    make_anchors,
    make_start,
    read_fields,
)
from experimenting.plan import Arm, Experiment, Step, choose, read_costs, read_plan  # noqa: E402
from experimenting.running import estimate_s, list_jobs, run_jobs  # noqa: E402

from mixing_buddy import MixingBuddy  # noqa: E402
from mixing_buddy.advice import parse_advice  # noqa: E402
from mixing_buddy.advising.combining import WindowAdvice  # noqa: E402
from mixing_buddy.advising.ranking import Ranking, list_candidates  # noqa: E402
from mixing_buddy.errors import MixingBuddyError  # noqa: E402
from mixing_buddy.flaws import Direction  # noqa: E402

PLAN = read_plan()
ROOTS = {"songs": "s", "datasets": "d", "hearing": "h"}
SETTINGS = {"budget": 1.0, "limit": None}


def _distinct_commands():
    """Every command of the plan once, seeds left out."""
    found = {}
    for experiment in PLAN.values():
        for arm in experiment.arms:
            for step in next(iter(arm.steps.values())):
                found.setdefault(step.argv, f"{arm.made}/{step.name}")
    return [pytest.param(argv, id=name) for argv, name in found.items()]


@pytest.mark.parametrize("argv", _distinct_commands())
def test_every_command_of_the_plan_is_understood_by_what_it_calls(argv, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    program, script, *words = argv
    if program == "mixing-buddy":
        from typer.main import get_command

        from mixing_buddy.cli import app

        get_command(app).commands[script].make_context(script, words)
    elif script == "benchmarks/experiments.py":
        import experiments

        arguments = experiments._parser().parse_args(words)
        if words[0] == "make-start":
            from mixing_buddy.presets import build_nano

            fields = read_fields(arguments.fields)
            monkeypatch.setattr("mixing_buddy.presets.train_tokenizer", lambda texts: _tokens())
            fields.pop("audio_config", None)
            build_nano(**fields)
    else:
        _parse_training(script, words)


def _tokens():
    from mixing_buddy.tokenization import train_tokenizer

    return train_tokenizer(["The drums are too loud."], 300)


def _parse_training(script, words):
    from transformers import TrainingArguments
    from trl import DPOConfig, SFTConfig, TrlParser

    from mixing_buddy.training import arguments
    from mixing_buddy.training.dpo import PreferenceArguments

    data, model = arguments.DataArguments, arguments.ModelArguments
    shared = (arguments.AugmentationArguments,)
    kinds = {
        "train_hearing.py": (
            data,
            TrainingArguments,
            model,
            *shared,
            arguments.HearingArguments,
        ),
        "train_sft.py": (
            data,
            SFTConfig,
            model,
            *shared,
            arguments.LearningArguments,
            arguments.ValidationArguments,
        ),
        "train_dpo.py": (PreferenceArguments, DPOConfig, model),
    }
    data_args, training_args, *_ = TrlParser(kinds[script]).parse_args_and_config(words)
    assert len(getattr(data_args, "dataset_config_share", [])) in (0, len(data_args.dataset_config))
    assert training_args.max_steps > 0
    assert training_args.eval_strategy == "no"


def test_the_document_has_a_place_for_every_experiment():
    text = (REPOSITORY / "docs/experiments.md").read_text()
    for name in PLAN:
        assert text.index(f"<!-- table: {name} -->") < text.index(f"<!-- end: {name} -->")


def test_a_budget_multiplies_steps_and_baselines_are_asked_once_for_the_same_rows():
    steps = [s for s in read_plan(budget=0.1)["modes"].arms[0].steps[0] if s.is_training]
    assert [step.units for step in steps] == [30]
    asked = [
        step.name
        for arm in PLAN["modes"].arms
        for seed in arm.steps
        for step in arm.steps[seed]
        if step.is_report and "--no-baselines" not in step.argv
    ]
    assert sorted(asked) == ["report-differential", "report-single_mix", "report-stems"]


def test_an_arm_that_is_not_there_is_refused_by_name(tmp_path):
    content = yaml.safe_load((REPOSITORY / "benchmarks/experiments.yaml").read_text())
    content["experiments"]["decoding"]["arms"]["ranked"]["same_reports_as"] = "gone"
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(MixingBuddyError, match="no arm decoding/gone"):
        read_plan(tmp_path / "plan.yaml")


def test_a_model_that_is_needed_and_not_named_is_asked_for(tmp_path):
    with pytest.raises(MixingBuddyError, match="--model"):
        list_jobs(PLAN["dpo"], tmp_path, {"songs": "s", "datasets": "d"})


# --- running -------------------------------------------------------------------------------------

COUNT = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"


def _fake(*codes, log):
    """An experiment of one arm whose steps run Python code; the last is a report."""
    names = [f"{place + 1}-start" for place in range(len(codes) - 1)] + ["report-mix"]
    steps = tuple(
        Step(name, "start", ("python", "-c", code, str(log), name[0]), 1)
        for name, code in zip(names, codes, strict=True)
    )
    arm = Arm("a", "A", "fake/a", "fake/a", "greedy", ("mix",), {0: steps}, {"mix": ""})
    return Experiment("fake", "?", "a", (arm,), (0,))


def _run(experiment, out, **options):
    jobs = list_jobs(experiment, out, {}, **options)
    return list(run_jobs(jobs, out, read_costs(), SETTINGS))


def test_what_is_done_is_not_done_again_and_what_changed_is_with_all_that_follows(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    _run(_fake(COUNT, COUNT, COUNT, log=log), out)
    assert log.read_text() == "12r"
    said = _run(_fake(COUNT, COUNT, COUNT, log=log), out)
    assert log.read_text() == "12r"
    assert said == ["3 of 3 steps are done."]
    _run(_fake(COUNT, f"{COUNT} ", COUNT, log=log), out)
    assert log.read_text() == "12r2r"


def test_what_another_run_has_done_meanwhile_is_not_done_again(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    experiment = _fake(COUNT, COUNT, COUNT, log=log)
    jobs = list_jobs(experiment, out, {})
    lines = run_jobs(jobs, out, read_costs(), SETTINGS)
    next(lines)
    _run(experiment, out)
    assert list(lines) == []
    assert log.read_text() == "12r"


def test_a_field_of_the_configuration_counts_where_no_flag_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "REPOSITORY", tmp_path)
    (tmp_path / "configs").mkdir()

    def keys(text):
        (tmp_path / "configs/nano_hearing.yaml").write_text(text)
        (tmp_path / "configs/nano.yaml").write_text("{}")
        jobs = list_jobs(PLAN["tokens"], tmp_path, ROOTS, fingerprint=lambda model: "weights")
        return [job.key for job in jobs[:4]]

    before = keys("learning_rate: 1\nmax_steps: 5\n")
    assert keys("# Said again.\nmax_steps: 7\nlearning_rate: 1\n") == before
    changed = keys("learning_rate: 2\nmax_steps: 5\n")
    assert changed[0] == before[0]
    assert not set(changed[1:]) & set(before[1:])


def test_other_weights_under_the_same_name_are_another_start(tmp_path):
    experiment = _fake(COUNT, COUNT, log=tmp_path / "log")
    arm = experiment.arms[0]
    first, last = arm.steps[0]
    first = replace(first, argv=(*first.argv, "{model}"))
    experiment = replace(experiment, arms=(replace(arm, steps={0: (first, last)}),))
    keys = [
        [
            job.key
            for job in list_jobs(
                experiment, tmp_path, {"model": "m"}, fingerprint=lambda model, s=state: s
            )
        ]
        for state in ("old", "new", "old")
    ]
    assert keys[0] == keys[2]
    assert not set(keys[0]) & set(keys[1])


def test_a_step_that_fails_is_named_and_goes_on_with_what_it_left(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    place = out / "fake/a/seed-0/report-mix"
    code = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1] + '.dir'); "
        "again = p.exists(); p.mkdir(exist_ok=True); sys.exit(0 if again else 3)"
    )
    experiment = _fake(COUNT, code, log=log)
    with pytest.raises(MixingBuddyError, match=r"report-mix failed with exit code 3"):
        _run(experiment, out)
    place.mkdir()
    (place / "half").write_text("kept")
    _run(experiment, out)
    assert log.read_text() == "1"
    assert (place / "half").exists()
    # Another command doesn't go on from it.
    _run(_fake(COUNT, f"{code} ", log=log), out)
    assert not (place / "half").exists()


def test_training_goes_on_from_its_newest_checkpoint_and_leaves_none(tmp_path, monkeypatch):
    job = next(
        job
        for job in list_jobs(PLAN["tokens"], tmp_path, ROOTS, fingerprint=lambda model: "weights")
        if job.step.is_training
    )
    called = []
    monkeypatch.setattr(running, "_call", lambda argv: called.append(argv) or 1)
    with pytest.raises(MixingBuddyError, match="exit code 1"):
        job.run(SETTINGS)
    (job.out / "checkpoint-100").mkdir(parents=True)
    (job.out / "checkpoint-100/trainer_state.json").write_text("{}")
    monkeypatch.setattr(running, "_call", lambda argv: called.append(argv) or 0)
    job.run(SETTINGS)
    assert "--resume_from_checkpoint" not in called[0]
    assert called[1] == [*called[0], "--resume_from_checkpoint", "latest"]
    assert job.is_done
    assert not list(job.out.iterdir())


def test_ctrl_c_ends_the_command_too_and_the_step_is_not_done(tmp_path):
    code = "import sys, time; open(sys.argv[1], 'w').write('x'); time.sleep(60)"
    script = (
        f"import sys; sys.path[:0] = {[str(REPOSITORY / 'benchmarks'), str(REPOSITORY)]!r}\n"
        f"sys.path.insert(0, {str(REPOSITORY / 'tests')!r})\n"
        "from pathlib import Path\n"
        "import test_experiments as t\n"
        f"t._run(t._fake({code!r}, log=Path({str(tmp_path / 'log')!r})), Path({str(tmp_path)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (tmp_path / "log").exists() and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    record = json.loads((tmp_path / "fake/a/seed-0/report-mix.json").read_text())
    assert "begun" in record
    assert "key" not in record


def test_the_estimate_goes_by_what_was_measured(tmp_path):
    jobs = list_jobs(_fake(COUNT, COUNT, log=tmp_path / "log"), tmp_path, {})
    assert estimate_s(jobs, tmp_path, {"start": 50.0}) == 100.0
    record = {"timed_whole": True, "kind": "start", "units": 2, "duration_s": 6.0}
    jobs[0].record.parent.mkdir(parents=True)
    jobs[0].record.write_text(json.dumps(record))
    assert estimate_s(jobs, tmp_path, {"start": 50.0}) == 6.0


def test_one_arm_can_be_run_alone():
    (chosen,) = choose(PLAN, ["tokens/t13"])
    assert [arm.name for arm in chosen.arms] == ["t13"]
    assert chosen.baseline == "t25"
    jobs = list_jobs(chosen, Path("out"), ROOTS, fingerprint=lambda model: "weights")
    assert jobs
    assert all(job.place.startswith("tokens/t13/") for job in jobs)
    assert choose(PLAN, ["all"]) == list(PLAN.values())
    for word, message in (("tokens/t14", "has no arm t14"), ("token", "There is no token:")):
        with pytest.raises(MixingBuddyError, match=message):
            choose(PLAN, [word])


# --- tables --------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A plan of one question with two trained arms, and a document with its place."""
    content = yaml.safe_load((REPOSITORY / "benchmarks/experiments.yaml").read_text())
    arm = {"start": "nano", "steps": [{"train": "sft"}], "reports": {"single_mix": {}}}
    content["experiments"] = {
        "small": {
            "question": "Which is better?",
            "baseline": "old",
            "seeds": [0, 1],
            "arms": {"old": {**arm, "title": "the old"}, "new": {**arm, "title": "the new"}},
        }
    }
    plan, docs = tmp_path / "plan.yaml", tmp_path / "experiments.md"
    plan.write_text(yaml.safe_dump(content))
    docs.write_text("# Title\n\n<!-- table: small -->\n<!-- end: small -->\n\nThe end.\n")
    return plan, docs, tmp_path / "out"


def _store(plan, out, arm, seed, rights, ceiling=None, limit=None):
    """Store a report as the runner would: `rights` of 10 rows of each of 8 songs are right."""
    arms = read_plan(plan, limit=limit)["small"].arms
    arm = next(each for each in arms if each.name == arm)
    here = out / arm.made / f"seed-{seed}"
    (here / "report-single_mix").mkdir(parents=True)
    before = ""
    for step in arm.steps[seed]:
        record = {"argv": step.argv, "before": before, "key": step.name, "limit": limit}
        (here / f"{step.name}.json").write_text(json.dumps({**record, "budget": 1.0}))
        before = step.name
    lines = [
        {
            "uid": f"s/test/song-{song}/0/single_mix/bass-vs-drums/loud/{row}",
            "joint": row < rights[song],
            "magnitude": False,
        }
        for song in range(8)
        for row in range(10)
    ]
    folder = here / "report-single_mix"
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    beside = {} if ceiling is None else {"ceiling": {"joint": ceiling}, "text": {"joint": 0.2}}
    (folder / "report.json").write_text(json.dumps({"baselines": beside}))


def test_nothing_run_says_so_with_the_command(small):
    plan, docs, out = small
    assert tables.write_tables(out, docs, plan) == []
    text = docs.read_text()
    assert "Not run yet" in text
    assert "python benchmarks/experiments.py run small" in text
    assert text.endswith("The end.\n")
    tables.write_tables(out, docs, plan)
    assert docs.read_text() == text


def test_what_was_run_elsewhere_stays_unless_it_is_asked_for_by_name(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    tables.write_tables(out, docs, plan)
    text = docs.read_text()
    assert "| the old |" in text
    here = out.with_name("another machine")
    assert tables.write_tables(here, docs, plan) == []
    assert docs.read_text() == text
    assert tables.write_tables(here, docs, plan, only=["small"]) == []
    assert "Not run yet" in docs.read_text()
    with pytest.raises(MixingBuddyError, match="There is no large: choose from small"):
        tables.write_tables(here, docs, plan, only=["large"])


def test_a_table_of_two_seeds_has_means_ranges_paired_differences_and_the_ceiling(small):
    plan, docs, out = small
    base = [2, 3, 4, 5, 6, 7, 4, 5]
    _store(plan, out, "old", 0, base, ceiling=0.9)
    _store(plan, out, "old", 1, base)
    _store(plan, out, "new", 0, [each + 1 for each in base])
    _store(plan, out, "new", 1, [each + 3 for each in base])
    assert tables.write_tables(out, docs, plan) == ["small"]
    text = docs.read_text()
    assert "| the old | 0, 1 | 45.0 (45.0 to 45.0) |" in text
    # Every song gains the same, so that songs drawn for both leave no spread; apart they would.
    assert "| the new | 0, 1 | 65.0 (55.0 to 75.0) |" in text
    assert "+20.0 (+20.0 to +20.0)" in text
    assert "The new is 20.0 points above the old in joint" in text
    assert "in each of 2 seeds" in text
    assert "72 % of the ceiling's 90.0 %" in text
    assert text.count("| 20.0 | 90.0 |") == 2
    tables.write_tables(out, docs, plan)
    assert docs.read_text() == text


def test_no_difference_is_claimed_that_is_not_shown(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    _store(plan, out, "new", 0, [2, 8, 5, 5, 3, 7, 6, 5])
    tables.write_tables(out, docs, plan)
    assert "No difference in joint is shown between the new and the old" in docs.read_text()


def test_a_difference_whose_sign_changes_with_the_seed_is_not_claimed(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    _store(plan, out, "old", 1, [5] * 8)
    _store(plan, out, "new", 0, [9] * 8)
    _store(plan, out, "new", 1, [4] * 8)
    tables.write_tables(out, docs, plan)
    assert "its sign changes with the seed" in docs.read_text()


def test_arms_of_different_settings_are_said_to_be_no_comparison(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    _store(plan, out, "new", 0, [5] * 8, limit=80)
    tables.write_tables(out, docs, plan)
    text = docs.read_text()
    assert "(budget 1, limit 80; budget 1, limit as planned): don't compare them" in text


def test_what_another_plan_left_is_not_shown(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    content = yaml.safe_load(plan.read_text())
    content["training"]["sft"]["set"]["learning_rate"] = 0.5
    plan.write_text(yaml.safe_dump(content))
    assert tables.write_tables(out, docs, plan) == []


def test_answers_of_a_model_that_was_trained_anew_since_are_not_shown(small):
    plan, docs, out = small
    _store(plan, out, "old", 0, [5] * 8)
    path = out / "small/old/seed-0/1-sft.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "another"}))
    assert tables.write_tables(out, docs, plan) == []


def test_a_document_without_a_place_is_refused(small):
    plan, docs, out = small
    docs.write_text("# Title\n")
    with pytest.raises(MixingBuddyError, match="no place for small"):
        tables.write_tables(out, docs, plan)


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["very_quiet", "quiet", "no_error", "loud", "very_loud"])
@pytest.mark.parametrize("said", ["balanced", "bass quiet", "bass very_loud", "drums loud"])
def test_the_most_probable_advice_is_graded_like_the_same_words(tmp_path, category, said):
    from mixing_buddy.evaluation.baselines import verdict_text
    from mixing_buddy.evaluation.grading import grade
    from mixing_buddy.flaws import FLAWS, Category

    flaw = FLAWS[Category(category)]
    row = {
        "category": category,
        "target": "bass",
        "direction": flaw.direction,
        "min_db": flaw.min_db,
        "max_db": flaw.max_db,
    }
    verdict = None if said == "balanced" else (said.split()[0], Category(said.split()[1]))
    wanted = grade(row, parse_advice(verdict_text(verdict, "vocals")))
    line = {
        "uid": f"s/test/song/0/single_mix/bass-vs-vocals/{category}/0",
        "posterior": {said: 1.0},
    }
    (tmp_path / "answers.jsonl").write_text(json.dumps(line) + "\n")
    answers = measuring.read_answers(tmp_path, "ranked")
    assert answers.value(measuring.JOINT) == 100 * wanted["joint"]
    if category != "no_error":
        assert answers.value(measuring.MAGNITUDE) == 100 * wanted["magnitude"]


def test_an_arm_is_no_better_than_itself_and_one_song_gives_no_interval(tmp_path):
    lines = [
        {"song": f"song-{k % 4}", "moved": None, "counts": {"question": (k % 3, 3)}}
        for k in range(12)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arm = measuring.read_answers(tmp_path, "question")
    assert measuring.difference_interval(arm, arm, measuring.JOINT) == (0.0, 0.0)
    assert set(arm.songs) == {f"song-{k}" for k in range(4)}
    assert arm.value(measuring.NO_ERROR) == pytest.approx(100 / 3)
    alone = replace(arm, songs=["one"] * 12)
    assert measuring.difference_interval(alone, arm, measuring.JOINT) is None


def _heard(start_s, anchor, text, **probabilities):
    """Make an answer, and a ranking of these probabilities, the rest on "balanced"."""
    stems = ("bass", "drums", "vocals")
    answer = WindowAdvice(start_s, 10.0, anchor, stems, parse_advice(text))
    candidates = list_candidates(stems, anchor)
    named = {"vocals_down": ("vocals", "loud"), "drums_up": ("drums", "quiet")}
    shares = {named[name]: share for name, share in probabilities.items()}
    left = 1.0 - sum(shares.values())
    weights = [
        left if each.is_balanced else shares.get((each.stem, each.category.value), 1e-6)
        for each in candidates
    ]
    return answer, Ranking(candidates, np.log(weights))


def test_questions_windows_and_songs_are_counted_apart():
    right, wrong = "Lower the vocals by 3 to 6 dB.", "Raise the drums by 3 to 6 dB."
    heard = [
        _heard(0.0, "bass", right, vocals_down=0.9),
        _heard(0.0, "drums", right, vocals_down=0.9),
        # Answered wrongly, and yet the window's other question and its own posterior outweigh it.
        _heard(10.0, "bass", wrong, drums_up=0.5, vocals_down=0.4),
        _heard(10.0, "vocals", right, drums_up=0.1),
    ]
    counts = planting.count_right(heard, "vocals", Direction.LOWER)
    assert counts == {"question": (2, 3), "window": (2, 2), "song": (1, 1)}
    # All that is known of the song's second half speaks for "balanced".
    counts = planting.count_right(heard[3:], None, Direction.NONE)
    assert counts == {"question": (0, 1), "window": (1, 1), "song": (1, 1)}
    assert planting.count_right([], "vocals", Direction.LOWER)["song"] == (0, 0)


def test_rows_with_and_without_an_anchor_differ_in_one_sentence(song_root, tmp_path):
    from datasets import load_dataset

    from mixing_buddy.dataset_builder import MixingBuddyDatasetConfig
    from mixing_buddy.dataset_builder.building import build_dataset

    config = MixingBuddyDatasetConfig(
        sources=(str(song_root),), sampling="sample", samples_per_chunk=12
    )
    build_dataset(config, tmp_path / "dataset")
    parts = {}
    for named in (True, False):
        out = tmp_path / str(named)
        make_anchors(str(tmp_path / "dataset"), out, named=named, seed=0)
        parts[named] = load_dataset(str(out), "single_mix", split="train")
    assert len(parts[True]) == len(parts[False]) > 0
    names = parts[True].features["anchor"].names
    for with_anchor, without in zip(parts[True], parts[False], strict=True):
        assert without["instruction"] in QUESTIONS
        anchor = names[with_anchor["anchor"]]
        added = with_anchor["instruction"].removeprefix(without["instruction"])
        assert added.split()[1] == anchor
        assert without["anchor"] is None
        assert with_anchor["response"] == without["response"]
        assert anchor not in without["response"].split(".")[0]
        assert with_anchor["audios"] == without["audios"]


def test_a_start_of_another_shape_speaks_as_its_speaker_and_hears_anew(tmp_path):

    nano = str(REPOSITORY / "mixing_buddy" / "checkpoints" / "nano")
    fields = read_fields(
        [
            "pooling_factor=10",
            "level_encoder_strides=[1, 2, 5]",
            "audio_config.conv_stride=[80, 12]",
        ]
    )
    make_start(tmp_path / "start", fields, 0, nano)
    buddy = MixingBuddy.from_pretrained(tmp_path / "start")
    model, speaker = buddy.model, MixingBuddy.from_pretrained(nano).model
    assert buddy.processor.num_audio_tokens(240_000) == 25
    assert model.config.audio_config.conv_stride == [80, 12]
    assert model.config.audio_config.hidden_size == speaker.config.audio_config.hidden_size
    weights = speaker.state_dict()
    for name, weight in model.state_dict().items():
        anew = any(part in name for part in LEARNT_ANEW)
        if anew and weight.ndim > 1:
            assert weight.shape != weights[name].shape or not weight.equal(weights[name]), name
        elif not anew:
            assert weight.equal(weights[name]), name
