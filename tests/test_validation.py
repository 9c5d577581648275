"""Validation by answers, and what follows from it: the best checkpoint, and when to stop."""

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from training_helpers import as_rendered, sample_rows
from transformers import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy
from trl import ModelConfig, SFTConfig

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.flaws import Category, Direction
from mixing_buddy.stems import STEMS
from mixing_buddy.training.arguments import ValidationArguments
from mixing_buddy.training.schedules import (
    DropoutSchedule,
    PatientStopping,
    expand_dropouts,
    projector_dropouts,
)
from mixing_buddy.training.validation import AnswerValidation, grade_answer, prepare, score


def row(mode="single_mix", category=Category.LOUD, needed_db=None, **fields):
    flawed = category != Category.NO_ERROR
    return {
        "uid": "x",
        "mode": mode,
        "category": str(category),
        "target": "vocals",
        "direction": str(Direction.LOWER if flawed else Direction.NONE),
        "min_db": 3.0 if flawed else None,
        "max_db": 6.0 if flawed else None,
        "response": "Lower the vocals by 3 to 6 dB.",
        "needed_change_db": {stem: 0.0 for stem in STEMS} | (needed_db or {}),
        **fields,
    }


@pytest.mark.parametrize(
    ("needed_db", "answer", "joint", "error_db"),
    [
        ({"bass": 4.0}, "Raise the bass by 4 dB.", True, 0.0),
        ({"bass": 4.0}, "Raise the bass by 7 dB.", True, 3.0),
        ({"bass": 4.0}, "Lower the bass by 4 dB.", False, 8.0),
        ({"bass": 4.0}, "Raise the drums by 2 dB.", False, 3.0),
        ({"bass": 4.0, "drums": -2.0}, "Raise the bass by 4 dB.", False, 1.0),
        ({"bass": 4.0}, "Hmm.", False, 4.0),
        ({}, "Nothing needs to change: the mix is balanced.", True, 0.0),
        ({}, "Raise the bass by 4 dB.", False, 4.0),
        ({}, "Hmm.", False, 0.0),
    ],
)
def test_differential_answers_are_graded_by_stems_directions_and_distance(
    needed_db, answer, joint, error_db
):
    graded = grade_answer(row("differential", needed_db=needed_db), answer)
    assert (graded["joint"], graded["error_db"]) == (joint, error_db)
    assert graded["understood"] == (answer != "Hmm.")


def test_scores_are_shares_of_rows_by_mode_and_of_balanced_ones():
    answers = ["Lower the vocals by 3 to 6 dB.", "The mix is balanced. Leave it as it is."]
    rows = [row(), row("stems"), row(category=Category.NO_ERROR)]
    graded = [
        {**each, **grade_answer(each, answer)}
        for each, answer in zip(rows, (answers[0], answers[1], answers[1]), strict=True)
    ]
    assert score(graded) == {
        "joint": 2 / 3,
        "understood": 1.0,
        "no_error_recall": 1.0,
        "joint_single_mix": 1.0,
        "joint_stems": 0.0,
    }


def to_ask(count=5):
    """Rows of one mode and several lengths of question, with what grading needs."""
    rows = [row(uid=str(i)) | each for i, each in enumerate(sample_rows(count))]
    for number, each in enumerate(rows):
        each["instruction"] = " ".join(["Which stem is off?"] * (number + 1))
    return Dataset.from_list(rows).with_transform(as_rendered)


def test_asking_pads_left_and_leaves_the_model_as_it_was(make_tiny_buddy, tmp_path):
    from mixing_buddy.advising.inference import MixingBuddy

    model, processor = make_tiny_buddy()
    rows = to_ask()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    validation = AnswerValidation(
        rows, processor, batch_size=3, every_steps=None, output_dir=tmp_path
    )
    model.train()
    figures = validation(model, Accelerator(cpu=True), step=7)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert 0 <= figures["joint"] <= 1
    assert figures["answers_seconds"] > 0

    written = (tmp_path / "validation-answers" / "step-000007.jsonl").read_text().splitlines()
    alone = MixingBuddy(model.eval(), processor, batch_size=1)
    expected = [alone.answer([r["clips"]], [r["instruction"]])[0] for r in rows]
    assert [json.loads(line)["answer"] for line in written] == expected


def test_processes_share_the_rows_and_leave_none_out(make_tiny_buddy, tmp_path, monkeypatch):
    model, processor = make_tiny_buddy()
    validation = AnswerValidation(
        to_ask(5), processor, batch_size=2, every_steps=None, output_dir=tmp_path
    )
    shares = []
    for rank in range(2):
        world = SimpleNamespace(
            unwrap_model=lambda model: model,
            process_index=rank,
            num_processes=2,
            is_main_process=False,
            is_local_main_process=False,
        )
        monkeypatch.setattr(
            "mixing_buddy.training.validation.gather_object",
            lambda asked: shares.append([index for index, _ in asked]) or asked,
        )
        validation(model.eval(), world, step=0)
    assert len(shares[0]) == len(shares[1]) == 3
    assert sorted(set(shares[0]) | set(shares[1])) == list(range(5))


def test_a_model_that_learnt_the_rows_scores_full_marks_with_an_adapter_too(
    make_tiny_buddy, trainer_for, tmp_path
):
    from mixing_buddy.training.models import lora_config

    model, processor = make_tiny_buddy()
    rows = [row(uid=str(i)) | each for i, each in enumerate(sample_rows(2))]
    for each in rows:
        each |= {"category": "loud", "target": "bass", "direction": "lower"}
        each["response"] = "The bass is too loud. Lower the bass by 3 to 6 dB."
    trainer = trainer_for(
        model,
        processor,
        rows,
        lora_config(ModelConfig(use_peft=True, lora_r=32)),
        max_steps=60,
        learning_rate=1e-2,
        metric_for_best_model="joint",
    )
    trainer.args.eval_strategy, trainer.args.eval_steps = IntervalStrategy.STEPS, 30
    trainer.eval_dataset = trainer.train_dataset
    trainer.answers = AnswerValidation(
        trainer.train_dataset, processor, batch_size=2, every_steps=60, output_dir=tmp_path
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert ["eval_joint" in entry for entry in history] == [False, True]
    assert history[-1]["eval_joint"] == history[-1]["eval_joint_single_mix"] == 1.0
    assert trainer.state.best_metric == 1.0
    assert "eval_level_mae_db" in history[-1]


def test_of_equal_scores_the_one_with_the_lower_loss_is_best(make_tiny_buddy, trainer_for):
    model, processor = make_tiny_buddy()
    trainer = trainer_for(
        model, processor, sample_rows(2), metric_for_best_model="joint", save_strategy="steps"
    )
    best = []
    scores = [(0.0, 3.0), (0.0, 2.0), (0.0, 2.5), (0.5, 4.0), (0.5, 4.5), (0.4, 1.0)]
    for step, (joint, loss) in enumerate(scores, start=1):
        metrics = {"eval_joint": joint, "eval_loss": loss}
        trainer.state.global_step = step
        trainer.state.log_history.append({**metrics, "step": step})
        trainer._determine_best_metric(metrics, None)
        best.append(trainer.state.best_global_step)
    assert best == [1, 2, 2, 4, 4, 4]


def arguments(tmp_path, **fields):
    defaults = {
        "output_dir": str(tmp_path / "run"),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "eval_strategy": "steps",
        "eval_steps": 10,
        "save_steps": 20,
    }
    return SFTConfig(**{**defaults, **fields})


def test_answers_decide_the_best_checkpoint_unless_something_else_is_named(tmp_path):
    ask = ValidationArguments(validate_answers_rows=8)
    for named, expected in ((None, "eval_joint"), ("eval_loss", "eval_loss")):
        args = arguments(tmp_path, load_best_model_at_end=True, metric_for_best_model=named)
        assert prepare(ask, args) == 20  # every saved checkpoint has a score
        assert args.metric_for_best_model == expected
        assert args.greater_is_better is (expected == "eval_joint")


@pytest.mark.parametrize(
    ("settings", "fields", "match"),
    [
        ({"validate_answers_rows": 8}, {"eval_strategy": "no"}, "eval_strategy"),
        ({"early_stopping_patience": 2}, {"eval_strategy": "no"}, "eval_strategy"),
        ({"validate_answers_rows": 8, "validate_answers_steps": 15}, {}, "eval_steps 10"),
        (
            {"validate_answers_rows": 8, "validate_answers_steps": 30},
            {"load_best_model_at_end": True},
            "never saved",
        ),
    ],
)
def test_settings_that_dont_fit_together_are_refused(tmp_path, settings, fields, match):
    with pytest.raises(MixingBuddyError, match=match):
        prepare(ValidationArguments(**settings), arguments(tmp_path, **fields))


def stops_after(scores, **settings) -> int | None:
    """Feed scores one by one; return how many it takes to stop."""
    args = SimpleNamespace(metric_for_best_model="eval_joint", greater_is_better=True)
    state, control = TrainerState(), TrainerControl()
    for number, each in enumerate(scores, start=1):
        # Evaluations that asked nothing stand between, and a resumed run has a new callback.
        state.log_history += [{"eval_loss": 1.0}, {"eval_joint": each}]
        PatientStopping(**settings).on_evaluate(args, state, control)
        if control.should_training_stop:
            return number
    return None


def test_training_stops_when_patience_runs_out():
    assert stops_after([0.1, 0.2, 0.2, 0.19, 0.3, 0.3, 0.3], patience=3) is None
    assert stops_after([0.1, 0.2, 0.2, 0.19, 0.18, 0.3], patience=3) == 5
    assert stops_after([0.1, 0.11, 0.12, 0.13], patience=3, threshold=0.05) == 4


def test_dropout_goes_in_a_straight_line_by_the_step_alone(make_tiny_buddy, trainer_for):
    from mixing_buddy.training.models import lora_config

    model, processor = make_tiny_buddy()
    trainer = trainer_for(model, processor, sample_rows(2), lora_config(ModelConfig(use_peft=True)))
    schedule = DropoutSchedule([0.4], [0.0])
    for step, expected in ((0, 0.4), (2, 0.2), (4, 0.0), (1, 0.3)):
        state = SimpleNamespace(global_step=step, max_steps=5)
        schedule.on_step_begin(None, state, None, model=trainer.model)
        (layers,) = projector_dropouts(trainer.model)
        assert len(layers) == 2  # the adapter's copy of the projector, and the one it copied
        assert [layer.p for layer in layers] == pytest.approx([expected] * 2)


def test_dropouts_are_one_for_each_layer_or_one_for_all():
    assert expand_dropouts([0.1], 3, "x") == [0.1, 0.1, 0.1]
    with pytest.raises(MixingBuddyError, match="3 hidden layers"):
        expand_dropouts([0.1, 0.2], 3, "x")
    with pytest.raises(MixingBuddyError, match="below 1"):
        expand_dropouts([1.0], 3, "x")
