"""The folder of the metric for the Hub: python files that need no package of ours.

`evaluate` loads a metric's script and the files next to it that the script imports, `.py` alone. So
the modules that hold the rules are written flat beside it, with their imports made relative, and
the lexicon as a python literal. Nothing is kept twice in the repository.

Usage:
    python -m mixing_buddy.evaluation.metric_export FOLDER
"""

from __future__ import annotations

import pprint
import re
import shutil
import sys
from importlib import resources
from pathlib import Path

from mixing_buddy.lexicon import load_lexicon

#: Modules that hold the rules, below `mixing_buddy`.
MODULES: tuple[str, ...] = (
    "errors",
    "stems",
    "flaws",
    "amounts",
    "clauses",
    "advice",
    "evaluation.bootstrap",
    "evaluation.grading",
    "evaluation.published",
)

_IMPORT = re.compile(r"^(from )mixing_buddy(?:\.\w+)*?\.(\w+)( import )", re.MULTILINE)


def export_metric(source: Path, out: Path) -> list[Path]:
    """Write the metric's folder.

    Args:
        source: the folder ``metrics/gain_advice`` of the repository.
        out: folder to write, made if it is missing.

    Returns:
        The files written.
    """
    package = resources.files("mixing_buddy")
    texts = {}
    for module in MODULES:
        *folders, name = module.split(".")
        text = package.joinpath(*folders, f"{name}.py").read_text("utf-8")
        texts[name] = _flatten(text)
    lexicon = pprint.pformat(load_lexicon(), width=96, sort_dicts=False, compact=True)
    texts["lexicon"] = (
        '"""The words that `parse_advice` knows."""\n\n'
        f"_LEXICON = {lexicon}\n\n\n"
        'def load_lexicon():\n    """Return the words."""\n    return _LEXICON\n'
    )
    # evaluate fetches only files that the script itself imports.
    script = _flatten((source / "gain_advice.py").read_text("utf-8"))
    unseen = [name for name in texts if f"from .{name} import " not in script]
    fetches = "".join(f"from .{name} import __name__ as _{name}\n" for name in unseen)
    texts["gain_advice"] = script.replace("from .advice import", f"{fetches}from .advice import", 1)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / f"{name}.py").write_text(text, encoding="utf-8")
    shutil.copyfile(source / "README.md", out / "README.md")
    return [*(out / f"{name}.py" for name in texts), out / "README.md"]


def _flatten(text: str) -> str:
    return _IMPORT.sub(r"\1.\2\3", text)


if __name__ == "__main__":
    repository = Path(__file__).resolve().parents[2]
    for written in export_metric(repository / "metrics" / "gain_advice", Path(sys.argv[1])):
        print(written)
