"""How ``advise`` and ``compare`` print what they found."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from mixing_buddy.advising.combining import SongAdvice
from mixing_buddy.advising.comparing import SongComparison
from mixing_buddy.advising.exporting import Export
from mixing_buddy.advising.inputs import SongFiles
from mixing_buddy.advising.iterating import Iteration
from mixing_buddy.advising.reporting import (
    change_words,
    clock,
    describe,
    describe_comparison,
    timeline,
)
from mixing_buddy.cli.ending import one_line
from mixing_buddy.stems import STEMS


def print_tracks(song: SongFiles, title: str | None = None) -> None:
    """Print which file was taken for which stem; nothing for a mix, or where names say it all."""
    is_plain = all(track.path.stem == track.stem for track in song.tracks) and not song.left_out
    if song.is_mix or is_plain:
        return
    table = _table(title or one_line(f"{song.path}"), "file", "taken as", "why")
    for stem in STEMS:
        for track in song.tracks:
            if track.stem == stem:
                table.add_row(one_line(track.path.name), stem, track.reason)
    for file, why in song.left_out:
        table.add_row(one_line(file.name), "left out", why)
    _console().print(table)


def print_advice(
    song: SongFiles,
    faders_db: Mapping[str, float],
    advice: SongAdvice,
    *,
    abstain_below: float,
    iteration: Iteration | None,
) -> None:
    """Print the timeline, the steps of listening again, and the report, the headline last."""
    console = _console()
    moved = gains_words(faders_db)
    table = _table(
        one_line(f"{song.path}") + (f" with {moved}" if moved else ""),
        "window",
        "verdict",
        "answers",
    )
    for each in timeline(advice):
        answers = [f"{w.anchor}: {change_words(w.advice)}" for w in each.advice.windows]
        table.add_row(
            f"{clock(each.start_s)}-{clock(each.start_s + each.duration_s)}",
            change_words(each.advice),
            "against " + "; ".join(answers),
        )
    console.print(table)
    if iteration is not None:
        _print_iteration(console, iteration)
    for note in advice.notes:
        console.print(f"Note: {one_line(note)}", markup=False)
    first, *rest = describe(advice, abstain_below=abstain_below)
    for sentence in rest:
        console.print(str(sentence), markup=False)
    console.print(f"Whole song: {first}", markup=False, style="bold")


def print_export(export: Export) -> None:
    """Print what was written."""
    console = _console()
    if export.common_gain_db:
        console.print(
            f"Everything was turned down by {-export.common_gain_db:.1f} dB so that nothing clips "
            "[measured]",
            markup=False,
        )
    console.print(one_line(f"Tracks and their mix ({export.mix.name}) written to {export.folder}."))


def print_comparison(comparison: SongComparison) -> None:
    """Print the measured differences and what to do about them."""
    console = _console()
    table = _table("Measured, to match the reference", "stem", "move", "spread", "windows")
    for each in comparison.stems:
        table.add_row(
            each.stem,
            "-" if each.needed_db is None else f"{each.needed_db:+.1f} dB",
            "-" if each.spread_db is None else f"{each.spread_db:.1f} dB",
            str(len(each.windows_db)),
        )
    console.print(table)
    for note in comparison.notes:
        console.print(f"Note: {one_line(note)}", markup=False)
    for sentence in describe_comparison(comparison):
        console.print(str(sentence), markup=False)


def gains_words(gains_db: Mapping[str, float], form: str = "+g") -> str:
    """Gains as text, such as "vocals -9 dB, bass +3 dB"; stems that are not moved are left out."""
    return ", ".join(f"{stem} {gain_db:{form}} dB" for stem, gain_db in gains_db.items() if gain_db)


def _print_iteration(console: Console, iteration: Iteration) -> None:
    table = _table("Advised, applied, heard again", "step", "faders", "advice", "balanced", "moved")
    for index, step in enumerate(iteration.steps):
        chance = step.advice.balanced_probability
        table.add_row(
            f"{index}" + (" (kept)" if index == iteration.best else ""),
            gains_words(step.gains_db, "+.1f") or "as they are",
            change_words(step.advice),
            "-" if chance is None else f"{chance:.0%}",
            gains_words(step.change_db, "+.1f") or "-",
        )
    console.print(table)
    kept = gains_words(iteration.gains_db, "+.1f") or "as they are"
    console.print(
        f"It ended because: {iteration.outcome.value}. Faders kept: {kept}. [inferred]",
        markup=False,
    )


def _table(title: str, *columns: str) -> Table:
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
