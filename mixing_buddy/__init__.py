"""Mixing Buddy: gain-balance advice on a music mix, in an engineer's words."""

from mixing_buddy.version import __version__

__all__ = ["__version__"]
