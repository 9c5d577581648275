"""What programs call; the inputs of these endpoints are on no screen."""

from __future__ import annotations

import gradio as gr
import jobs
from bundled import EXAMPLES
from settings import MAX_QUESTION_CHARACTERS
from uploads import uploaded_file

from mixing_buddy.stems import ADVISED_STEMS, STEMS


def build_endpoints() -> None:
    """Endpoints for programs; their inputs are on no screen."""
    with gr.Column(visible=False):
        # A value makes it optional for programs.
        files = uploaded_file([], label="files", file_count="multiple")
        example = gr.Dropdown(list(EXAMPLES), value=next(iter(EXAMPLES)), label="example")
        anchor = gr.Dropdown([jobs.AUTO, *ADVISED_STEMS], value=jobs.AUTO, label="anchor")
        faders = [gr.Number(0.0, label=f"{stem}_db") for stem in STEMS]
        question = gr.Textbox("", label="question", max_length=MAX_QUESTION_CHARACTERS)
        advice = gr.JSON(label="advice")
        after = gr.Audio(label="after")
        gr.Button().click(
            jobs.advise_api,
            [files, example, anchor, *faders, question],
            [advice, after],
            api_name="advise",
            concurrency_id="model",
        )
        files_a = uploaded_file(label="files_a", file_count="multiple")
        files_b = uploaded_file(label="files_b", file_count="multiple")
        told = gr.JSON(label="comparison")
        gr.Button().click(
            jobs.compare_api,
            [files_a, files_b, anchor],
            [told],
            api_name="compare",
            concurrency_id="model",
        )
