"""The parts of the study's pages that are HTML: texts, sounds and the advice to be rated.

Sounds are plain audio elements: a drawn waveform would show differences in level that are to be
heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mixing_buddy.schema import DIFFERENTIAL
from mixing_buddy.study.material import AbxPair, Item
from mixing_buddy.study.questions import Consent

#: One sound at a time.
SCRIPT = """<script>
document.addEventListener('play', (event) => {
  document.querySelectorAll('audio').forEach((other) => {
    if (other !== event.target) other.pause();
  });
}, true);
</script>"""


def consent_html(consent: Consent) -> str:
    """The consent text."""
    parts = [
        f"<h2>{escape(heading)}</h2><p>{escape(body)}</p>" for heading, body in consent.sections
    ]
    return _page(
        "<h1>Advice on mixes: a listening study</h1>",
        *parts,
        f"<h2>Who asks</h2><p>{escape(consent.contact)}</p>",
        f"<p class='soft'>Version of this text: {escape(consent.version)}</p>",
        f"<h2>Your consent</h2><p>{escape(consent.question)}</p>",
    )


def declined_html() -> str:
    """What is shown to those who don't take part."""
    return _page(
        "<h1>Thank you</h1><p>You are not taking part, and nothing was stored. "
        "You can close this page.</p>"
    )


def annotators_html() -> str:
    """The first page of annotators."""
    return _page(
        "<h1>Coding answers</h1><p>Both annotators code every answer, without talking about it "
        "before both are done.</p>"
    )


def pause_html() -> str:
    """How to pause."""
    return _page("<p>To pause, close this page; everything is saved. Come back with your code.</p>")


def code_html(code: str) -> str:
    """A new participant's code."""
    return _page(
        "<h1>Your code</h1><p>Write it down now. It is the only way to go on later from where you "
        "stopped, or to have your answers deleted, and it is not shown again.</p>"
        f"<div class='code'>{escape(code)}</div>"
    )


def background_html() -> str:
    """What stands above the questions about the participant."""
    return _page(
        "<h1>About you</h1><p>Put on your headphones if you have some, and sit somewhere quiet. "
        "Start with the volume low, then set it so that this study's music is comfortable, and "
        "leave it there.</p>"
    )


def trial_html(pair: AbxPair, x: str, position: int, total: int) -> str:
    """One listening trial."""
    clips = [("A", pair.sounds["a"]), ("B", pair.sounds["b"]), ("X", pair.sounds[f"x_is_{x}"])]
    return _page(
        f"<h1>Listening test</h1><p class='soft'>{position + 1} of {total}</p>",
        _bar(position, total),
        "<p>A and B are two mixes of the same music that differ in the level of one part. "
        "X is one of them once more. Which one? Listen as often as you like; where you can't tell, "
        "guess.</p>",
        _players(clips),
    )


def rating_html(item: Item, system: str, label: str, position: int, total: int) -> str:
    """One answer to be rated or coded.

    Args:
        item: what is heard.
        system: whose answer is shown; its name is not.
        label: its letter, empty for annotators.
        position: of the page, from 0.
        total: how many pages there are.
    """
    who = f"System {label} answers" if label else "The answer"
    return _page(
        f"<p class='soft'>Page {position + 1} of {total}</p>",
        _bar(position, total),
        _players(item.clips),
        f"<h2>The question</h2><blockquote>{_words(item.instruction)}</blockquote>",
        _in_parts() if item.mode == DIFFERENTIAL else "",
        f"<h2>{who}</h2><blockquote class='advice'>{_words(item.answers[system])}</blockquote>",
    )


def done_html(role: str) -> str:
    """The end."""
    thanks = "Everything is coded." if role == "annotator" else "You have rated everything."
    return _page(f"<h1>Thank you</h1><p>{thanks} All is saved; you can close this page.</p>")


def withdrawn_html() -> str:
    """What is shown to those who had their answers deleted."""
    return _page("<h1>Deleted</h1><p>Everything that you answered was deleted. Thank you.</p>")


def message_html(text: str) -> str:
    """Something that is missing or wrong."""
    return f"<div class='mb'><p class='wrong' role='alert'>{escape(text)}</p></div>" if text else ""


def _page(*parts: str) -> str:
    return f"<div class='mb'>{''.join(parts)}</div>"


def _bar(position: int, total: int) -> str:
    share = 100 * position / max(total, 1)
    return f"<div class='bar' role='presentation'><div style='width:{share:.1f}%'></div></div>"


def _in_parts() -> str:
    return (
        "<p class='soft'>Who answered was given each mix in two parts; you hear both mixes "
        "whole.</p>"
    )


def _players(clips: Sequence[tuple[str, str]]) -> str:
    # The address is relative, so that the study can stand in a folder of a larger site.
    return "".join(
        f"<div class='clip'><b>{escape(label)}</b><audio controls preload='auto' "
        f"controlslist='nodownload noplaybackrate' aria-label='{escape(label)}' "
        f"src='audio/{escape(name)}'></audio></div>"
        for label, name in clips
    )


def _words(text: str) -> str:
    return escape(text) if text.strip() else "<i>(no words)</i>"
