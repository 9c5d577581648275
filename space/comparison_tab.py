"""The tab on which two versions of a song are compared."""

from __future__ import annotations

import gradio as gr
import jobs
from bundled import EXAMPLES, PRESETS
from settings import AUDIO_SUFFIXES
from uploads import uploaded_file


def build_comparison() -> None:
    """Build the tab."""
    gr.Markdown(
        "What has to move in **A** to stand as in the reference **B**? Where both come as stems, "
        "their levels are measured. The model's opinion of each version stands beside."
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            source_a, files_a, preset_a = _build_side("A", "your version", has_presets=True)
        with gr.Column(min_width=320):
            source_b, files_b, _ = _build_side("B", "the reference", has_presets=False)
    anchor = gr.Radio(
        jobs.ANCHORS,
        value=jobs.AUTO,
        label="Anchor",
        info="The stem whose level is right in both. Auto measures against the stems' median.",
    )
    button = gr.Button("Compare", variant="primary", size="lg")
    gr.HTML('<p class="mb-step">Measured</p>')
    measured = gr.HTML('<p class="mb-small">Press Compare to see it.</p>')
    gr.HTML('<p class="mb-step">Inferred by the model</p>')
    inferred = gr.HTML('<p class="mb-small">Press Compare to see it.</p>')
    button.click(
        jobs.compare_visitor,
        [anchor, source_a, preset_a, files_a, source_b, files_b],
        [measured, inferred],
        concurrency_id="model",
        api_visibility="private",
    )


def _build_side(letter: str, meaning: str, *, has_presets: bool):
    """Inputs of one version: an example or uploaded files."""
    upload = "upload"
    source = gr.Radio(
        [*((each.title, key) for key, each in EXAMPLES.items()), ("Upload", upload)],
        value=next(iter(EXAMPLES)),
        label=f"{letter}, {meaning}",
    )
    files = uploaded_file(
        label=f"Stems of {letter} (or one mix)",
        file_count="multiple",
        file_types=list(AUDIO_SUFFIXES),
        height=150,
        visible=False,
    )
    preset = (
        gr.Radio(list(PRESETS), value=next(iter(PRESETS)), label="Planted flaw")
        if (has_presets)
        else None
    )
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    source.change(lambda chosen: gr.update(visible=chosen == upload), [source], [files], **quiet)
    if preset is not None:
        source.change(
            lambda chosen: gr.update(visible=chosen != upload), [source], [preset], **quiet
        )
    return source, files, preset
