"""The figures of the shipped nano: asks it about the test songs and writes the documents' tables.

Nine reports: single mix, stems and differential, on generated songs, on songs of unheard
instruments and on Rubidium, as docs/training-nano.md lists them. A run that was broken off goes on;
with --write the tables between `<!-- figures: NAME -->` and `<!-- end: NAME -->` in README.md,
docs/training-nano.md and the model's own README.md are written anew.

Usage:
    python benchmarks/nano_figures.py --songs songs --datasets datasets [--model MODEL] [--write]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "docs/training-nano.md", "mixing_buddy/checkpoints/nano/README.md")

#: The command line of this Python, whatever is on the path.
MIXING_BUDDY = (sys.executable, "-c", "from mixing_buddy.cli import main; main()")

#: Titles of the songs, by dataset.
SONGS = {
    "generated": "generated songs",
    "generated-unheard": "unheard instruments",
    "cc0-songs": "*Rubidium*",
}
#: Rows that are asked, by mode and dataset.
ROWS = {
    "single_mix": {"generated": 3000, "generated-unheard": 1500, "cc0-songs": 600},
    "stems": {"generated": 1500, "generated-unheard": 1000, "cc0-songs": 600},
    "differential": {"generated": 1500, "generated-unheard": 1000, "cc0-songs": 600},
}
TRAIN_ROWS = 3000
BASELINES = ("ceiling", "loudness rule", "text")
CATEGORIES = ("very_quiet", "quiet", "no_error", "loud", "very_loud")

Reports = Mapping[tuple[str, str], Mapping[str, Any]]


def ask(arguments: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """Make the reports, as far as they are not there, and read them."""
    reports = {}
    for mode, rows in ROWS.items():
        for dataset, limit in rows.items():
            out = arguments.reports / f"{dataset}-{mode}"
            words = ["evaluate", str(arguments.datasets / dataset), "--mode", mode]
            words += ["--songs", str(arguments.songs / dataset), "--limit", str(limit)]
            words += ["--train-limit", str(TRAIN_ROWS), "--out", str(out)]
            if dataset != "generated":
                words += ["--train-dataset", str(arguments.datasets / "generated")]
                words += ["--train-songs", str(arguments.songs / "generated")]
            if arguments.model:
                words += ["--model", arguments.model]
            subprocess.run([*MIXING_BUDDY, *words], check=True)
            reports[mode, dataset] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return reports


def main_table(reports: Reports) -> str:
    """Joint accuracy beside baselines, and how far changes are off."""
    lines = [["", "rows, songs", "joint, %", "ceiling", "rule", "text"]]
    for (mode, dataset), report in reports.items():
        one_song = ", a real song" * (report["num_songs"] == 1)
        joint = f"**{100 * report['joint']:.1f}**"
        if not one_song:
            joint += " ({:.1f} to {:.1f})".format(*(100 * e for e in report["intervals"]["joint"]))
        lines.append(
            [
                f"{mode.replace('_', ' ')}, {SONGS[dataset]}{one_song}",
                f"{report['num_rows']}, {report['num_songs']}",
                joint,
                *(_joint(report["baselines"].get(name)) for name in BASELINES),
            ]
        )
    changed_db, all_db, changed_unheard_db, all_unheard_db = (
        f"{reports['differential', dataset][name]:.2f}"
        for dataset in ("generated", "generated-unheard")
        for name in ("changed_error_db", "error_db")
    )
    sentence = (
        f"In `differential`, stems that differ are off by {changed_db} dB on average, all stems "
        f"by {all_db} dB\n({changed_unheard_db} and {all_unheard_db} dB with unheard instruments)."
    )
    return f"{_markdown(lines)}\n\n{sentence}"


def category_table(reports: Reports) -> str:
    """Single mixes, by measure and by how the stem stood."""
    found = [reports["single_mix", dataset] for dataset in SONGS]
    lines = [["in %", *SONGS.values()]]
    for name, title in (
        ("joint", "joint"),
        ("stem", "stem"),
        ("direction", "direction"),
        ("magnitude", "magnitude (flawed rows)"),
    ):
        lines.append([title, *(f"{100 * report[name]:.1f}" for report in found)])
    for category in CATEGORIES:
        cells = (_joint(report["by"]["category"].get(category)) for report in found)
        lines.append([f"joint, {category}", *cells])
    detection = (f"{100 * report['error_detection']['f1']:.1f}" for report in found)
    lines.append(["error detection, F1", *detection])
    return _markdown(lines)


def write(tables: Mapping[str, str], document: Path) -> None:
    """Put tables between their markers."""
    text = document.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(start)}\n.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, a=start, b=end, t=table: f"{a}\n{t}\n{b}", text)
    document.write_text(text, encoding="utf-8")


def _joint(sums: Mapping[str, Any] | None) -> str:
    return f"{100 * sums['joint']:.1f}" if sums else "-"


def _markdown(lines: list[list[str]]) -> str:
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in rows)


def main() -> None:
    """Ask, print the tables, and write them where that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=Path, required=True, help="folder of the song folders")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--model", help="folder or Hub id; nano by default")
    parser.add_argument(
        "--reports", type=Path, default=REPOSITORY / "runs/nano-figures", help="folder of reports"
    )
    parser.add_argument("--write", action="store_true", help="write the tables of the documents")
    arguments = parser.parse_args()
    reports = ask(arguments)
    tables = {"main": main_table(reports), "by category": category_table(reports)}
    print("\n\n".join(tables.values()))
    if arguments.write:
        for document in DOCUMENTS:
            write(tables, REPOSITORY / document)


if __name__ == "__main__":
    main()
