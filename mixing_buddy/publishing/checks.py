"""What must hold before a repository is published, each with its reason."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from mixing_buddy.embedding import AUDIO_COLUMN, CLIPS_COLUMN
from mixing_buddy.licences import may_embed
from mixing_buddy.publishing.files import PlannedFile

#: Extensions of files that run code when they are loaded.
PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
#: Classes that a model repository must load by.
AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMultimodalLM")

_METADATA = re.compile(r"\A---\n(.*?)\n---\n", flags=re.DOTALL)
# Paths of the machine that wrote a file: of no use to others, and sometimes telling.
_MACHINE_PATH = re.compile(r"(?<![\w./:])/(?:home|root|Users|tmp|work|mnt|scratch)/[\w./-]+")
_UNFINISHED = re.compile(r"\[More Information Needed\]|\bTODO\b|\bDATASET\b|\{\{|\}\}")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        passed: whether it allows publishing.
        text: what was looked at; where it did not pass, what is wrong and what to do.
    """

    passed: bool
    text: str


def read_metadata(card: str) -> Mapping[str, Any]:
    """Read the YAML at the top of a card; empty where there is none, or no mapping.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    found = _METADATA.match(card)
    metadata = yaml.safe_load(found.group(1)) if found else None
    return metadata if isinstance(metadata, dict) else {}


def check_card(card: str, required: Sequence[str] = ()) -> list[Finding]:
    """Check a repository's README.

    Args:
        card: its text.
        required: fields beside the licence that its metadata must have.
    """
    try:
        metadata = read_metadata(card)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        return [Finding(False, f"README.md: its metadata is no YAML ({where}).")]
    if not metadata:
        return [Finding(False, "README.md: there is no metadata between two lines of ---.")]
    findings = [_check_licence(metadata)]
    missing = [field for field in required if not metadata.get(field)]
    if missing:
        findings.append(Finding(False, f"README.md: its metadata lacks {', '.join(missing)}."))
    for pattern, complaint in (
        (_UNFINISHED, "is left to be filled in"),
        (_MACHINE_PATH, "is a path of one machine"),
    ):
        if found := pattern.search(card):
            findings.append(Finding(False, f"README.md: {found.group()!r} {complaint}."))
    return findings or [Finding(True, "card")]


def _check_licence(metadata: Mapping[str, Any]) -> Finding:
    licence = metadata.get("license")
    if not licence or licence == "unknown":
        return Finding(
            False, "README.md: no licence; give its metadata `license`, such as apache-2.0."
        )
    if not isinstance(licence, str) or not _LICENCE.fullmatch(licence):
        return Finding(
            False, f"README.md: license {licence!r} is no identifier, such as cc-by-nc-4.0."
        )
    if licence == "other" and not metadata.get("license_name"):
        return Finding(False, "README.md: license 'other' needs a license_name.")
    return Finding(True, f"licence: {metadata.get('license_name', licence)}")


def check_contents(files: Iterable[PlannedFile]) -> list[Finding]:
    """Check files of any repository: no secrets, no pickles."""
    findings = []
    for file in files:
        if file.has_secret:
            reason = "holds what looks like an access token or a private key: take it out, and"
            findings.append(Finding(False, f"{file.path}: {reason} revoke it if it is real."))
        if file.suffix in PICKLES:
            reason = "may be a pickle, which runs code when loaded: save it as safetensors."
            findings.append(Finding(False, f"{file.path}: {reason}"))
    return findings or [Finding(True, "no access tokens, no pickles")]


def check_weights(files: Sequence[PlannedFile]) -> list[Finding]:
    """Check that there are weights, and that they are safetensors by content too."""
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights:
        return [Finding(False, "no weights: there is no .safetensors file.")]
    broken = [file.path for file in weights if read_tensor_shapes(file) is None]
    if broken:
        return [Finding(False, f"{', '.join(broken)}: no safetensors, whatever the name says.")]
    return [Finding(True, f"weights as safetensors: {', '.join(file.path for file in weights)}")]


def read_tensor_shapes(file: PlannedFile) -> dict[str, list[int]] | None:
    """Read names and shapes of the tensors in a safetensors file; None where it is none."""
    assert isinstance(file.content, Path)
    with file.content.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, file.size_bytes - 8):
            return None
        try:
            header = json.loads(stream.read(length))
            return {k: v["shape"] for k, v in header.items() if k != "__metadata__"}
        except (ValueError, KeyError, TypeError):
            return None


def check_remote_code(files: Sequence[PlannedFile]) -> list[Finding]:
    """Check that a model loads by its Auto classes with nothing but its own files."""
    named = {file.path: file for file in files}
    places: dict[str, str] = {}
    for name in ("config.json", "processor_config.json"):
        if name not in named:
            return [Finding(False, f"{name} is missing: save model and processor to the folder.")]
        places |= json.loads(named[name].read_text()).get("auto_map", {})
    missing = [name for name in (*AUTO_CLASSES, "AutoProcessor") if name not in places]
    if missing:
        return [Finding(False, f"auto_map lacks {', '.join(missing)}.")]
    modules = {str(place).partition(".")[0] + ".py" for place in places.values()}
    findings = [
        Finding(False, f"{module}: auto_map names it, and it is missing.")
        for module in sorted(modules - set(named))
    ]
    for file in files:
        if file.suffix == ".py":
            findings += _check_imports(file, set(named))
    return findings or [Finding(True, f"loads by {', '.join(AUTO_CLASSES)}, AutoProcessor")]


def _check_imports(file: PlannedFile, paths: set[str]) -> list[Finding]:
    findings = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            own = any(alias.name.split(".")[0] == "mixing_buddy" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            own = node.level == 0 and node.module.split(".")[0] == "mixing_buddy"
            if node.level and (node.level > 1 or not node.module or "." in node.module):
                text = f"{file.path}, line {node.lineno}: only `from .module import name` loads."
                findings.append(Finding(False, text))
            elif node.level and f"{node.module}.py" not in paths:
                text = f"{file.path}, line {node.lineno}: {node.module}.py is missing."
                findings.append(Finding(False, text))
        else:
            continue
        if own:
            text = f"{file.path}, line {node.lineno}: remote code can't import this package."
            findings.append(Finding(False, text))
    return findings


def check_settings(files: Sequence[PlannedFile]) -> list[Finding]:
    """Check a model's JSON files: greedy decoding by default, no paths of one machine."""
    findings = []
    for file in files:
        if file.suffix == ".json" and not file.path.startswith("tokenizer"):
            if found := _MACHINE_PATH.search(file.read_text()):
                text = f"{file.path}: {found.group()!r} is a path of one machine: use Hub ids."
                findings.append(Finding(False, text))
        if file.path == "generation_config.json":
            if json.loads(file.read_text()).get("do_sample") is not False:
                text = "generation_config.json: set do_sample to false, so that answers repeat."
                findings.append(Finding(False, text))
    return findings or [Finding(True, "settings name no machine; decoding is greedy")]


def check_dataset_files(metadata: Mapping[str, Any], files: Sequence[PlannedFile]) -> list[Finding]:
    """Check that each split of each config that a card names has Parquet files, and the reverse."""
    paths = {file.path for file in files if file.suffix == ".parquet"}
    configs = metadata.get("configs") or []
    if not configs:
        return [Finding(False, "README.md: its metadata names no configs.")]
    findings, used, num_splits = [], set(), 0
    for config in configs:
        for each in config.get("data_files") or []:
            num_splits += 1
            found = fnmatch.filter(paths, each["path"])
            used.update(found)
            if not found:
                text = f"{config['config_name']}, {each['split']}: no file is {each['path']}."
                findings.append(Finding(False, text))
    findings += [
        Finding(False, f"{path}: no config of README.md holds it.") for path in sorted(paths - used)
    ]
    return findings or [Finding(True, f"{len(configs)} configs with {num_splits} splits")]


def check_embedded_audio(files: Sequence[PlannedFile]) -> list[Finding]:
    """Check that embedded audio may be shared: the licence of each row's song says so."""
    licences: dict[str, str] = {}
    for file in files:
        if file.suffix != ".parquet":
            continue
        assert isinstance(file.content, Path)
        columns = pq.read_schema(file.content).names
        if not {AUDIO_COLUMN, CLIPS_COLUMN} & set(columns):
            continue
        if not {"licence", "song"} <= set(columns):
            text = f"{file.path}: it holds audio and does not say under which licence."
            return [Finding(False, text)]
        rows = pq.read_table(file.content, columns=["song", "licence"])
        for row in rows.group_by(["song", "licence"]).aggregate([]).to_pylist():
            licences[f"{row['song']} ({row['licence']})"] = row["licence"] or "unknown"
    if not licences:
        return [Finding(True, "recipes only, no audio")]
    refused = sorted(song for song, licence in licences.items() if not may_embed(licence))
    if refused:
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        reason = "their licence does not allow sharing their audio; build without --embed-audio"
        return [Finding(False, f"{', '.join(refused[:5])}{more}: {reason}.")]
    names = ", ".join(sorted(set(licences.values())))
    return [Finding(True, f"audio of {len(licences)} songs may be shared: {names}")]
