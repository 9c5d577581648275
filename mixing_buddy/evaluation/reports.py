"""What is known after an evaluation, as one dict, and the files that it is written to."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from mixing_buddy.advice import parse_advice
from mixing_buddy.evaluation.answering import Answered
from mixing_buddy.evaluation.baselines import verdict_text
from mixing_buddy.evaluation.bootstrap import SongBootstrap
from mixing_buddy.evaluation.breakdowns import accuracy_by_gain, confuse
from mixing_buddy.evaluation.calibration import calibrate, posterior_array
from mixing_buddy.evaluation.comparing import CEILING, Beside
from mixing_buddy.evaluation.differential import (
    confuse_changes,
    grade_changes,
    read_changes,
    summarise_changes,
)
from mixing_buddy.evaluation.grading import grade, song_key, summarise
from mixing_buddy.evaluation.published import summarise_published
from mixing_buddy.evaluation.text_report import TextSettings, count_references, measure_texts
from mixing_buddy.evaluation.verdicts import decide
from mixing_buddy.files import write_whole
from mixing_buddy.schema import DIFFERENTIAL

_LIBRARIES = ("torch", "transformers", "datasets", "numpy", "scikit-learn")
_TASKS = {"joint": "", "error_db": "_error_db"}


def describe_run(
    model: str | None, dataset: str, *, revision: str | None = None, **settings: Any
) -> dict[str, Any]:
    """Say what a report is about, so that its figures can't end up beside another model.

    Args:
        model: folder or Hub id; None for nano.
        dataset: folder or Hub id.
        revision: commit of the model's Hub id.
        settings: what else was chosen, such as config and split.

    Returns:
        The settings, with the names of model and dataset (folders without the way to them), the
        exact state of the weights, this package's version, those of the libraries, and the commit
        of the working tree that this package is in, if any.
    """
    from mixing_buddy.modeling.assembly_mixing_buddy import resolve_revision
    from mixing_buddy.version import __version__

    if model is None:
        model = str(files("mixing_buddy") / "checkpoints" / "nano")
    return {
        "model": _name(model),
        "weights": resolve_revision(model, revision),
        "dataset": _name(dataset),
        **settings,
        "version": __version__,
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
    }


def build_report(
    answered: Answered,
    run: Mapping[str, Any],
    *,
    flavour: str = "ours",
    beside: Beside | None = None,
    text_settings: TextSettings | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Grade everything.

    Args:
        answered: rows and answers.
        run: what `describe_run` returned; its `config` says how to grade.
        flavour: "published" to grade by the published rules as well.
        beside: baselines, if they were asked.
        text_settings: how to compare answers with references as texts; not at all if None.
        seed: what intervals are drawn from.

    Returns:
        What `summarise` returns, or `summarise_changes` for "differential", and

        - `run`,
        - `confusion`: see `confuse` and `confuse_changes`,
        - `baselines`: for each the same sums, without songs, and what it `knows`,
        - `notes`: what was left out,
        - `by_gain`: for `model` and `ceiling`, see `accuracy_by_gain`; not for "differential",
        - `published`: see `summarise_published`, where that was asked for,
        - `ranked` (sums of the most probable advice) and `calibration` (see `calibrate`; for
          `model` and `ceiling`), where the model was ranked,
        - `text` (see `measure_texts`; of the baselines as well) and `references` (see
          `count_references`), where that was asked for.
    """
    rows, answers = answered.rows, answered.answers
    is_differential = run["config"] == DIFFERENTIAL
    sum_up = summarise_changes if is_differential else summarise
    report: dict[str, Any] = {"run": dict(run), **sum_up(rows, answers, seed=seed)}
    report["baselines"] = {}
    report["notes"] = list(beside.notes) if beside else []
    for name, texts in beside.answers.items() if beside else ():
        sums = sum_up(rows, texts, seed=seed)
        del sums["by"]["song"]
        report["baselines"][name] = {"knows": beside.knows[name], **sums}
    if text_settings is not None:
        _add_texts(report, answered, beside, text_settings, seed)
    if is_differential:
        return report | {"confusion": confuse_changes(rows, answers)}

    songs = [song_key(row) for row in rows]
    bootstrap = SongBootstrap(songs, seed=seed)
    advice = [parse_advice(answer) for answer in answers]
    report["confusion"] = confuse(rows, advice)
    report["by_gain"] = {"model": accuracy_by_gain(rows, advice, bootstrap)}
    if report["baselines"].get(CEILING):
        best = [parse_advice(answer) for answer in beside.answers[CEILING]]
        report["by_gain"][CEILING] = accuracy_by_gain(rows, best, bootstrap)
    if flavour == "published":
        report["published"] = summarise_published(rows, answers)
    if answered.posteriors is not None:
        posteriors = posterior_array(answered.posteriors)
        report["ranked"] = summarise(rows, _say(rows, posteriors), seed=seed)
        del report["ranked"]["by"]["song"]
        report["calibration"] = {"model": calibrate(rows, posteriors, songs, seed=seed)}
        if beside and beside.ceiling_posteriors is not None:
            report["calibration"][CEILING] = calibrate(
                rows, beside.ceiling_posteriors, songs, seed=seed
            )
    return report


def _add_texts(
    report: dict[str, Any],
    answered: Answered,
    beside: Beside | None,
    settings: TextSettings,
    seed: int,
) -> None:
    rows, config = answered.rows, report["run"]["config"]
    systems = {"model": answered.answers, **(beside.answers if beside else {})}
    are_right = {
        name: [_grades(row, text, config)["joint"] for row, text in zip(rows, texts, strict=True)]
        for name, texts in systems.items()
    }
    found = measure_texts(rows, systems, are_right, settings, seed=seed)
    report["references"] = count_references(rows)
    for name, sums in {"model": report, **report["baselines"]}.items():
        sums["text"], sums["intervals"]["text"] = found[name]


def results_blocks(report: Mapping[str, Any], dataset_id: str) -> list[dict[str, Any]]:
    """Write a report's figures as entries of a model repository's ``.eval_results``.

    No text metric is among them: a ranking by wording rewards wrong advice that is well put.

    Args:
        report: what `build_report` returned.
        dataset_id: Hub id of the dataset.

    Returns:
        Entries in the form of ``huggingface_hub.eval_result_entries_to_yaml``: joint accuracy in
        %, and for "differential" the error in dB.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    run = report["run"]
    entries = []
    for measure, suffix in _TASKS.items():
        if report.get(measure) is None:
            continue
        in_percent = measure == "joint"
        scale, unit = (100, "%") if in_percent else (1, "dB")
        what = "Joint accuracy" if in_percent else "Mean absolute error of changes"
        interval = report["intervals"].get(measure)
        ends = f" ({interval[0] * scale:.2f} to {interval[1] * scale:.2f})" if interval else ""
        kind = f", {run['prompt_category']} prompts only" if run.get("prompt_category") else ""
        entries.append(
            EvalResultEntry(
                dataset_id=dataset_id,
                task_id=run["config"] + suffix,
                value=round(report[measure] * scale, 2),
                notes=f"{what} in {unit}{ends}, split {run['split']}{kind}, {report['num_rows']} "
                f"rows of {report['num_songs']} songs, greedy decoding",
            )
        )
    return eval_result_entries_to_yaml(entries)


def write_report(out: Path, answered: Answered, report: Mapping[str, Any]) -> list[Path]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``eval_results.yaml``.

    ``answers.jsonl`` is written anew, with a line and its grades for each row.

    Args:
        out: folder, made if it is missing; its files of these names are replaced.
        answered: rows and answers.
        report: what `build_report` returned.

    Returns:
        The files.
    """
    import yaml

    from mixing_buddy.evaluation.report_page import as_html, as_markdown
    from mixing_buddy.publishing.naming import WRITTEN_NAMESPACE, dataset_id

    lines = [_line(answered, place, report["run"]["config"]) for place in range(len(answered.rows))]
    blocks = results_blocks(report, dataset_id(report["run"]["dataset"], WRITTEN_NAMESPACE))
    texts = {
        "answers.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "report.json": json.dumps(report, indent=2) + "\n",
        "report.md": as_markdown(report),
        "eval_results.yaml": yaml.safe_dump(blocks, sort_keys=False),
        "report.html": as_html(report, lines),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def _line(answered: Answered, place: int, config: str) -> dict[str, Any]:
    row, answer = answered.rows[place], answered.answers[place]
    line = {"uid": row["uid"], "response": row["response"], "answer": answer}
    line |= _grades(row, answer, config)
    if answered.posteriors is not None:
        line["posterior"] = dict(answered.posteriors[place])
    return line


def _grades(row: Mapping[str, Any], answer: str, config: str) -> dict[str, Any]:
    if config == DIFFERENTIAL:
        return grade_changes(row, read_changes(answer))
    return grade(row, parse_advice(answer))


def _say(rows: Sequence[Mapping[str, Any]], posteriors) -> list[str]:
    verdicts = decide(posteriors)
    return [verdict_text(each, row["anchor"]) for each, row in zip(verdicts, rows, strict=True)]


def _name(name_or_path: str) -> str:
    path = Path(name_or_path)
    return path.resolve().name if path.is_dir() else name_or_path


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Commit of the working tree that this package is in, with "+" where files were changed."""
    root = Path(str(files("mixing_buddy"))).parent
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")
