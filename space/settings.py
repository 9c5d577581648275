"""What the Space may do, and what its owner can set by environment variables."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_MB = 60
MAX_FILES = 16
MAX_DURATION_S = 180.0
MIN_DURATION_S = 3.0
MAX_CHANNELS = 2
MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 96_000
MAX_FADER_DB = 12.0
MAX_QUESTION_CHARACTERS = 300

#: Requests that wait for the model; more are turned away.
MAX_QUEUE = 16
#: Requests that the model answers at a time.
CONCURRENCY = 1
#: Requests of one session within `RATE_WINDOW_S`.
RATE_LIMIT = 12
RATE_WINDOW_S = 60.0
#: Uploaded and written files are deleted at this age; looked for as often.
FILE_AGE_S = 1800
MAX_FEEDBACK_MB = 50
#: On ZeroGPU, how long one request may hold the GPU.
GPU_DURATION_S = 60

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif")


@dataclass(frozen=True)
class Settings:
    """What the owner of a Space chooses.

    Args:
        model: Hub id or folder of the model; None for nano, which comes with the package.
        revision: commit of the Hub id.
        feedback_dir: folder where votes are kept.
    """

    model: str | None
    revision: str | None
    feedback_dir: Path

    @classmethod
    def from_environment(cls) -> Settings:
        """Read MIXING_BUDDY_MODEL, MIXING_BUDDY_REVISION and MIXING_BUDDY_FEEDBACK_DIR.

        Raises:
            RuntimeError: a model of the Hub is named without its revision.
        """
        model = os.environ.get("MIXING_BUDDY_MODEL") or None
        revision = os.environ.get("MIXING_BUDDY_REVISION") or None
        if model is not None and not Path(model).is_dir() and revision is None:
            raise RuntimeError(
                f"MIXING_BUDDY_MODEL is {model}, but MIXING_BUDDY_REVISION is not set. Set it to a "
                "commit or tag, so that a later push to the model can't change this Space."
            )
        # A Space with persistent storage finds it under /data.
        persistent = Path("/data")
        usual = persistent if os.environ.get("SPACE_ID") and persistent.is_dir() else None
        feedback_dir = os.environ.get("MIXING_BUDDY_FEEDBACK_DIR") or (
            (usual or Path(tempfile.gettempdir())) / "mixing-buddy-feedback"
        )
        return cls(model, revision, Path(feedback_dir))
