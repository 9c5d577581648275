"""What happens when a button is pressed or the API is called."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import gradio as gr
from bundled import EXAMPLES, PRESETS
from feedback import store_vote
from guarding import count_request, open_example, open_mix, open_stems, shown_errors
from listening import (
    SETTINGS,
    Heard,
    Song,
    draw_levels,
    listen,
    measure,
    render_before_and_after,
)
from presenting import (
    advice_card,
    advice_table,
    comparison_table,
    guess_table,
    inferred_pair,
    picture,
    to_json,
    vote_record,
    window_table,
)
from uploads import guess_stems

from mixing_buddy.stems import ADVISED_STEMS, STEMS

EXAMPLE, YOUR_STEMS, YOUR_MIX = SOURCES = ("Example song", "My stems", "My mix")
AUTO = "auto"
#: What visitors read, and the value behind it.
ANCHORS = [("Auto", AUTO), *((stem.capitalize(), stem) for stem in ADVISED_STEMS)]

#: Faders of `bundled.PRESETS` and slots come in the order of `STEMS`.
_NUM_STEMS = len(STEMS)


def advise_visitor(request: gr.Request, is_matched, anchor, question, *song_inputs):
    """Answer the button: everything that is shown of advice."""
    count_request(request)
    with shown_errors(), _open(*song_inputs) as (song, remarks):
        heard = listen(song, _anchor(anchor), question)
        before, after, gain_db = render_before_and_after(heard, is_matched=is_matched)
        if gain_db:
            remarks.append(f"Both players are turned down by {-gain_db:.1f} dB so as not to clip.")
        levels = picture(draw_levels(heard), _levels_description(heard))
        kept = {
            "vote": vote_record(heard, _anchor(anchor)),
            "heard": (heard.advice, heard.ranking),
            "inputs": _fingerprint(song_inputs),
        }
        return (
            advice_card(heard, remarks),
            gr.update(value=before, label="Before" if after is not None else "As it stands"),
            gr.update(value=after, visible=after is not None),
            gr.update(visible=after is not None),
            levels,
            advice_table(heard),
            window_table(heard),
            kept,
            gr.update(visible=True),
            *_fresh_votes(),
        )


def play_again(request: gr.Request, is_matched, kept, *song_inputs):
    """Render the players anew, with loudness matched or not; the model is not asked."""
    if kept is None:
        return gr.skip(), gr.skip()
    count_request(request)
    if kept["inputs"] != _fingerprint(song_inputs):
        raise gr.Error("The song or its faders have changed: ask for advice again.")
    with shown_errors(), _open(*song_inputs) as (song, _):
        before, after, _ = render_before_and_after(
            Heard(song, *kept["heard"]), is_matched=is_matched
        )
        return before, after


def compare_visitor(request: gr.Request, anchor, source_a, preset, files_a, source_b, files_b):
    """Answer the comparison's button."""
    count_request(request)
    with shown_errors():
        table, pair, _ = _compare(
            _anchor(anchor),
            _open_side(source_a, PRESETS[preset], files_a),
            _open_side(source_b, {}, files_b),
        )
        return table, pair


def advise_api(
    files: list[str] | None,
    example: str | None,
    anchor: str,
    bass_db: float,
    drums_db: float,
    other_db: float,
    vocals_db: float,
    question: str,
    request: gr.Request,
) -> tuple[dict[str, Any], Any]:
    """Advise on a song: stems (files named by stem), one mix, or an example.

    Returns the advice as JSON, and the mix with the advised change made (none for a mix, or where
    nothing is to be changed).
    """
    count_request(request)
    faders_db = dict(zip(STEMS, (bass_db, drums_db, other_db, vocals_db), strict=True))
    with shown_errors():
        if not files:
            opened = open_example(example or "", faders_db)
        elif len(files) == 1:
            opened = open_mix(files[0])
        else:
            opened = open_stems(files, {}, faders_db)
        with opened as (song, remarks):
            heard = listen(song, _anchor(anchor), question)
            _, after, gain_db = render_before_and_after(heard, is_matched=False)
            told = to_json(heard)
            told["notes"] += remarks
            told["turned_down_db"] = -gain_db
            return told, after


def compare_api(
    files_a: list[str], files_b: list[str], anchor: str, request: gr.Request
) -> dict[str, Any]:
    """Compare version A with a reference B: each one mix, or stems (files named by stem).

    Returns what was measured on stems, and what the model infers from each version by itself.
    """
    count_request(request)
    with shown_errors():
        _, _, told = _compare(
            _anchor(anchor), _open_files(files_a or []), _open_files(files_b or [])
        )
        return told


def vote(is_helpful: bool, kept: dict[str, Any] | None):
    """Keep a vote on the advice that is shown, once."""
    if kept is None or kept.get("has_voted"):
        return kept, gr.skip(), gr.skip(), gr.skip()
    with shown_errors():
        stored = store_vote(SETTINGS.feedback_dir, is_helpful=is_helpful, advice=kept["vote"])
    thanks = "Thank you, noted." if stored else "Thank you. The box of votes is full, though."
    disabled = gr.update(interactive=False)
    return {**kept, "has_voted": True}, f'<p class="mb-small">{thanks}</p>', disabled, disabled


def show_guess(paths: list[str] | None) -> str:
    """Show which stem each dropped file is taken for."""
    return guess_table(guess_stems(paths or []))


def show_credit(key: str) -> str:
    """Show who made an example, and its licence."""
    example = EXAMPLES[key]
    return f'<p class="mb-small">{example.credit}<br>{example.remark}</p>'


def _open(source, example, dropped, mix, *rest) -> AbstractContextManager[tuple[Song, list[str]]]:
    """Open what the visitor chose; `rest` holds four slots, then four faders."""
    slots = dict(zip(STEMS, rest[:_NUM_STEMS], strict=True))
    faders_db = dict(zip(STEMS, rest[_NUM_STEMS:], strict=True))
    if source == EXAMPLE:
        return open_example(example, faders_db)
    return open_mix(mix) if source == YOUR_MIX else open_stems(dropped, slots, faders_db)


def _open_side(source, faders_db, files):
    """Open one version of a comparison; an example's faders come by preset."""
    if source in EXAMPLES:
        return open_example(source, faders_db)
    return _open_files(files or [])


def _open_files(files):
    return open_mix(files[0] if files else None) if len(files) < 2 else open_stems(files, {}, {})


def _compare(anchor, opened_a, opened_b) -> tuple[str, str, dict[str, Any]]:
    with opened_a as (a, _), opened_b as (b, _):
        told: dict[str, Any] = {"measured": None}
        if a.has_stems and b.has_stems:
            found = measure(a, b, anchor)
            table = comparison_table(found)
            told["measured"] = found.to_dict()
        else:
            table = (
                '<p class="mb-small">Nothing was measured: levels of parts can only be measured '
                "where both versions are given as stems.</p>"
            )
        heard_a, heard_b = listen(a, anchor), listen(b, anchor)
        told["inferred"] = {"a": to_json(heard_a), "b": to_json(heard_b)}
        return table, inferred_pair(heard_a, heard_b), told


def _anchor(anchor: str | None) -> str | None:
    return None if anchor in (None, "", AUTO) else anchor


def _fingerprint(song_inputs) -> str:
    return repr(song_inputs)


def _levels_description(heard: Heard) -> str:
    what = "each stem" if heard.song.has_stems else "the mix"
    moved = "".join(
        f"; the {stem} also after {change_db:+.1f} dB"
        for stem, change_db in heard.changes_db.items()
    )
    return f"Level of {what} over time in dBFS{moved}"


def _fresh_votes():
    return "", gr.update(interactive=True), gr.update(interactive=True)
