"""Procedural multitrack songs with a known balance, for training without licensed music."""

from mixing_buddy.generated_songs.corpus import generate_songs
from mixing_buddy.generated_songs.song import GENERATOR_VERSION, GenerationError, generate_song
from mixing_buddy.generated_songs.soundfonts import SynthesiserError, find_soundfonts

__all__ = [
    "GENERATOR_VERSION",
    "GenerationError",
    "SynthesiserError",
    "find_soundfonts",
    "generate_song",
    "generate_songs",
]
