"""From a clean copy of the repository to a stand-in Hub, and from there to a stranger."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from processes import run_python
from published import ROOT, SAID_OF_TINY
from visitor import digest, weights_of

from mixing_buddy import prompts
from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.evaluation.grading import summarise
from mixing_buddy.schema import MODES
from mixing_buddy.stems import STEMS

MODEL_FILES = {
    ".gitattributes",
    "README.md",
    "assembly_mixing_buddy.py",
    "chat_template.jinja",
    "config.json",
    "configuration_mixing_buddy.py",
    "feature_extraction_mixing_buddy.py",
    "generation_config.json",
    "hearing_mixing_buddy.py",
    "model.safetensors",
    "modeling_mixing_buddy.py",
    "processing_mixing_buddy.py",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def test_repositories_hold_what_they_should_and_no_more(published, datasets):
    hub = published.hub
    names = {name for _, name in hub.repositories}
    assert names == {
        "jane/mixing-buddy-tiny-recipes",
        "jane/mixing-buddy-tiny-audio",
        "jane/mixing-buddy-nano",
        "jane/mixing-buddy-tiny",
        "jane/gain_advice",
        "jane/mixing-buddy",
    }
    assert not any(repository.private for repository in hub.repositories.values())
    nano = hub.repositories["model", "jane/mixing-buddy-nano"].files
    assert set(nano) == MODEL_FILES | {".eval_results/mixing-buddy.yaml"}
    assert set(hub.repositories["model", "jane/mixing-buddy-tiny"].files) == MODEL_FILES
    for name, folder in datasets.items():
        held = set(hub.repositories["dataset", f"jane/mixing-buddy-{name}"].files)
        shards = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.parquet")}
        assert held == {".gitattributes", "README.md"} | shards
    # Links of the checkpoint arrive as the files that they lead to.
    code = hub.content("model", "jane/mixing-buddy-nano", "modeling_mixing_buddy.py")
    assert code == (ROOT / "modeling" / "modeling_mixing_buddy.py").read_bytes()


def test_every_repository_is_tagged_and_in_the_collection(published):
    hub = published.hub
    everything = {key for key in hub.repositories if key[1] != "jane/mixing-buddy-tiny"}
    for key in everything:
        assert hub.repositories[key].tags == {"v0.1.0": hub.repositories[key].head}
        assert len(hub.commits(*key)) == 1
    (collection,) = hub.collections.values()
    gathered = {(item["type"], item["id"]) for item in collection["items"]}
    assert gathered == set(hub.repositories)


def test_cards_say_what_was_measured(published):
    hub = published.hub
    name = ("model", "jane/mixing-buddy-nano")
    card = hub.content(*name, "README.md").decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    results = metadata["model-index"][0]["results"]
    assert results[0]["dataset"]["type"] == "jane/mixing-buddy-tiny-recipes"
    assert {each["value"] for each in results[0]["metrics"]} == {100.0}
    (entry,) = yaml.safe_load(hub.content(*name, ".eval_results/mixing-buddy.yaml"))
    assert entry["value"] == 100.0
    assert entry["dataset"] == {"id": "jane/mixing-buddy-tiny-recipes", "task_id": "single_mix"}


def test_no_token_is_said(published):
    for done in published.said:
        for token in published.hub.tokens:
            assert token not in done.stdout + done.stderr


@pytest.mark.parametrize("config", MODES)
def test_a_stranger_loads_every_row_of_every_dataset(visited, datasets, config):
    """Audio too, byte by byte; streaming gives the same, as the stranger checks."""
    for name, folder in datasets.items():
        found = visited.found["datasets"][f"jane/mixing-buddy-{name}"]
        assert len(found) == 2 * len(MODES)
        for split in ("train", "test"):
            shards = sorted((folder / config).glob(f"{split}-*.parquet"))
            rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
            assert rows
            assert found[f"{config}/{split}"] == digest(rows)


def test_a_stranger_loads_the_weights_and_by_a_tag_the_old_ones(visited, published, tiny_folder):
    old = weights_of(MixingBuddy.from_pretrained(tiny_folder, device="cpu").model)
    assert visited.found["weights"] == {"main": published.newer, "v1": old}
    assert published.newer != old


def test_a_stranger_who_follows_the_card_gets_the_text_of_before_the_push(visited):
    question = prompts.instruction(0, duration_s=10.0, stems=STEMS, anchor="drums")
    (text,) = MixingBuddy.from_pretrained(device="cpu").answer([[visited.mix]], [question])
    assert len(text) > 20
    assert visited.found["text"] == text


def test_a_stranger_gets_the_package_s_figures_from_the_metric(visited):
    expected = summarise(visited.rows, visited.answers)
    assert visited.found["report"] == json.loads(json.dumps(expected))


def test_a_stranger_downloads_the_whole_space(visited, published, clone):
    space = visited.folder / "cwd" / "space"
    key = ("space", "jane/mixing-buddy")
    assert published.hub.repositories[key].sdk == "gradio"
    for path in published.hub.repositories[key].files:
        assert (space / path).read_bytes() == published.hub.content(*key, path)
    songs = list((clone / "space").rglob("*.flac"))
    assert songs
    for path in songs:
        assert (space / path.relative_to(clone / "space")).read_bytes() == path.read_bytes()


def test_an_adapter_goes_up_and_finds_its_base_by_name(published, clone, place):
    hub = published.hub
    user, folder = str(Path(__file__).parent / "adapter_user.py"), place / "tiny-taste"
    made = run_python(hub, place / "maker", user, "make", "jane/mixing-buddy-tiny", str(folder))
    assert made.returncode == 0, made.stderr
    push = (str(clone / "push_to_hub.py"), "--what", "adapter", "--adapter", str(folder))
    push += ("--namespace", "jane")
    refused = run_python(hub, place / "refused", *push, token=hub.write_token)
    assert refused.returncode == 1
    assert "names no licence" in refused.stderr
    (folder / "README.md").write_text(SAID_OF_TINY)
    done = run_python(hub, place / "adapter-pusher", *push, token=hub.write_token)
    assert done.returncode == 0, done.stderr
    name = "jane/mixing-buddy-tiny-taste-adapter"
    files = hub.repositories["model", name].files
    assert {"adapter_config.json", "adapter_model.safetensors"} < set(files)
    assert "model.safetensors" not in files
    metadata = yaml.safe_load(hub.content("model", name, "README.md").decode().split("---\n")[1])
    assert metadata["base_model"] == ["jane/mixing-buddy-tiny"]
    assert metadata["base_model_relation"] == "adapter"
    loaded = run_python(hub, place / "loader", user, "load", name)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1] == made.stdout.splitlines()[-1]
