"""Serving a study: its pages and its sounds, nothing else, and no trace of who asks."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

from mixing_buddy.errors import StudyError
from mixing_buddy.study.material import Study
from mixing_buddy.study.questions import default_text, read_consent, read_questionnaire
from mixing_buddy.study.store import RATER, Store

# What the pages need of Gradio's interface. It offers more, as uploads, files, a proxy and a record
# of runs, which a study has no use for.
_ALLOWED = re.compile(
    r"/(|config/?|theme\.css|assets/.*|static/.*|svelte/.*|manifest\.json|robots\.txt|favicon\.ico"
    r"|audio/[0-9a-f]+\.flac"
    r"|gradio_api/(info|app_id|startup-events|queue/(join|data)|heartbeat/[^/]*|cancel|reset)/?)"
)


class _OnlyWhatIsNeeded:
    """Turns requests away that the study's pages never make."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not _ALLOWED.fullmatch(scope["path"]):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def make_server(study: Study, role: str) -> Any:
    """Make the ASGI application of a study.

    Args:
        study: the study; answers go to its folder.
        role: `RATER` for the study itself, `ANNOTATOR` for coding.

    Raises:
        StudyError: a text is missing or not filled in, or gradio is not installed.
    """
    # Gradio reads these when it is imported: it is to report nothing to anybody.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if role == RATER:
        questionnaire = read_questionnaire(study.folder / "questions.yaml")
        consent = read_consent(study.folder / "consent.yaml", duration=study.duration_words)
    else:
        questionnaire, consent = read_questionnaire(study.folder / "codes.yaml"), None
    try:
        import gradio
        from fastapi import FastAPI
        from starlette.staticfiles import StaticFiles
    except ImportError as error:
        raise StudyError('Studies need gradio: pip install "mixing-buddy[study]".') from error

    from mixing_buddy.study import pages
    from mixing_buddy.study.app import StudyApp

    blocks = StudyApp(study, Store(study), role, questionnaire, consent).build()
    server = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    server.add_middleware(_OnlyWhatIsNeeded)
    server.mount("/audio", StaticFiles(directory=study.audio_folder))
    # Fonts of the machine: others would be fetched from a server that then knows who takes part.
    theme = gradio.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    ).set(
        # The default grey of what the ends of a scale mean is too pale to read.
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
    )
    return gradio.mount_gradio_app(
        server,
        blocks,
        path="/",
        theme=theme,
        css=default_text("study.css"),
        head=pages.SCRIPT,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
    )


def serve(study: Study, role: str, *, host: str, port: int) -> None:
    """Serve a study until it is interrupted; addresses of those who ask are logged nowhere.

    Raises:
        StudyError: the address can't be listened at; see also `make_server`.
    """
    # Before the slow part, and not by uvicorn: what is in use already is a user's mistake to mend.
    try:
        listening = socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise StudyError(
            f"{host}, port {port} can't be listened at ({error.strerror}): give another by --port."
        ) from error
    with listening:
        server = make_server(study, role)
        import uvicorn

        config = uvicorn.Config(server, access_log=False, log_level="warning")
        print(f"Serving {study.folder} at http://{host}:{port} (Ctrl-C stops).", flush=True)
        uvicorn.Server(config).run(sockets=[listening])
