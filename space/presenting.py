"""Results as HTML and as JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from listening import MODEL_NAME, Heard, answers_by_advice
from uploads import display_name

from mixing_buddy import __version__
from mixing_buddy.advice import Advice
from mixing_buddy.advising.comparing import SongComparison
from mixing_buddy.advising.confidence import UNSURE_BELOW
from mixing_buddy.advising.stem_names import MIX, StemGuess
from mixing_buddy.flaws import Direction

#: Differences below this many dB are not worth a fader move.
MIN_DIFFERENCE_DB = 0.5

_ARROWS = {Direction.RAISE: "▲", Direction.LOWER: "▼", Direction.NONE: "✓", None: "?"}


def range_words(advice: Advice) -> str:
    """Say the advised size: "6 to 12 dB", or "–"."""
    if advice.min_db is None or advice.direction is Direction.NONE:
        return "–"
    if advice.min_db == advice.max_db:
        return f"{advice.min_db:g} dB"
    return f"{advice.min_db:g} to {advice.max_db:g} dB"


def headline(advice: Advice) -> str:
    """Say advice in a few words: "Raise the vocals by 6 to 12 dB"."""
    if advice.direction is None:
        return "No clear advice"
    if advice.direction is Direction.NONE:
        return "Leave the faders where they are"
    size = range_words(advice)
    return f"{advice.direction.value.capitalize()} the {advice.stem}" + (
        f" by {size}" if size != "–" else ""
    )


def advice_card(heard: Heard, remarks: Sequence[str]) -> str:
    """The advice in words with its confidence."""
    advice, confidence = heard.advice, heard.advice.confidence
    kind = advice.direction.value if advice.direction else "unclear"
    agreement = f"{advice.num_agreeing} of {len(advice.windows)} answers agree"
    meter, doubt = "", ""
    if confidence is not None:
        percent = round(100 * confidence)
        doubt = "Not sure. Best guess: " if confidence < UNSURE_BELOW else ""
        meter = (
            f'<div class="mb-meter" role="meter" aria-valuenow="{percent}" aria-valuemin="0" '
            f'aria-valuemax="100" aria-label="Confidence"><span style="width:{percent}%"></span>'
            f'</div><p class="mb-small"><b>Confidence {percent} %</b> · {agreement}</p>'
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in (*remarks, *advice.notes))
    return (
        f'<section class="mb-card mb-{kind}" aria-live="polite">'
        f'<p class="mb-headline"><span aria-hidden="true">{_ARROWS[advice.direction]}</span> '
        f"{escape(_after(doubt, headline(advice)))}</p>"
        f'<blockquote class="mb-words">{escape(advice.text)}</blockquote>{meter}'
        + (f'<ul class="mb-notes">{notes}</ul>' if notes else "")
        + "</section>"
    )


def advice_rows(heard: Heard) -> list[dict[str, Any]]:
    """Every stem and direction that can be advised, the most likely first."""
    best: dict[tuple[str | None, str], dict[str, Any]] = {}
    counts = answers_by_advice(heard)
    pairs = zip(heard.ranking.candidates, heard.ranking.posterior, strict=True)
    for candidate, probability in sorted(pairs, key=lambda pair: -pair[1]):
        key = (candidate.stem, candidate.direction.value)
        row = best.setdefault(
            key,
            {
                "stem": candidate.stem,
                "direction": candidate.direction.value,
                "range": range_words(candidate.advice),
                "probability": 0.0,
                "answers": counts.get(key, 0),
            },
        )
        row["probability"] += float(probability)
    return sorted(best.values(), key=lambda row: -row["probability"])


def advice_table(heard: Heard) -> str:
    """All that could be advised, with the model's probability and the answers for each."""
    chosen = (heard.advice.stem, heard.advice.direction and heard.advice.direction.value)
    total = len(heard.advice.windows)
    rows = []
    for row in advice_rows(heard):
        is_chosen = (row["stem"], row["direction"]) == chosen
        direction = "nothing to change" if row["direction"] == "none" else row["direction"]
        size = range_words(heard.advice) if is_chosen else row["range"]
        rows.append(
            f"<tr{' class=mb-chosen' if is_chosen else ''}><td>{row['stem'] or 'all'}</td>"
            f"<td>{direction}</td><td>{size}</td><td>{row['answers']} of {total}</td>"
            f"<td>{100 * row['probability']:.0f} %</td></tr>"
        )
    return _table(("Stem", "Fader", "Range", "Said in", "Confidence"), rows)


def window_table(heard: Heard) -> str:
    """What was answered on each window against each anchor."""
    rows = [
        f"<tr><td>{_clock(window.start_s)}–{_clock(window.start_s + window.duration_s)}</td>"
        f"<td>{window.anchor}</td><td class=mb-wide>{escape(window.advice.text)}</td></tr>"
        for window in heard.advice.windows
    ]
    return _table(("Window", "Anchor", "Answer"), rows)


def picture(png: bytes, description: str) -> str:
    """A picture with its description."""
    data = base64.b64encode(png).decode()
    return (
        f'<img class="mb-picture" alt="{escape(description)}" src="data:image/png;base64,{data}">'
    )


def guess_table(guessed: Sequence[tuple[Path, StemGuess]]) -> str:
    """Which file is taken for which stem, and why."""
    rows = [
        f"<tr><td>{escape(display_name(path))}</td>"
        f"<td><b>{'left out' if guess.stem == MIX else guess.stem}</b></td>"
        f"<td>{escape(guess.reason)}</td></tr>"
        for path, guess in guessed
    ]
    if not rows:
        return ""
    return (
        _table(("File", "Taken for", "Why"), rows)
        + '<p class="mb-small">Several files of one stem are summed. Wrong? Put the file into its '
        "own slot below.</p>"
    )


def comparison_table(found: SongComparison) -> str:
    """Measured differences of two versions."""
    rows = []
    for each in found.stems:
        if each.needed_db is None:
            action, spread = "nothing to compare", "–"
        else:
            verb = "raise" if each.needed_db > 0 else "lower"
            size = f"{abs(each.needed_db):.1f} dB"
            is_small = abs(each.needed_db) < MIN_DIFFERENCE_DB
            action = "leave" if is_small else f"<b>{verb} by {size}</b>"
            spread = f"{each.spread_db:.1f} dB"
        rows.append(
            f"<tr><td>{each.stem}</td><td>{action}</td><td>{len(each.windows_db)}</td>"
            f"<td>{spread}</td></tr>"
        )
    against = f"the {found.anchor}" if found.anchor else "the median of the stems"
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return (
        _table(("Stem", "In A", "Windows", "Spread"), rows)
        + '<p class="mb-small">Measured on the stems (ITU-R BS.1770) in windows of 10 s, relative '
        f"to {against}: overall level is free. No model is involved.</p>"
        + (f'<ul class="mb-notes">{notes}</ul>' if notes else "")
    )


def inferred_pair(a: Heard, b: Heard) -> str:
    """What the model says of each of two versions."""
    cells = "".join(
        f'<div class="mb-card mb-half"><p class="mb-small">{name}</p>'
        f"<p><b>{escape(headline(heard.advice))}</b></p><p>{escape(heard.advice.text)}</p>"
        f'<p class="mb-small">Confidence {_percent(heard.advice.confidence)}</p></div>'
        for name, heard in (("Version A", a), ("Version B, the reference", b))
    )
    return (
        f'<div class="mb-pair">{cells}</div><p class="mb-small">Inferred by the model from each '
        "mix by itself; it did not hear A against B.</p>"
    )


def to_json(heard: Heard) -> dict[str, Any]:
    """What the API answers."""
    advice = heard.advice
    return {
        "text": advice.text,
        "stem": advice.stem,
        "direction": advice.direction and advice.direction.value,
        "min_db": advice.min_db,
        "max_db": advice.max_db,
        "confidence": heard.advice.confidence,
        "num_agreeing": advice.num_agreeing,
        "num_answers": len(advice.windows),
        "applied_db": heard.changes_db,
        "candidates": advice_rows(heard),
        "notes": list(advice.notes),
        "model": MODEL_NAME,
        "version": __version__,
    }


def vote_record(heard: Heard, anchor: str | None) -> dict[str, Any]:
    """What is kept of advice that is voted on."""
    told = to_json(heard)
    kept = ("stem", "direction", "min_db", "max_db", "confidence", "num_agreeing", "num_answers")
    return {
        **{key: told[key] for key in kept},
        "anchor": anchor,
        "kind": heard.song.kind,
        "faders_db": dict(heard.song.faders_db),
        "model": MODEL_NAME,
        "version": __version__,
    }


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<div class="mb-scroll"><table class="mb-table"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _after(opening: str, words: str) -> str:
    """Put words after an opening of their sentence."""
    return opening + words[0].lower() + words[1:] if opening else words


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.0f} %"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
