"""A third party starts the Space that was downloaded, on the model that was pushed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest
from processes import watched_environment
from published import ROOT

from mixing_buddy.advising.inference import MixingBuddy

pytest.importorskip("gradio", reason="the Space needs gradio: pip install 'mixing-buddy[space]'")


def test_the_downloaded_space_answers_with_the_pushed_model(published, visited, tmp_path):
    from gradio_client import Client

    space = visited.folder / "cwd" / "space"
    assert space.is_dir() and not space.is_relative_to(ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    revision = published.hub.repositories["model", "jane/mixing-buddy-nano"].head
    environment = watched_environment(published.hub, tmp_path) | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
        "MIXING_BUDDY_FEEDBACK_DIR": str(tmp_path / "votes"),
        "MIXING_BUDDY_MODEL": "jane/mixing-buddy-nano",
        "MIXING_BUDDY_REVISION": revision,
        "PATH": os.environ["PATH"],
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=space, env=environment, stdout=output, stderr=output
        )
    try:
        for _ in range(900):
            if "Running on local URL" in log.read_text():
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        told, _ = Client(f"http://127.0.0.1:{port}", verbose=False).predict(
            example="generated", vocals_db=-9, anchor="drums", api_name="/advise"
        )
    finally:
        process.terminate()
        process.wait(20)
    here = MixingBuddy.from_pretrained()
    advice = here.advise(
        ROOT / "examples" / "generated", anchor="drums", faders_db={"vocals": -9.0}
    )
    assert told["text"] == advice.text
    # The model came from the Hub, which the process reached, and it reached nothing else.
    assert list((tmp_path / "hf-home" / "hub").glob("models--jane--mixing-buddy-nano"))
    assert (tmp_path / "foreign-hosts").read_text() == ""
