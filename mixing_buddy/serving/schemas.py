"""What the service sends, field by field, for its OpenAPI page and for clients made from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mixing_buddy.advising.inputs import SKIP
from mixing_buddy.stems import ADVISED_STEMS, STEMS


class _Reply(BaseModel):
    # Schema and reply must not drift apart: a field that is not described is an error.
    model_config = ConfigDict(extra="forbid")


Way = Literal["raise", "lower", "none"]


class Verdict(_Reply):
    """What should move."""

    stem: str | None = Field(description="Stem to move; null where none is off.")
    direction: Way | None = Field(description="null where the answer was not understood.")
    min_db: float | None = Field(description="Smallest change in dB, without its sign.")
    max_db: float | None = Field(description="Largest change in dB, without its sign.")


class TrackReply(_Reply):
    """A file and what it was taken for."""

    file: str
    stem: str | None = Field(description=f"One of {', '.join(STEMS)}; null for a mix.")
    reason: str
    duration_s: float
    sample_rate: int
    num_channels: int


class LeftOut(_Reply):
    """A file that was not listened to."""

    file: str
    reason: str


class SongReply(_Reply):
    """What was listened to."""

    path: str = Field(description='Name of the mix\'s file, or "tracks".')
    is_mix: bool
    duration_s: float
    tracks: list[TrackReply]
    left_out: list[LeftOut]


class Answer(Verdict):
    """An answer of the model, and what it says."""

    text: str


class WindowReply(_Reply):
    """The answer on one window against one anchor."""

    start_s: float
    duration_s: float
    anchor: str
    stems: list[str]
    advice: Answer


class LevelsReply(_Reply):
    """Loudness in one window, in LUFS by BS.1770 on the mono sum."""

    start_s: float
    duration_s: float
    lufs: dict[str, float]


class MomentReply(Verdict):
    """The verdict on one window."""

    start_s: float
    duration_s: float
    agrees: bool = Field(description="Whether it is that of the whole song.")


class SentenceReply(_Reply):
    """A sentence of the report."""

    text: str
    source: Literal["measured", "inferred"] | None


class AdviceReply(Verdict):
    """Advice on a song: what `mixing-buddy advise --json` prints."""

    model_config = ConfigDict(title="Advice", populate_by_name=True)

    schema_: Literal["mixing-buddy/advice"] = Field(alias="schema")
    version: int
    song: SongReply
    faders_db: dict[str, float]
    text: str
    num_agreeing: int = Field(description="Answers that agree with the advice.")
    anchor: str | None
    confidence: float | None = Field(description="Probability of stem and direction, 0 to 1.")
    balanced_probability: float | None
    windows: list[WindowReply]
    levels: list[LevelsReply]
    notes: list[str]
    abstained: bool = Field(description="Whether the model is too unsure to advise.")
    abstain_below: float
    change_db: dict[str, float] = Field(description="Where to start: gain in dB by stem.")
    headline: str = Field(examples=["Raise the vocals by 6 to 12 dB; start at +9 dB."])
    report: list[SentenceReply]
    timeline: list[MomentReply]
    iteration: None = Field(description="Always null here.")
    applied: None = Field(description="Always null here.")
    project: None = Field(description="Always null here.")
    mode: Literal["single_mix", "stems"] = Field(
        description="What was heard: the mix, or the tracks one by one."
    )


class Health(_Reply):
    """How the service is."""

    ready: bool = Field(description="Whether the model is loaded.")
    model: str = Field(examples=["nano"])
    device: str | None = Field(description="null until the model is loaded.", examples=["cpu"])
    version: str = Field(description="Version of Mixing Buddy.")
    num_requests: int = Field(description="Requests for advice in work.")


class ErrorReply(_Reply):
    """What was wrong, where, and what to do."""

    error: str = Field(
        examples=["mix.wav: the file holds no samples (zero length). Export it again."]
    )


#: The form that asks for advice, which FastAPI can't see: it is read by hand, to count its bytes.
FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "title": "Song",
                "type": "object",
                "properties": {
                    "mix": {
                        "title": "Mix",
                        "type": "string",
                        "format": "binary",
                        "description": "A song's mix: one audio file. Either this or `tracks`.",
                    },
                    "tracks": {
                        "title": "Tracks",
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "A song's stems or tracks. Which is which is guessed from "
                        "the files' names.",
                    },
                    "anchor": {
                        "title": "Anchor",
                        "type": "string",
                        "enum": list(ADVISED_STEMS),
                        "description": "The stem whose level is taken as right; without it each "
                        "is taken in turn.",
                    },
                    "abstain_below": {
                        "title": "Abstain below",
                        "type": "number",
                        "minimum": 0.0,
                        "maximum": 1.0,
                        "default": 0.0,
                        "description": "Give no advice that is less likely than this.",
                    },
                    "mapping": {
                        "title": "Mapping",
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Corrections of the guess: FILE=STEM with one of "
                        f"{', '.join((*STEMS, SKIP))}.",
                    },
                },
            },
            "examples": {
                "mix": {
                    "summary": "A mix, with the drums taken as right",
                    "value": {"mix": "my-song.mp3", "anchor": "drums"},
                },
                "tracks": {
                    "summary": "Tracks, one of them corrected and one left out",
                    "value": {
                        "tracks": ["Kick.wav", "Bass DI.wav", "Take 3.wav", "click.wav"],
                        "mapping": ["Take 3.wav=vocals", "click.wav=skip"],
                    },
                },
            },
            "encoding": {"tracks": {"explode": True}, "mapping": {"explode": True}},
        }
    },
}
