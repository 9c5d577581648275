"""Which licences let audio be published, changed, inside a data set."""

from __future__ import annotations

import re

#: Licences that let everybody share changed copies, on conditions (credit, same licence, no
#: commerce) that a data set's card can meet. "No derivatives" is not among them: a mix is one.
_OPEN = re.compile(r"cc0(-1\.0)?|public-domain|pddl(-1\.0)?|cc-by(-nc)?(-sa)?(-[1-4]\.[0-9])?")

_ON_HUB = re.compile(r"cc0-1\.0|pddl|cc-by(-nc)?(-sa)?-(3\.0|4\.0)")


def may_embed(licence: str) -> bool:
    """Whether audio under a licence may be stored in a data set that others get.

    Args:
        licence: as in `source.yaml`: "CC0-1.0", "CC BY-SA 4.0"... Whatever is not known to allow
            it, "unknown" for one, is taken to forbid it.
    """
    return _OPEN.fullmatch(_plain(licence)) is not None


def hub_licence(licence: str) -> str:
    """Return the Hub's identifier of a licence, "other" where it may have none."""
    plain = _plain(licence)
    if plain == "cc0":
        return "cc0-1.0"
    return plain if _ON_HUB.fullmatch(plain) else "other"


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "-", licence.strip().lower())
