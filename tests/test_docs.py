"""What the documentation says exists: links, anchors, commands, files, and a tutorial that runs."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), TUTORIAL])

_FENCE = re.compile(r"^ *(`{3,})(\w*)[^\n]*\n(.*?)^ *\1 *$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def _read(page: Path) -> str:
    """Text of a page; of the tutorial its Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def _prose(text: str) -> str:
    return _FENCE.sub("", text)


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(_prose(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        copies = (f"{slug}-{number}" if number else slug for number in range(99))
        anchors.add(next(each for each in copies if each not in anchors))
    return anchors


def _relative_links(text: str) -> Iterator[str]:
    bare = _INLINE.sub("", _prose(text))
    for link in (first or second for first, second in _LINK.findall(bare)):
        if not re.match(r"[a-z][a-z+.-]*:", link):
            yield unquote(link)


def _shell_commands(script: str, program: str) -> Iterator[list[str]]:
    """Split the commands of a shell script that run one program into its arguments."""
    for line in script.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|\||[;|]", _without_comment(line)):
            words = shlex.split(command) if program in command else []
            words = list(itertools.dropwhile(lambda word: re.match(r"\w+=", word), words))
            if words and words[0].split("/")[-1] == program:
                yield words[1:]


def _without_comment(line: str) -> str:
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0]


def _find_command(words: list[str]):
    """The command that words name, through groups, and the words that are its own."""
    import typer.main

    from mixing_buddy.cli import app

    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands or words[0].startswith("-"), f"no command {words[0]!r}"
        if words[0].startswith("-"):
            break
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _flags(command) -> set[str]:
    options = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
    return options | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_and_anchors_exist(page):
    text = _read(page)
    missing = []
    for link in _relative_links(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in _anchors(_read(target))
        ):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_code_blocks_parse(page):
    """Each command is known, and takes the arguments and options that the page gives it."""
    faults = []
    for _, language, script in _FENCE.findall(_read(page)):
        if language not in ("bash", "sh"):
            continue
        for words in _shell_commands(script, "mixing-buddy"):
            try:
                command, rest = _find_command(words)
                command.make_context(command.name, list(rest))
            except Exception as error:
                faults.append(f"mixing-buddy {shlex.join(words)}: {error}")
    assert faults == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page):
    """They may leave arguments out, but name no command or option that isn't there."""
    faults = []
    for code in _INLINE.findall(_prose(_read(page))):
        for words in _shell_commands(" ".join(code.split()), "mixing-buddy"):
            command, rest = _find_command(words)
            named = [word.split("=")[0] for word in rest if word.startswith("--")]
            faults += [f"{code}: {flag}" for flag in named if flag not in _flags(command)]
    assert faults == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_configurations_exist(page):
    named = re.findall(
        r"(?<![\w/.-])((?:benchmarks|configs|space)/[\w./-]+\.(?:py|yaml)|tests/test_\w+\.py|train_\w+\.py)",
        _read(page),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_code_blocks_compiles_and_imports_what_is_there(page):
    for _, language, code in _FENCE.findall(_read(page)):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(code))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mixing_buddy":
                module = importlib.import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_the_index_lists_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve() for link in _relative_links(_read(index))
    }
    assert {page for page in PAGES if page != index} <= linked


def test_the_checks_see_what_is_wrong():
    """A link, an anchor or an option that isn't there would be noticed."""
    text = "# Über uns: `a-b` & more\n\n# One\n# One\n\n[x](gone.md#y) `[z](code.md)` [w](https://a.b)\n"
    assert list(_relative_links(text)) == ["gone.md#y"]
    assert _anchors(text) == {"über-uns-a-b--more", "one", "one-1"}
    (words,) = _shell_commands(
        "cd x && .venv/bin/mixing-buddy advise a.wav \\\n  --loudly # ha", "mixing-buddy"
    )
    assert words == ["advise", "a.wav", "--loudly"]
    command, rest = _find_command(words)
    assert rest == ["a.wav", "--loudly"]
    assert "--loudly" not in _flags(command) and "--anchor" in _flags(command)
    with pytest.raises(AssertionError, match="no command"):
        _find_command(["advice"])
    with pytest.raises(Exception, match="--loudly"):
        command.make_context("advise", rest)


def test_the_tutorial_runs():
    nbclient = pytest.importorskip("nbclient", reason="nbclient, which runs notebooks, is missing")
    nbformat = pytest.importorskip("nbformat", reason="nbformat, which reads notebooks, is missing")
    pytest.importorskip("ipykernel", reason="ipykernel, in which notebooks run, is missing")
    pytest.importorskip("matplotlib", reason="the tutorial draws, by the extra plots")
    pytest.importorskip("trl", reason="the tutorial trains, by the extra train")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(TUTORIAL.parent)}},
    )
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "direction: none" in printed, "the untouched song is called balanced"
    assert "vocals raise 6.0 12.0" in printed, "the planted flaw is found"
    before, after = map(float, re.search(r"loss (\S+) before, (\S+) after", printed).groups())
    assert after < before
