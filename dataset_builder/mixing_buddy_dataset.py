"""`datasets` builder: folders of songs in, rows of recipes with question and answer out.

Example:
    >>> from mixing_buddy.dataset_builder import MixingBuddyDataset
    >>> builder = MixingBuddyDataset(config_name="single_mix", sources=["songs/musdb18hq"])
    >>> builder.download_and_prepare(num_proc=2)
    >>> train = builder.as_dataset(split="train")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import datasets

from mixing_buddy.chunks import Chunk, ChunkScan, find_chunks
from mixing_buddy.consensus.estimate import Consensus
from mixing_buddy.dataset_builder.balances import balances_of, check_matches, read_agreed
from mixing_buddy.dataset_builder.features import features_of
from mixing_buddy.errors import MixingBuddyError, RecipeError, SongError
from mixing_buddy.prompts import NUM_RESPONSES, SYSTEM_MESSAGE
from mixing_buddy.recipes import Balances, enumerate_recipes, sample_recipes
from mixing_buddy.schema import GENERATOR_VERSION, MODES, SINGLE_MIX, Recipe
from mixing_buddy.songs import SPLITS, Song, find_songs, read_source
from mixing_buddy.stem_store import StemStore, content_identity
from mixing_buddy.version import __version__

logger = datasets.logging.get_logger(__name__)


@dataclass
class MixingBuddyDatasetConfig(datasets.BuilderConfig):
    """Settings of the dataset; the name of the configuration is the mode.

    Args:
        sources: folders of songs, see `mixing_buddy.songs`.
        sampling: "enumerate" takes every combination that a chunk allows, "sample" draws
            `samples_per_chunk` of them; see `mixing_buddy.recipes`.
        samples_per_chunk: how many to draw, for "sample" only.
        seed: base seed of gains, wordings and draws.
        no_error_tolerance_db: gain range of balanced samples, see `draw_gain_db`.
        num_references: how many right answers to list in the column `references`.
        consensus: table of `mixing-buddy consensus`: what engineers agree on becomes the balanced
            mix of "differential" for the songs that are in it.
        skip_broken: leave out songs that can't be used, with a warning, instead of stopping.
        stem_cache_dir: where decoded stems are kept, see `StemStore`.
    """

    name: str = SINGLE_MIX
    sources: tuple[str, ...] = ()
    sampling: str = "enumerate"
    samples_per_chunk: int = 10
    seed: int = 0
    no_error_tolerance_db: float = 0.0
    num_references: int = 0
    consensus: str | None = None
    skip_broken: bool = False
    stem_cache_dir: str | None = None

    def songs(
        self, on_broken: Callable[[Path, MixingBuddyError], None] = lambda folder, error: None
    ) -> list[Song]:
        """List the songs of all sources.

        Args:
            on_broken: called for each song left out, if `skip_broken` is on.

        Raises:
            SongError: there is no usable song, two sources share a name, or a song is broken
                and `skip_broken` is off.
        """
        sources = [read_source(root) for root in self.sources]
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                roots = " and ".join(str(item.root) for item in sources if item.name == name)
                raise SongError(
                    f"{roots} are both named {name!r}: recipes could not tell their songs apart. "
                    "Give one another 'name:' in its source.yaml."
                )
        report = on_broken if self.skip_broken else None
        songs = [song for source in sources for song in find_songs(source.root, on_broken=report)]
        if not songs:
            raise SongError("No usable songs: give at least one folder of songs as a source.")
        return songs

    def create_config_id(
        self, config_kwargs: dict, custom_features: datasets.Features | None = None
    ) -> str:
        """Name the cache folder after all that rows depend on, so that no stale one is used."""
        return super().create_config_id({"fingerprint": self.fingerprint()}, custom_features)

    def fingerprint(self) -> str:
        """Digest of all that the rows of every mode depend on, in 16 hexadecimal digits.

        Raises:
            RecipeError: a setting makes no sense.
            SongError: see `songs`.
        """
        self.check()
        described = {
            "songs": [
                (song.source, song.split, song.name, song.licence, content_identity(song))
                for song in self.songs()
            ],
            "settings": [
                self.sampling,
                self.samples_per_chunk if self.sampling == "sample" else None,
                self.seed,
                self.no_error_tolerance_db,
                self.num_references,
                self.skip_broken,
            ],
            "consensus": repr(sorted(self.agreed(self.songs()).items())),
            "generator_version": GENERATOR_VERSION,
            "version": __version__,
            "texts": [SYSTEM_MESSAGE, *_template_files()],
        }
        return hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()

    def agreed(self, songs: Sequence[Song]) -> dict[str, dict[str, Consensus]]:
        """Read what engineers agree on, by song and anchor; nothing without `consensus`.

        Raises:
            ConsensusError: the table can't be used.
            SongError: it holds none of the songs.
        """
        if self.consensus is None:
            return {}
        agreed = read_agreed(self.consensus)
        check_matches(agreed, songs, self.consensus)
        return agreed

    def recipes(
        self, chunk: Chunk, mode: str | None = None, balances: Balances | None = None
    ) -> Iterator[Recipe]:
        """Make the recipes of one chunk, in the configuration's own mode or another.

        Args:
            chunk: where to make them from.
            mode: one of `MODES`, by default the configuration's own.
            balances: what engineers of the song agree on, see `enumerate_recipes`.
        """
        settings = {
            "mode": mode or self.name,
            "base_seed": self.seed,
            "no_error_tolerance_db": self.no_error_tolerance_db,
            "num_references": self.num_references,
            "balances": balances,
        }
        if self.sampling == "enumerate":
            return enumerate_recipes(chunk, **settings)
        return sample_recipes(chunk, self.samples_per_chunk, **settings)

    def check(self) -> None:
        """Raise `RecipeError` where a setting makes no sense."""
        if self.sampling not in ("enumerate", "sample"):
            raise RecipeError(f"Unknown sampling {self.sampling!r}: take 'enumerate' or 'sample'.")
        if self.samples_per_chunk < 1:
            raise RecipeError(f"{self.samples_per_chunk} samples a chunk: at least 1 is needed.")
        if not 0.0 <= self.no_error_tolerance_db <= 3.0:
            raise RecipeError(
                f"A no-error tolerance of {self.no_error_tolerance_db:g} dB: it must lie between 0 "
                "and 3 dB, where the quiet and loud categories begin."
            )
        if not 0 <= self.num_references <= NUM_RESPONSES:
            raise RecipeError(
                f"{self.num_references} references a row: from 0 to {NUM_RESPONSES} can be had."
            )


class MixingBuddyDataset(datasets.GeneratorBasedBuilder):
    """Builds recipes from folders of songs; splits are those that the sources have."""

    BUILDER_CONFIG_CLASS = MixingBuddyDatasetConfig
    BUILDER_CONFIGS = tuple(
        MixingBuddyDatasetConfig(
            name=mode, version=datasets.Version("3.0.0"), description=description
        )
        for mode, description in MODES.items()
    )
    DEFAULT_CONFIG_NAME = SINGLE_MIX

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=MODES[self.config.name], features=features_of(self.config.name)
        )

    def _split_generators(
        self, dl_manager: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        songs = self.config.songs(_warn_of_broken)
        return [
            datasets.SplitGenerator(split, gen_kwargs={"songs": songs_of_split})
            for split in SPLITS
            if (songs_of_split := [song for song in songs if song.split == split])
        ]

    def _generate_examples(self, songs: list[Song]) -> Iterator[tuple[str, dict]]:
        store = StemStore(self.config.stem_cache_dir)
        # Of all songs, since those of this process alone may well be without any.
        agreed = self.config.agreed(self.config.songs(_warn_of_broken))
        for song in songs:
            try:
                scan = scan_song(song, store)
            except MixingBuddyError as error:
                if not self.config.skip_broken:
                    raise
                _warn_of_broken(song.folder, error)
                continue
            balances = balances_of(agreed.get(song.name, {}), store.open(song))
            for chunk in scan.chunks:
                for recipe in self.config.recipes(chunk, balances=balances):
                    yield recipe.uid, recipe.to_row()


def scan_song(song: Song, store: StemStore) -> ChunkScan:
    """Decode a song, unless the store has it, and find its chunks.

    Raises:
        SongError: the stems can't be used, see `load_stems`.
    """
    return find_chunks(song, store.open(song))


def _warn_of_broken(folder: Path, error: MixingBuddyError) -> None:
    logger.warning(f"Song left out: {error}")


def _template_files() -> list[str]:
    """Content of every template file, by name of file."""
    folder = resources.files("mixing_buddy").joinpath("templates")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return [file.read_text("utf-8") for file in files if file.name.endswith(".yaml")]
