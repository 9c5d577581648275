"""Bringing one repository on the Hub to what its plan says, in one commit or none."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing.files import PlannedFile
from mixing_buddy.publishing.plan import RepositoryPlan
from mixing_buddy.publishing.retries import Retries, describe
from mixing_buddy.version import __version__

_ONCE = Retries(count=0)
#: Files that are loaded or run. One of these that the plan does not know, in a folder that it
#: writes to, is what an earlier push left, such as a shard under an old name, and goes.
_LOADED = frozenset({".jinja", ".json", ".parquet", ".py", ".safetensors"})


@dataclass(frozen=True)
class Difference:
    """What separates a repository from its plan.

    Args:
        head: the commit that was looked at.
        changed: paths to write.
        obsolete: paths to remove.
    """

    head: str
    changed: tuple[str, ...] = ()
    obsolete: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.obsolete)


@dataclass
class Published:
    """What became of one repository.

    Args:
        plan: what was to be published.
        url: where it is.
        commit: its newest commit.
        is_private: whether only its owners see it.
        num_written: how many files the push wrote; 0 where nothing had changed.
        removed: what it removed.
    """

    plan: RepositoryPlan
    url: str
    commit: str
    is_private: bool
    num_written: int = 0
    removed: tuple[str, ...] = ()


def check_before(
    api: HfApi, plan: RepositoryPlan, retries: Retries, *, private: bool, tag: str | None
) -> None:
    """Check what would make a push stop half-way, reading only.

    Raises:
        PublishingError: the repository is public and shall be private, or the tag stands on
            something else.
    """
    try:
        info = retries.call(lambda: api.repo_info(plan.repo_id, repo_type=plan.repo_type))
    except RepositoryNotFoundError:
        return
    if private and not info.private:
        raise PublishingError(
            f"{plan.repo_id} is public already, so --private would come too late: make it private "
            "in its settings, or leave --private out."
        )
    tagged = _tags(api, plan, retries).get(tag) if tag else None
    if tagged and difference(api, plan, retries, tagged):
        raise PublishingError(
            f"{plan.repo_id} has a tag {tag} already, on other files ({tagged[:8]}). A tag that "
            "people load by must not move: choose a new one."
        )


def publish(api: HfApi, plan: RepositoryPlan, retries: Retries) -> Published:
    """Create a repository if it is missing, and commit what differs from its plan.

    A new repository is private until `reveal`. All files go in one commit on top of the one that
    they were compared with. Where that fails on the way, or somebody else commits in between, they
    are compared anew: so nothing is committed twice, even where the answer to a commit got lost.

    Raises:
        PublishingError: the Hub refuses, or does not hold what was sent.
    """
    try:
        return _publish(api, plan, retries)
    except PublishingError:
        raise
    except (HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError, ValueError) as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            reason = f"the Hub refused: may the token write there? ({describe(error)})"
        else:
            reason = f"the push failed: {describe(error)}"
        raise PublishingError(
            f"{plan.repo_id}: {reason}. It holds what it held before; run the same command again."
        ) from error


def _publish(api: HfApi, plan: RepositoryPlan, retries: Retries) -> Published:
    url = str(
        retries.call(
            lambda: api.create_repo(
                plan.repo_id,
                repo_type=plan.repo_type,
                space_sdk=plan.space_sdk,
                private=True,
                exist_ok=True,
            )
        )
    )
    found: list[Difference] = []

    def attempt() -> None:
        found.append(difference(api, plan, _ONCE))
        if found[-1]:
            _commit(api, plan, found[-1])

    retries.call(attempt)
    after = difference(api, plan, retries)
    if after:
        raise PublishingError(
            f"{plan.repo_id}: after the commit the Hub does not hold what was sent: "
            f"{', '.join([*after.changed, *after.obsolete][:5])}. Run the same command again."
        )
    info = retries.call(lambda: api.repo_info(plan.repo_id, repo_type=plan.repo_type))
    return Published(
        plan,
        url,
        commit=after.head,
        is_private=bool(info.private),
        num_written=len(found[0].changed),
        removed=found[0].obsolete,
    )


def difference(
    api: HfApi, plan: RepositoryPlan, retries: Retries, revision: str | None = None
) -> Difference:
    """Compare a repository with its plan, by content.

    Args:
        api: the Hub.
        plan: how it should be.
        retries: how often to ask.
        revision: the commit to look at; the newest by default.
    """
    where = {"repo_id": plan.repo_id, "repo_type": plan.repo_type}
    if revision is None:
        revision = retries.call(lambda: api.repo_info(**where)).sha
    entries = retries.call(
        lambda: list(api.list_repo_tree(**where, revision=revision, recursive=True))
    )
    there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    changed = [
        file.path
        for file in plan.files
        if file.path not in there or not _is_same(there[file.path], file)
    ]
    planned = {file.path for file in plan.files}
    folders = {path.rpartition("/")[0] for path in planned}
    obsolete = [
        path
        for path in sorted(set(there) - planned)
        if path.rpartition("/")[0] in folders and path[path.rfind(".") :] in _LOADED
    ]
    return Difference(revision, tuple(changed), tuple(obsolete))


def _is_same(there: RepoFile, file: PlannedFile) -> bool:
    if there.lfs is not None:
        return there.lfs.sha256 == file.sha256
    return there.blob_id == file.blob_id


def _commit(api: HfApi, plan: RepositoryPlan, found: Difference) -> None:
    where = {"repo_id": plan.repo_id, "repo_type": plan.repo_type}
    # New for each try: what an earlier one learnt of the repository may be out of date. Large files
    # that it brought there are not sent again.
    additions = [
        CommitOperationAdd(
            path_in_repo=file.path,
            path_or_fileobj=file.content if isinstance(file.content, bytes) else str(file.content),
        )
        for file in plan.files
        if file.path in found.changed
    ]
    # A `.gitignore` that lies in the repository must not drop any of our files.
    api.preupload_lfs_files(**where, additions=additions, free_memory=False, gitignore_content="")
    api.create_commit(
        **where,
        operations=[*additions, *(CommitOperationDelete(path) for path in found.obsolete)],
        commit_message=f"Publish with Mixing Buddy {__version__}",
        parent_commit=found.head,
    )


def set_tag(api: HfApi, published: Published, tag: str, retries: Retries) -> None:
    """Put a tag on what was published, unless it stands there; see `check_before`."""
    plan = published.plan
    if tag not in _tags(api, plan, retries):
        retries.call(
            lambda: api.create_tag(
                plan.repo_id,
                tag=tag,
                revision=published.commit,
                repo_type=plan.repo_type,
                exist_ok=True,
            )
        )


def reveal(api: HfApi, published: Published, retries: Retries) -> None:
    """Let everybody see a repository."""
    plan = published.plan
    retries.call(
        lambda: api.update_repo_settings(plan.repo_id, repo_type=plan.repo_type, private=False)
    )
    published.is_private = False


def _tags(api: HfApi, plan: RepositoryPlan, retries: Retries) -> dict[str, str]:
    refs = retries.call(lambda: api.list_repo_refs(plan.repo_id, repo_type=plan.repo_type))
    return {tag.name: tag.target_commit for tag in refs.tags}
