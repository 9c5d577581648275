"""Mixing Buddy as a Gradio application: ``python app.py``."""

from __future__ import annotations

from interface import CSS, build, theme
from settings import MAX_FILE_MB

demo = build()

if __name__ == "__main__":
    demo.launch(
        theme=theme(),
        css=CSS,
        max_file_size=MAX_FILE_MB * 1_000_000,
        ssr_mode=False,
        footer_links=["api"],
        strict_cors=True,
    )
