"""What each repository would hold, and whether it may be published; no network is needed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing import checks
from mixing_buddy.publishing.cards import as_space_card, localised, model_card
from mixing_buddy.publishing.checks import Finding
from mixing_buddy.publishing.files import PlannedFile, list_folder, plan_file, plan_files
from mixing_buddy.publishing.naming import METRIC_NAME, PREFIX, prefixed
from mixing_buddy.publishing.results import read_result, to_eval_results
from mixing_buddy.version import __version__

#: What can be published, in this order: what others refer to comes first.
KINDS = ("dataset", "metric", "model", "adapter", "space")

_REPO_TYPES = {"dataset": "dataset", "metric": "space", "space": "space"}
_REQUIRED = {
    "dataset": ("configs", "dataset_info", "task_categories", "size_categories"),
    "model": ("library_name", "pipeline_tag"),
    "adapter": ("library_name", "base_model"),
    "space": ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file"),
    "metric": ("title", "sdk"),
}
_MODEL_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    }
)


@dataclass(frozen=True)
class RepositoryPlan:
    """One repository as it shall be.

    Args:
        kind: one of `KINDS`.
        repo_id: its Hub id.
        files: all that it will hold, in order.
        findings: what the checks found.
        left_out: files of the folder that are not published.
    """

    kind: str
    repo_id: str
    files: tuple[PlannedFile, ...]
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...] = ()

    @property
    def repo_type(self) -> str:
        """The Hub's word for it: "model", "dataset" or "space"."""
        return _REPO_TYPES.get(self.kind, "model")

    @property
    def card(self) -> str:
        """The text of its README."""
        return next((file.read_text() for file in self.files if file.path == "README.md"), "")

    @property
    def space_sdk(self) -> str | None:
        """What runs a Space; None for other repositories."""
        return checks.read_metadata(self.card).get("sdk") if self.repo_type == "space" else None

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def refusals(self) -> list[str]:
        """Why it may not be published; empty where it may."""
        return [finding.text for finding in self.findings if not finding.passed]


def plan_dataset(folder: Path, namespace: str) -> RepositoryPlan:
    """Plan the repository of a dataset.

    Args:
        folder: what ``mixing-buddy build`` wrote.
        namespace: user or organisation.
    """
    repo_id = f"{namespace}/{prefixed(folder.resolve().name)}"
    paths = _listed(folder, "README.md", "a dataset that `mixing-buddy build` wrote")
    wanted = [path for path in paths if path.endswith(".parquet") and path.count("/") == 1]
    card = (folder / "README.md").read_text(encoding="utf-8").replace("DATASET", repo_id)
    files = [plan_file("README.md", card), *plan_files(folder, wanted)]
    metadata = _metadata(card)
    findings = [
        *checks.check_dataset_files(metadata, files),
        *checks.check_embedded_audio(files),
    ]
    left_out = set(paths) - set(wanted) - {"README.md"}
    return _plan("dataset", repo_id, files, findings, left_out)


def plan_model(
    folder: Path, namespace: str, reports: Sequence[Path] = (), *, adapter: bool = False
) -> RepositoryPlan:
    """Plan the repository of a model or an adapter.

    Args:
        folder: what ``save_pretrained`` wrote, with a README that says its licence and what it was
            trained on.
        namespace: user or organisation.
        reports: evaluation reports whose figures go into the card and into ``.eval_results``.
        adapter: whether it is an adapter.

    Raises:
        PublishingError: files are missing, or the card can't be made of what is there.
    """
    config = "adapter_config.json" if adapter else "config.json"
    paths = _listed(folder, config, "an adapter" if adapter else "a saved model")
    if not adapter and "adapter_config.json" in paths:
        raise PublishingError(f"{folder} is an adapter: publish it with --adapter.")
    name = prefixed(folder.resolve().name)
    repo_id = f"{namespace}/{name if not adapter or 'adapter' in name else f'{name}-adapter'}"
    known = _MODEL_FILES | {"adapter_config.json"} if adapter else _MODEL_FILES
    wanted = [
        path
        for path in paths
        if "/" not in path and (path in known or path.endswith((".safetensors", ".py")))
    ]
    files = plan_files(folder, wanted)
    results = []
    if reports:
        from mixing_buddy.modeling.assembly_mixing_buddy import resolve_revision

        weights = resolve_revision(str(folder))
        results = [read_result(path, namespace, weights) for path in reports]
    files.append(plan_file("README.md", model_card(repo_id, folder, files, results)))
    if results:
        files.append(plan_file(".eval_results/mixing-buddy.yaml", to_eval_results(results)))
    findings = [*checks.check_weights(files), *checks.check_settings(files)]
    if not adapter:
        findings += checks.check_remote_code(files)
    left_out = set(paths) - set(wanted) - {"README.md"}
    return _plan("adapter" if adapter else "model", repo_id, files, findings, left_out)


def plan_space(folder: Path, namespace: str) -> RepositoryPlan:
    """Plan the Space: a folder as it stands, with the namespace put in."""
    paths = _listed(folder, "README.md", "the Space")
    repo_id = f"{namespace}/{PREFIX}"
    files = [
        plan_file(path, localised((folder / path).read_text(encoding="utf-8"), repo_id))
        if path.endswith((".md", ".py", ".txt", ".yaml"))
        else plan_file(path, folder / path)
        for path in paths
    ]
    return _plan("space", repo_id, files, _check_app(files), ())


def _check_app(files: Sequence[PlannedFile]) -> list[Finding]:
    named = {file.path: file for file in files}
    app = _metadata(named["README.md"].read_text()).get("app_file", "app.py")
    missing = [path for path in (app, "requirements.txt") if path not in named]
    if missing:
        return [Finding(False, f"the Space lacks {', '.join(missing)}.")]
    required = named["requirements.txt"].read_text()
    pinned = re.search(r"^mixing-buddy(?:\[.*?\])?==(\S+)", required, re.MULTILINE)
    if not pinned or pinned[1] != __version__:
        found = pinned[1] if pinned else "none"
        text = f"requirements.txt pins mixing-buddy=={found}: pin {__version__}, which this is."
        return [Finding(False, text)]
    audio = [path for path in named if path.endswith((".flac", ".mp3", ".ogg", ".wav"))]
    songs = sorted({path.rpartition("/")[0] for path in audio})
    return [
        Finding(True, f"the Space runs {app} with mixing-buddy {__version__}"),
        Finding(True, f"audio in {', '.join(songs) or 'no folder'}; the card must say its licence"),
    ]


def plan_metric(folder: Path, namespace: str) -> RepositoryPlan:
    """Plan the repository of the metric, a Space with nothing but a page and the metric's files.

    Args:
        folder: the folder ``metrics/gain_advice`` of the repository.
        namespace: user or organisation.
    """
    from mixing_buddy.evaluation.metric_export import export_metric

    _listed(folder, f"{METRIC_NAME}.py", "the metric")
    repo_id = f"{namespace}/{METRIC_NAME}"
    with tempfile.TemporaryDirectory() as temporary:
        texts = {
            path.name: localised(path.read_text(encoding="utf-8"), repo_id)
            for path in sorted(export_metric(folder, Path(temporary) / METRIC_NAME))
        }
    texts["README.md"] = as_space_card(
        texts["README.md"], emoji="🎚️", colorFrom="blue", colorTo="green", sdk="static"
    )
    page = package_files("mixing_buddy.publishing").joinpath("metric_page.html")
    texts["index.html"] = page.read_text("utf-8")
    files = [plan_file(path, text) for path, text in texts.items()]
    finding = Finding(True, f'loads as evaluate.load("{repo_id}")')
    return _plan("metric", repo_id, files, [finding], ())


def _listed(folder: Path, marker: str, what: str) -> list[str]:
    if not (folder / marker).is_file():
        raise PublishingError(f"{folder} is not {what}: there is no {marker} in it.")
    return list_folder(folder)


def _metadata(card: str) -> dict:
    """Metadata where it can be read; the card's own check says why where not."""
    import yaml

    try:
        return dict(checks.read_metadata(card))
    except yaml.YAMLError:
        return {}


def _plan(kind, repo_id, files, findings, left_out) -> RepositoryPlan:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishingError(f"{repo_id}: the Hub allows no such name: {error}") from error
    files = sorted(files, key=lambda file: file.path)
    card = next(file.read_text() for file in files if file.path == "README.md")
    findings = [
        *checks.check_card(card, _REQUIRED[kind]),
        *checks.check_contents(files),
        *findings,
    ]
    return RepositoryPlan(kind, repo_id, tuple(files), tuple(findings), tuple(sorted(left_out)))


def repository_folder(path: str) -> Path:
    """Return a folder that stands in the repository and not in the installed package.

    Raises:
        PublishingError: it is not there.
    """
    folder = Path(str(package_files("mixing_buddy"))).parent / path
    if not folder.is_dir():
        raise PublishingError(
            f"{folder} is missing: publish {path} from a clone of the repository."
        )
    return folder
