"""Processes of a test that can talk to a stand-in Hub, and to nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from server import StandInHub

_SITE = Path(__file__).parent / "site"


def watched_environment(
    hub: StandInHub, folder: Path, *, token: str | None = None, hide: bool = False
) -> dict[str, str]:
    """Return the environment of a process that has an empty cache and knows only the stand-in.

    Args:
        hub: the stand-in.
        folder: a folder for caches; a name outside this machine that is looked up is noted in its
            file `foreign-hosts`.
        token: access token, if the process has one.
        hide: let this package be missing.
    """
    log = folder / "foreign-hosts"
    log.touch()
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf-home"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NO_PROXY": "*",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(_SITE),
        "TEST_FOREIGN_HOSTS_LOG": str(log),
        "TOKENIZERS_PARALLELISM": "false",
        **({"HF_TOKEN": token} if token else {}),
        **({"TEST_HIDDEN_PACKAGE": "mixing_buddy"} if hide else {}),
    }


def run_python(
    hub: StandInHub, folder: Path, *arguments: str, token: str | None = None, hide: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Python with an empty cache, able to talk to the stand-in and to nobody else.

    Args:
        hub: the stand-in.
        folder: an empty folder for caches; the process runs in ``folder / "cwd"``.
        arguments: of Python.
        token: access token, if the process has one.
        hide: let this package be missing.
    """
    (folder / "cwd").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder / "cwd",
        env=watched_environment(hub, folder, token=token, hide=hide),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (folder / "foreign-hosts").read_text() == "", done.stderr
    return done
