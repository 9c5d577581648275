"""Pushing to a stand-in Hub: what arrives, what a re-run does, and what faults leave behind."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from endpoints import Blob

from mixing_buddy.errors import PublishingError
from mixing_buddy.publishing.checks import Finding
from mixing_buddy.publishing.files import plan_file
from mixing_buddy.publishing.plan import RepositoryPlan
from mixing_buddy.publishing.release import publish_all

CARD = "---\nlicense: apache-2.0\n---\n\n# Tiny\n"
WEIGHTS = b"\0" * 1000
MODEL = ("model", "jane/mixing-buddy-tiny")


@pytest.fixture
def plan(tmp_path) -> RepositoryPlan:
    return plan_of(tmp_path, WEIGHTS)


def plan_of(folder, weights, namespace="jane", **more) -> RepositoryPlan:
    path = folder / f"{len(list(folder.iterdir()))}.bin"
    path.write_bytes(weights)
    files = {"README.md": CARD, "config.json": "{}", "model.safetensors": path, **more}
    return RepositoryPlan(
        "model",
        f"{namespace}/mixing-buddy-tiny",
        tuple(plan_file(name, content) for name, content in files.items()),
        (),
    )


def test_files_arrive_as_they_are_in_one_commit(hub, api_of, plan, hasty):
    (done,) = publish_all(api_of(hub), [plan], retries=hasty, tag="v0.1.0")
    assert done.num_written == 3
    assert len(hub.commits(*MODEL)) == 1
    repository = hub.repositories[MODEL]
    assert set(repository.files) == {".gitattributes", "README.md", "config.json"} | {
        "model.safetensors"
    }
    assert hub.content(*MODEL, "model.safetensors") == WEIGHTS
    assert hub.content(*MODEL, "README.md").decode() == CARD
    assert repository.tags == {"v0.1.0": repository.head}
    assert not repository.private
    (collection,) = hub.collections.values()
    assert [item["id"] for item in collection["items"]] == [plan.repo_id]
    assert not collection["private"]


def test_a_run_again_changes_nothing(hub, api_of, plan, hasty):
    publish_all(api_of(hub), [plan], retries=hasty, tag="v0.1.0")
    before = hub.snapshot()
    (done,) = publish_all(api_of(hub), [plan], retries=hasty, tag="v0.1.0")
    assert done.num_written == 0
    assert hub.snapshot() == before
    assert len(next(iter(hub.collections.values()))["items"]) == 1


def test_only_what_changed_is_sent(hub, api_of, plan, tmp_path, hasty):
    publish_all(api_of(hub), [plan], retries=hasty)
    changed = plan_of(tmp_path, WEIGHTS, **{"config.json": '{"a": 1}'})
    (done,) = publish_all(api_of(hub), [changed], retries=hasty)
    assert done.num_written == 1
    assert len(hub.commits(*MODEL)) == 2


def test_private_stays_private_until_a_push_without_it(hub, api_of, plan, hasty):
    publish_all(api_of(hub), [plan], retries=hasty, private=True)
    assert hub.repositories[MODEL].private
    assert next(iter(hub.collections.values()))["private"]
    publish_all(api_of(hub), [plan], retries=hasty)
    assert not hub.repositories[MODEL].private
    assert not next(iter(hub.collections.values()))["private"]
    assert len(hub.commits(*MODEL)) == 1
    with pytest.raises(PublishingError, match="public already"):
        publish_all(api_of(hub), [plan], retries=hasty, private=True)


def test_a_tag_never_moves(hub, api_of, plan, tmp_path, hasty):
    publish_all(api_of(hub), [plan], retries=hasty, tag="v1")
    before = hub.snapshot()
    other = plan_of(tmp_path, b"\1" * 1000)
    with pytest.raises(PublishingError, match="tag v1 already"):
        publish_all(api_of(hub), [other], retries=hasty, tag="v1")
    assert hub.snapshot() == before
    publish_all(api_of(hub), [other], retries=hasty, tag="v2")
    old, new = (hub.repositories[MODEL].at(tag)[1]["model.safetensors"].lfs for tag in ("v1", "v2"))
    assert old != new


def test_what_an_earlier_push_left_goes_and_what_others_wrote_stays(hub, api_of, plan, hasty):
    publish_all(api_of(hub), [plan], retries=hasty)
    repository = hub.repositories[MODEL]
    others = {"model-00001-of-00002.safetensors": Blob(b"old"), "notes.md": Blob(b"theirs")}
    repository.commit("by hand", repository.files | others)
    (done,) = publish_all(api_of(hub), [plan], retries=hasty)
    assert done.removed == ("model-00001-of-00002.safetensors",)
    assert "notes.md" in repository.files


def test_a_gitignore_on_the_hub_drops_nothing(hub, api_of, plan, hasty):
    publish_all(api_of(hub), [plan_without(plan, "model.safetensors")], retries=hasty)
    repository = hub.repositories[MODEL]
    repository.commit("by hand", repository.files | {".gitignore": Blob(b"*.safetensors\n")})
    publish_all(api_of(hub), [plan], retries=hasty)
    assert "model.safetensors" in repository.files


def plan_without(plan, path):
    return replace(plan, files=tuple(file for file in plan.files if file.path != path))


def test_a_check_that_fails_keeps_everything_back(hub, api_of, plan, tmp_path, hasty):
    bad = replace(plan, repo_id="jane/bad", findings=(Finding(False, "no licence"),))
    with pytest.raises(PublishingError, match="jane/bad: no licence"):
        publish_all(api_of(hub), [plan, bad], retries=hasty)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "namespace", "reason"),
    [
        ("hf_" + "x" * 34, "jane", "does not know the access token"),
        ("hf_" + "r" * 34, "jane", "may only read"),
        ("hf_" + "w" * 34, "stranger", "may not publish as stranger"),
    ],
)
def test_who_may_not_write_changes_nothing(
    hub, api_of, tmp_path, hasty, caplog, token, namespace, reason
):
    caplog.set_level(logging.DEBUG)
    plan = plan_of(tmp_path, WEIGHTS, namespace)
    with pytest.raises(PublishingError, match=reason) as error:
        publish_all(api_of(hub, token), [plan], retries=hasty)
    assert hub.repositories == {}
    assert token not in caplog.text
    assert token not in str(error.value)


@pytest.mark.parametrize(
    ("permissions", "allowed"), [(["repo.write"], True), (["repo.content.read"], False)]
)
def test_a_fine_grained_token_needs_the_permission(hub, api_of, plan, hasty, permissions, allowed):
    scope = {"entity": {"type": "user", "name": "jane"}, "permissions": permissions}
    hub.tokens[hub.write_token] = {"role": "fineGrained", "fineGrained": {"scoped": [scope]}}
    if allowed:
        publish_all(api_of(hub), [plan], retries=hasty)
        assert MODEL in hub.repositories
    else:
        with pytest.raises(PublishingError, match="fine-grained"):
            publish_all(api_of(hub), [plan], retries=hasty)
        assert hub.repositories == {}


def test_a_refusal_on_the_way_is_final_and_publishes_nothing(hub, api_of, plan, hasty):
    hub.fail("POST", "/commit/", "403", times=99)
    with pytest.raises(PublishingError, match="the Hub refused"):
        publish_all(api_of(hub), [plan], retries=hasty)
    assert hub.faults[0].left == 98
    assert hub.repositories[MODEL].private
    assert hub.commits(*MODEL) == []


def test_without_a_token_nothing_is_asked(hub, online, plan, hasty, monkeypatch, tmp_path):
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PublishingError, match="no access token"):
        publish_all(HfApi(endpoint=hub.url), [plan], retries=hasty)
    assert hub.requests == []


@pytest.mark.parametrize("action", ["drop", "lose", "503"])
@pytest.mark.parametrize("step", ["/api/whoami-v2", "/create", "/revision|/tree", "/commit/"])
def test_one_fault_is_overcome_and_leaves_one_commit(hub, api_of, plan, hasty, step, action):
    method = "GET" if "whoami" in step or "tree" in step else "POST"
    hub.fail(method, step, action)
    publish_all(api_of(hub), [plan], retries=hasty, tag="v1")
    assert hub.faults[0].left == 0
    assert len(hub.commits(*MODEL)) == 1
    assert hub.repositories[MODEL].tags == {"v1": hub.repositories[MODEL].head}


def test_a_lost_upload_is_repeated(hub, api_of, plan, hasty):
    hub.fail("PUT", "/upload/", "drop")
    publish_all(api_of(hub), [plan], retries=hasty)
    assert hub.content(*MODEL, "model.safetensors") == WEIGHTS


def test_a_concurrent_commit_is_built_upon(hub, api_of, plan, hasty):
    def somebody_commits():
        repository = hub.repositories[MODEL]
        repository.commit("somebody's", repository.files | {"notes.md": Blob(b"theirs")})

    hub.fail("POST", "/commit/", somebody_commits)
    publish_all(api_of(hub), [plan], retries=hasty)
    assert len(hub.commits(*MODEL)) == 2
    assert len([each for each in hub.requests if "/commit/" in each.path]) == 2  # one refused
    assert {"notes.md", "model.safetensors"} <= set(hub.repositories[MODEL].files)


def test_a_break_publishes_nothing_and_a_run_again_makes_one_commit(
    hub, api_of, plan, tmp_path, hasty
):
    """The second of two repositories fails for good; nobody gets to see the first."""
    first = plan
    second = replace(plan, repo_id="jane/mixing-buddy-second")
    hub.fail("POST", "second/commit/", "500", times=99)
    with pytest.raises(PublishingError, match="run the same command again"):
        publish_all(api_of(hub), [first, second], retries=hasty, tag="v1")
    assert all(repository.private for repository in hub.repositories.values())
    assert all(repository.tags == {} for repository in hub.repositories.values())
    assert hub.commits("model", second.repo_id) == []
    assert hub.collections == {}
    hub.faults.clear()
    publish_all(api_of(hub), [first, second], retries=hasty, tag="v1")
    for repository in hub.repositories.values():
        assert len(repository.commits) == 2
        assert not repository.private
    before = hub.snapshot()
    publish_all(api_of(hub), [first, second], retries=hasty, tag="v1")
    assert hub.snapshot() == before


def test_text_alone_goes_with_the_xet_client_switched_on(hub, api_of, plan, hasty, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    publish_all(api_of(hub), [plan_without(plan, "model.safetensors")], retries=hasty)
    assert len(hub.commits(*MODEL)) == 1
