"""Running the steps of experiments, so that what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from experimenting.plan import Experiment, Step
from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.files import write_whole

REPOSITORY = Path(__file__).resolve().parents[2]

#: How long a command may take to end after Ctrl-C.
_GRACE_S = 20.0


@dataclass(frozen=True)
class Job:
    """A step of one arm and seed, ready to run.

    Args:
        place: what it belongs to, as in "tokens/25/seed-0/2-sft".
        step: what is run.
        argv: its command line, folders filled in.
        out: where its output goes.
        record: where it is written down that it is done.
        key: fingerprint of everything it depends on: its own command and configuration, all
            commands before it, and the weights that they start from.
        before: the key of what trained the model that it takes; empty where nothing did.
    """

    place: str
    step: Step
    argv: tuple[str, ...]
    out: Path
    record: Path
    key: str
    before: str

    @property
    def is_done(self) -> bool:
        """Whether it was run to its end, with just this command."""
        return read_record(self.record).get("key") == self.key

    def run(self, settings: Mapping[str, object]) -> None:
        """Run it, and write down that it is done.

        What an earlier, different command left is removed first; what the same command left,
        unfinished, is gone on from.

        Args:
            settings: kept in the record.

        Raises:
            MixingBuddyError: the command fails.
            KeyboardInterrupt: the user stopped it; the command has ended by then.
        """
        if read_record(self.record).get("begun") != self.key:
            shutil.rmtree(self.out, ignore_errors=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        begun = {"begun": self.key, "before": self.before, "argv": self.step.argv, **settings}
        write_whole(self.record, json.dumps(begun, indent=2) + "\n")
        argv = list(self.argv)
        if self.step.is_training and _has_checkpoint(self.out):
            argv += ["--resume_from_checkpoint", "latest"]
        started_s = time.perf_counter()
        code = _call(argv)
        if code != 0:
            raise MixingBuddyError(
                f"{self.place} failed with exit code {code}; what it said stands above. The "
                f"command, run in {REPOSITORY}: {shlex.join(argv)}"
            )
        for checkpoint in self.out.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        duration_s = round(time.perf_counter() - started_s, 1)
        # Only part of the work was timed where an earlier run had begun.
        was_whole = "--resume_from_checkpoint" not in argv
        done = {"key": self.key, "duration_s": duration_s, "timed_whole": was_whole}
        record = {**begun, **done, "kind": self.step.kind, "units": self.step.units}
        write_whole(self.record, json.dumps(record, indent=2) + "\n")


def list_jobs(
    experiment: Experiment,
    out: Path,
    roots: Mapping[str, str],
    *,
    fingerprint: Callable[[str], str] | None = None,
) -> list[Job]:
    """List the jobs of an experiment, each once, seed by seed: the first seed's table comes first.

    Args:
        experiment: from `read_plan`.
        out: folder of all runs.
        roots: "songs", "datasets", "hearing" and "model", those that are needed.
        fingerprint: exact state of a model; by default that of its weights.

    Raises:
        MixingBuddyError: a folder is needed and not named.
    """
    for name in experiment.needs:
        if not roots.get(name):
            option = {"hearing": "--start", "model": "--model"}[name]
            raise MixingBuddyError(
                f"{experiment.name} starts from a model that is trained already: name it by "
                f"{option}."
            )
    fingerprint = fingerprint or _weights
    weights = {name: fingerprint(roots[name]) for name in experiment.needs}
    jobs: dict[str, Job] = {}
    for seed in sorted({seed for arm in experiment.arms for seed in arm.steps}):
        for arm in experiment.arms:
            made, asked = (out / each / f"seed-{seed}" for each in (arm.made, arm.asked))
            before = ""
            for step in arm.steps.get(seed, ()):
                used = {n: w for n, w in weights.items() if f"{{{n}}}" in step.argv}
                key = _digest([before, *step.argv, json.dumps(used), *_configurations(step.argv)])
                here = asked if step.is_report else made
                # str.format would stumble over the braces of JSON among the words.
                folders = {**roots, "made": str(made), "asked": str(asked)}
                argv = tuple(_fill(word, folders) for word in _executable(step.argv))
                place = f"{here.relative_to(out)}/{step.name}"
                record = here / f"{step.name}.json"
                # Of arms that share a step the first has it, and with it the baselines.
                jobs.setdefault(
                    place, Job(place, step, argv, here / step.name, record, key, before)
                )
                if not step.is_report:
                    before = key
    return list(jobs.values())


def read_record(path: Path) -> dict:
    """Read what is known of a step; empty where nothing is."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def estimate_s(jobs: Sequence[Job], out: Path, costs: Mapping[str, float]) -> float:
    """Estimate how long jobs take, by what jobs of their kind took in the same folder.

    Args:
        jobs: to be run.
        out: folder of all runs.
        costs: seconds a unit by kind, for kinds of which none was run.
    """
    times: dict[str, list[float]] = {}
    for path in out.glob("*/*/seed-*/*.json"):
        record = read_record(path)
        if record.get("timed_whole"):
            times.setdefault(record["kind"], []).append(record["duration_s"] / record["units"])
    rates = {kind: sum(each) / len(each) for kind, each in times.items()}
    return sum(job.step.units * rates.get(job.step.kind, costs[job.step.kind]) for job in jobs)


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    costs: Mapping[str, float],
    settings: Mapping[str, object],
) -> Iterator[str]:
    """Run what is not done yet, and say before each job what it is.

    Args:
        jobs: from `list_jobs`.
        out: folder of all runs.
        costs: as for `estimate_s`.
        settings: kept in the record of each job.

    Yields:
        Lines to print.
    """
    unfinished = [job for job in jobs if not job.is_done]
    yield f"{len(jobs) - len(unfinished)} of {len(jobs)} steps are done."
    for number, job in enumerate(unfinished):
        if job.is_done:
            # By another process, which was given an arm of its own meanwhile.
            continue
        rest = unfinished[number:]
        minutes = estimate_s(rest, out, costs) / 60
        place = f"[{number + 1}/{len(unfinished)}] {job.place}"
        yield f"{place}; about {minutes:.0f} minutes left in all"
        yield f"    {shlex.join(job.step.argv)}"
        job.run(settings)


def _call(argv: Sequence[str]) -> int:
    process = subprocess.Popen(argv, cwd=REPOSITORY)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # A terminal sends Ctrl-C to the command as well; a lone signal reaches only this process.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        raise


def _executable(argv: Sequence[str]) -> list[str]:
    """Run everything by this Python, whatever is on the path."""
    if argv[0] == "mixing-buddy":
        return [sys.executable, "-c", "from mixing_buddy.cli import main; main()", *argv[1:]]
    return [sys.executable, *argv[1:]]


def _fill(word: str, folders: Mapping[str, str]) -> str:
    for name, folder in folders.items():
        word = word.replace(f"{{{name}}}", str(folder))
    return word


def _configurations(argv: Sequence[str]) -> Iterator[str]:
    """What a command reads of its configuration, without what its own flags say instead."""
    for word in argv:
        if word.startswith("configs/"):
            fields = yaml.safe_load((REPOSITORY / word).read_text(encoding="utf-8"))
            read = {name: value for name, value in fields.items() if f"--{name}" not in argv}
            yield json.dumps(read, sort_keys=True)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _has_checkpoint(folder: Path) -> bool:
    from mixing_buddy.training.resuming import newest_whole_checkpoint

    return newest_whole_checkpoint(folder) is not None


def _weights(model: str) -> str:
    from mixing_buddy.modeling.assembly_mixing_buddy import resolve_revision

    return resolve_revision(model)
