"""What can be set beside TRL's own arguments."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """Which rows to train on and where their songs lie."""

    dataset: list[str] = field(
        metadata={"help": "Folders that `mixing-buddy build` wrote, or Hub ids; rows are joined."}
    )
    songs: list[str] = field(
        default_factory=list,
        metadata={"help": "Song folders as ROOT or NAME=ROOT, NAME being the rows' source."},
    )
    dataset_config: str = field(default="single_mix", metadata={"help": "Config of the dataset."})
    train_split: str = field(default="train", metadata={"help": "Split to learn from."})
    eval_split: str = field(
        default="validation", metadata={"help": "Split to validate on; never the test split."}
    )
    max_eval_rows: int = field(
        default=512, metadata={"help": "Validate on this many rows, evenly spread."}
    )
    freeze_audio_tower: bool = field(
        default=True, metadata={"help": "Leave the audio encoder as it is."}
    )
