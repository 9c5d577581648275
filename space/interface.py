"""The page: what stands where, and which job answers which button."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gradio as gr
import jobs
from bundled import EXAMPLES, PRESETS
from comparison_tab import build_comparison
from endpoints import build_endpoints
from listening import MODEL_NAME, NUM_PARAMETERS
from settings import (
    AUDIO_SUFFIXES,
    CONCURRENCY,
    FILE_AGE_S,
    MAX_DURATION_S,
    MAX_FADER_DB,
    MAX_FILE_MB,
    MAX_FILES,
    MAX_QUESTION_CHARACTERS,
    MAX_QUEUE,
    RATE_LIMIT,
)
from uploads import uploaded_file

from mixing_buddy.stems import STEMS

_FOLDER = Path(__file__).resolve().parent
CSS = (_FOLDER / "style.css").read_text(encoding="utf-8")
_ICONS = _FOLDER / "icons"
#: On a narrow screen the advice stands far below the button.
_SHOW_CARD = """() => {
  if (window.innerWidth < 700)
    document.getElementById("mb-card").scrollIntoView({behavior: "smooth", block: "start"});
}"""

_FIRST_EXAMPLE = next(iter(EXAMPLES))
_FIRST_PRESET = next(iter(PRESETS.values()))

_HEADER = """
<div class="mb-top">
<svg width="44" height="44" viewBox="0 0 44 44" role="img" aria-label="Three faders">
<rect width="44" height="44" rx="10" fill="#0f9d76"/>
<g stroke="#fff" stroke-width="2.4" stroke-linecap="round" opacity=".55">
<path d="M12 9v26M22 9v26M32 9v26"/></g>
<g fill="#fff"><rect x="7.5" y="23" width="9" height="6" rx="2"/>
<rect x="17.5" y="13" width="9" height="6" rx="2"/>
<rect x="27.5" y="19" width="9" height="6" rx="2"/></g>
</svg>
<div><h1>Mixing Buddy</h1>
<p>Which part of your mix is off, in which direction, and by how much?</p></div></div>
"""

_EMPTY = """
<section class="mb-card mb-empty"><p class="mb-headline">Your advice appears here</p>
<p class="mb-small">The example song is ready, with its vocals pulled down by 9 dB. Press
<b>Get advice</b> and see whether Mixing Buddy finds them. Then move the faders yourself, or upload
your own song.</p></section>
"""

_ABOUT = f"""
### From a program

```python
from gradio_client import Client, handle_file

client = Client("mixingbuddy/mixing-buddy")  # or the address of this page

# A song that comes with the Space, its vocals pulled down by 9 dB:
advice, after = client.predict(
    example="generated", vocals_db=-9, anchor="drums", api_name="/advise"
)
print(advice["text"], advice["stem"], advice["direction"], advice["min_db"], advice["confidence"])

# Your stems: file names say which stem each is. One file alone is taken as a mix.
stems = [handle_file(f"my-song/{{stem}}.wav") for stem in ("bass", "drums", "other", "vocals")]
advice, after = client.predict(files=stems, api_name="/advise")

# Two versions: what to move in A to reach B.
told = client.predict(files_a=stems, files_b=others, api_name="/compare")
```

`after` is a WAV file with the advised change made, or nothing where none can be made.

### Limits

- Files of up to {MAX_FILE_MB} MB, {MAX_FILES} of them, up to {MAX_DURATION_S:g} s long, mono or
  stereo; {RATE_LIMIT} requests a minute; {MAX_QUEUE} requests wait at the most.
- Gain only: no EQ, compression or panning. `other` (guitars, keys and the rest) sounds in the mix,
  but is never called off.
- Confidence is the probability that the model gives to this stem and direction when asked a plain
  question. It has not been calibrated on real music.

### Privacy

Uploads are deleted within an hour, and nobody listens to them. A vote keeps the advice, the kind of
input, the anchor, the faders and the day: no audio, no file name, no question.
"""


def build() -> gr.Blocks:
    """Build the page and its API."""
    with gr.Blocks(
        title="Mixing Buddy", analytics_enabled=False, delete_cache=(FILE_AGE_S, FILE_AGE_S)
    ) as page:
        gr.HTML(_HEADER)
        with gr.Tabs():
            with gr.Tab("Get advice"):
                _build_advice()
            with gr.Tab("Compare two versions"):
                build_comparison()
            with gr.Tab("API and limits"):
                gr.Markdown(_ABOUT)
        size = (
            f"{NUM_PARAMETERS / 1e9:.1f} B"
            if NUM_PARAMETERS > 1e9
            else (f"{NUM_PARAMETERS / 1e6:.1f} M")
        )
        nano = (
            " It is small and was trained mostly on generated songs: take its word on other music "
            "as a hint."
            if MODEL_NAME == "nano"
            else ""
        )
        gr.HTML(
            f'<p class="mb-small">Answered by <b>{MODEL_NAME}</b> ({size} parameters).{nano}</p>'
        )
        build_endpoints()
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=CONCURRENCY)
    return page


def theme() -> gr.themes.Base:
    """Colours and type; fonts of the visitor's system, so that nothing is fetched elsewhere."""
    return gr.themes.Soft(
        primary_hue="emerald",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # Plain labels; grey text dark enough to read; blocks that stand out from the page.
        body_background_fill="*neutral_100",
        block_border_width="1px",
        block_title_background_fill="none",
        block_title_text_color="*body_text_color",
        block_title_padding="0",
        block_label_background_fill="none",
        block_label_background_fill_dark="none",
        block_label_text_color_dark="*body_text_color",
        block_label_text_color="*body_text_color",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
    )


def _build_advice() -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            source = gr.Radio(jobs.SOURCES, value=jobs.EXAMPLE, label="1 · What to listen to")
            with gr.Group() as example_box:
                example = gr.Radio(
                    [(each.title, key) for key, each in EXAMPLES.items()],
                    value=_FIRST_EXAMPLE,
                    label="Song",
                )
                credit = gr.HTML(
                    jobs.show_credit(_FIRST_EXAMPLE), padding=True, elem_classes="mb-in"
                )
            with gr.Group(visible=False) as stems_box:
                dropped = uploaded_file(
                    label="Drop all stems: their names say which is which",
                    file_count="multiple",
                    file_types=list(AUDIO_SUFFIXES),
                    height=150,
                )
                guess = gr.HTML(padding=True, elem_classes="mb-in")
                with gr.Accordion("Place a stem yourself", open=False):
                    slots = []
                    for pair in (STEMS[:2], STEMS[2:]):
                        with gr.Row():
                            slots += [
                                uploaded_file(
                                    label=stem.capitalize(),
                                    file_types=list(AUDIO_SUFFIXES),
                                    height=150,
                                    min_width=140,
                                )
                                for stem in pair
                            ]
            with gr.Group(visible=False) as mix_box:
                mix = uploaded_file(label="Your mix", file_types=list(AUDIO_SUFFIXES), height=150)
            with gr.Group() as fader_box:
                gr.HTML(
                    '<p class="mb-step">2 · Move faders to plant a flaw (dB)</p>'
                    '<p class="mb-small">Or press one of these, which asks at once.</p>',
                    padding=True,
                    elem_classes="mb-in",
                )
                with gr.Row(elem_classes="mb-in mb-presets"):
                    presets = {name: gr.Button(name, size="sm", min_width=110) for name in PRESETS}
                faders = []
                for pair in (STEMS[:2], STEMS[2:]):
                    with gr.Row():
                        faders += [
                            gr.Slider(
                                -MAX_FADER_DB,
                                MAX_FADER_DB,
                                value=_FIRST_PRESET.get(stem, 0.0),
                                step=0.5,
                                label=stem.capitalize(),
                                min_width=140,
                            )
                            for stem in pair
                        ]
            with gr.Group():
                anchor = gr.Radio(
                    jobs.ANCHORS,
                    value=jobs.AUTO,
                    label="3 · Anchor",
                    info="The stem whose level is right. Auto tries each in turn.",
                )
                question = gr.Textbox(
                    label="4 · Ask in your own words (optional)",
                    placeholder="The vocals feel buried to me. What would you do?",
                    max_length=MAX_QUESTION_CHARACTERS,
                    lines=1,
                )
            button = gr.Button("Get advice", variant="primary", size="lg")
        with gr.Column(scale=6, min_width=320):
            card = gr.HTML(_EMPTY, elem_id="mb-card", padding=False)
            kept = gr.State(None)
            with gr.Column(visible=False) as results:
                is_matched = gr.Checkbox(
                    True,
                    label="Play both at the same loudness",
                    info="The louder one seems better: matching is fairer.",
                )
                with gr.Row():
                    before = gr.Audio(
                        label="Before", interactive=False, min_width=260, buttons=["download"]
                    )
                    after = gr.Audio(
                        label="After the advised change",
                        interactive=False,
                        min_width=260,
                        buttons=["download"],
                    )
                with gr.Row():
                    up = gr.Button("Helpful", icon=_ICONS / "helpful.svg", size="sm", min_width=120)
                    down = gr.Button(
                        "Not helpful", icon=_ICONS / "not-helpful.svg", size="sm", min_width=120
                    )
                thanks = gr.HTML(padding=False)
                with gr.Tabs():
                    with gr.Tab("Levels"):
                        levels = gr.HTML(padding=False)
                    with gr.Tab("All options"):
                        options = gr.HTML(padding=False)
                    with gr.Tab("Every answer"):
                        answers = gr.HTML(padding=False)
    song_inputs = [source, example, dropped, mix, *slots, *faders]
    shown = [
        card,
        before,
        after,
        is_matched,
        levels,
        options,
        answers,
        kept,
        results,
        thanks,
        up,
        down,
    ]
    ask = {
        "fn": jobs.advise_visitor,
        "inputs": [is_matched, anchor, question, *song_inputs],
        "outputs": shown,
        "concurrency_id": "model",
        "api_visibility": "private",
        "show_progress_on": [card],
    }
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    asked = [gr.on([button.click, question.submit], **ask)]
    for name, preset in presets.items():
        gains = [PRESETS[name].get(stem, 0.0) for stem in STEMS]
        asked.append(preset.click(lambda gains=gains: gains, None, faders, **quiet).then(**ask))
    for each in asked:
        each.then(None, js=_SHOW_CARD)
    is_matched.change(
        jobs.play_again,
        [is_matched, kept, *song_inputs],
        [before, after],
        concurrency_id="model",
        api_visibility="private",
    )
    for thumb, is_helpful in ((up, True), (down, False)):
        thumb.click(partial(jobs.vote, is_helpful), [kept], [kept, thanks, up, down], **quiet)
    source.change(
        lambda chosen: (
            *(gr.update(visible=chosen == each) for each in jobs.SOURCES),
            gr.update(visible=chosen != jobs.YOUR_MIX),
            *(_FIRST_PRESET.get(stem, 0.0) if chosen == jobs.EXAMPLE else 0.0 for stem in STEMS),
        ),
        [source],
        [example_box, stems_box, mix_box, fader_box, *faders],
        **quiet,
    )
    example.change(jobs.show_credit, [example], [credit], **quiet)
    dropped.change(jobs.show_guess, [dropped], [guess], **quiet)
