"""What can be set beside TRL's own arguments."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import ModelConfig

from mixing_buddy.errors import MixingBuddyError
from mixing_buddy.stem_store import StemDtype


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
    dataset_config: list[str] = field(
        default_factory=lambda: ["single_mix"],
        metadata={"help": "Configs of the datasets; the rows of several are joined."},
    )
    dataset_config_share: list[float] = field(
        default_factory=list,
        metadata={
            "help": "Share of the rows of each config to use, evenly spread over its songs, as in "
            "1.0 0.3 0.3: rows with several clips cost more, and some modes are learnt sooner. By "
            "default all rows."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read training rows as they are needed, without a copy on this machine's disk. "
            "Needs max_steps."
        },
    )
    shuffle_buffer: int = field(
        default=10_000, metadata={"help": "How many streamed rows are shuffled at a time."}
    )
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
    stem_dtype: StemDtype = field(
        default="float32",
        metadata={
            "help": "How decoded stems are kept: float16 takes half the disk, and half the memory "
            "where songs are to be read from memory (12 MB a minute of music)."
        },
    )
    feature_cache: str | None = field(
        default=None,
        metadata={
            "help": "Folder in which to keep what a frozen encoder makes of each clip, so that no "
            "clip is encoded twice (MERT-v1-330M: 38 MB a clip of 10 s in half precision)."
        },
    )


@dataclass
class AugmentationArguments:
    """How training samples are changed from epoch to epoch; validation rows never are."""

    augment_gain_db: float = field(
        default=0.0,
        metadata={
            "help": "Turn each training sample as a whole up or down by as much as this, in dB "
            "(published: 3). The model divides by the sample's level, so this changes little."
        },
    )
    augment_dc_offset: float = field(
        default=0.0,
        metadata={
            "help": "Shift all clips of a training sample from zero by as much as this, full "
            "scale being 1 (published: 0.005)."
        },
    )
    augment_noise_snr_db: list[float] = field(
        default_factory=list,
        metadata={
            "help": "Two numbers: add white noise to training samples at a signal-to-noise ratio "
            "between these, in dB (published: 30 60)."
        },
    )
    augment_tilt_db: float = field(
        default=0.0,
        metadata={
            "help": "Tilt the spectrum of each stem by as much as this, in dB an octave; its level "
            "stays, so the answer stays right (1.5 is a clear change of timbre)."
        },
    )
    augment_peak_db: float = field(
        default=0.0,
        metadata={
            "help": "Give the spectrum of each stem two broad peaks or dips of as much as this, in "
            "dB; its level stays (6 is a clear change of timbre)."
        },
    )
    swap_stems_probability: float = field(
        default=0.0,
        metadata={
            "help": "With this probability take a stem from another song of the same source. Only "
            "songs of `mixing-buddy generate-songs` are mixed so: their stems follow one known "
            "convention, where those of real songs were balanced against each other."
        },
    )
    redraw_balance_db: float = field(
        default=0.0,
        metadata={
            "help": "Give each stem of a generated song another natural deviation in every epoch, "
            "drawn with this standard deviation in dB (1.5 is the spread that the songs are "
            "generated with by default), so that no song's balance can be learnt by heart."
        },
    )

    @property
    def any(self) -> bool:
        """Whether training rows are changed at all."""
        return self != AugmentationArguments()

    def check(self) -> None:
        """Raise `MixingBuddyError` where a value is out of range."""
        for name in (
            "augment_gain_db",
            "augment_dc_offset",
            "augment_tilt_db",
            "augment_peak_db",
            "redraw_balance_db",
        ):
            if getattr(self, name) < 0:
                raise MixingBuddyError(f"{name} is {getattr(self, name):g}: give 0 or more.")
        if not 0 <= self.swap_stems_probability <= 1:
            raise MixingBuddyError(
                f"swap_stems_probability is {self.swap_stems_probability:g}: give 0 to 1."
            )
        snr_db = self.augment_noise_snr_db
        if snr_db and (len(snr_db) != 2 or snr_db[0] > snr_db[1]):
            raise MixingBuddyError(
                f"augment_noise_snr_db is {snr_db}: give the lowest and the highest ratio in dB, "
                "such as 30 60."
            )


@dataclass
class HearingArguments:
    """What `train_hearing.py` learns beside levels."""

    flaw_loss_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of a loss on which stem of a single mix is off, and how, read off the "
            "mean of its audio embeddings by a head that is not saved. 0.3 is a good start; 0 "
            "turns it off."
        },
    )

    def check(self) -> None:
        """Raise `MixingBuddyError` where a value is out of range."""
        if self.flaw_loss_weight < 0:
            raise MixingBuddyError(
                f"flaw_loss_weight is {self.flaw_loss_weight:g}: give 0 or more."
            )


@dataclass
class LearningArguments:
    """Auxiliary losses, a learning rate for what hears, and dropout that changes in time."""

    hearing_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the parts that hear: layer mix, projector, level head. By "
            "default that of the others; give less after `train_hearing.py`, so that they don't "
            "unlearn, and 0 to leave them as they are."
        },
    )

    level_loss_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of the level loss: how loud each stem is, read off every audio token. "
            "By default as in the model's configuration; 0 turns it off."
        },
    )
    norm_matching_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the published auxiliary loss (0.05 there): the mean norm of audio "
            "embeddings shall be that of text embeddings. 0 turns it off."
        },
    )
    decision_loss_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of a second loss on the tokens that decide: those in which the answers "
            "of a template differ. 1 is a good start for a model from scratch; 0 turns it off."
        },
    )
    projector_dropouts: list[float] = field(
        default_factory=list,
        metadata={
            "help": "Dropout after each hidden layer of the projector, first to last. By default "
            "as in the model's configuration."
        },
    )
    final_projector_dropouts: list[float] = field(
        default_factory=list,
        metadata={
            "help": "The same at the end of training, reached in a straight line; one number goes "
            "for every layer. By default dropout stays as it is."
        },
    )

    def check(self) -> None:
        """Raise `MixingBuddyError` where a value is out of range."""
        rate = self.hearing_learning_rate
        if rate is not None and rate < 0:
            raise MixingBuddyError(f"hearing_learning_rate is {rate:g}: give 0 or more.")


@dataclass
class ValidationArguments:
    """Validation by answers: the model is asked, and what it says is graded."""

    validate_answers_rows: int = field(
        default=0,
        metadata={
            "help": "Ask the model about this many validation rows, evenly spread, and choose the "
            "best checkpoint by the share of right answers (eval_joint). 0: don't ask."
        },
    )
    validate_answers_steps: int | None = field(
        default=None,
        metadata={
            "help": "Ask every so many steps, a multiple of eval_steps. By default at every "
            "evaluation of which a checkpoint is saved."
        },
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={
            "help": "Stop when so many validations in a row brought no better score "
            "(metric_for_best_model). 0: never."
        },
    )
    early_stopping_threshold: float = field(
        default=0.0, metadata={"help": "By how much a score must be better to count."}
    )


@dataclass
class ModelArguments(ModelConfig):
    """TRL's ``ModelConfig``, and what a model that is put together from parts needs besides."""

    audio_name_or_path: str | None = field(
        default=None, metadata={"help": "Encoder of the 7b preset, if not MERT-v1-330M."}
    )
    audio_revision: str | None = field(
        default=None, metadata={"help": "Commit of the encoder's repository."}
    )
    text_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Language model of the 7b preset, if not Qwen2-7B-Instruct."},
    )
    text_revision: str | None = field(
        default=None, metadata={"help": "Commit of the language model's repository."}
    )
    pooling_factor: int | None = field(
        default=None, metadata={"help": "Encoder frames joined into one audio token, of a preset."}
    )
    num_level_bands: int | None = field(
        default=None, metadata={"help": "Bands of a preset's level features; 0 turns them off."}
    )
    projector_hidden_sizes: list[int] | None = field(
        default=None, metadata={"help": "Widths of a preset's projector."}
    )
    projector_hidden_act: str | None = field(
        default=None, metadata={"help": "Activation of a preset's projector, as in gelu or relu."}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Print sizes, memory and time of the run, then stop. Loads no weights."},
    )
    dry_run_tflops: float | None = field(
        default=None,
        metadata={"help": "Peak of the GPU to estimate for, in TFLOPS; by default this machine's."},
    )

    def config_fields(self) -> dict:
        """Return the fields of ``MixingBuddyConfig`` that are set here."""
        names = (
            "pooling_factor",
            "num_level_bands",
            "projector_hidden_sizes",
            "projector_hidden_act",
        )
        values = {name: getattr(self, name) for name in names}
        values = {name: value for name, value in values.items() if value is not None}
        if self.projector_hidden_sizes is not None:
            # One for each layer; `LearningArguments.projector_dropouts` has the last word.
            values["projector_dropouts"] = [0.1] * len(self.projector_hidden_sizes)
        return values
