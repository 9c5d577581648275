"""What would be published, and what is refused: no network, no server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from mixing_buddy.cli import app
from mixing_buddy.errors import PublishingError
from mixing_buddy.evaluation.reports import describe_run
from mixing_buddy.publishing.files import plan_file
from mixing_buddy.publishing.plan import plan_dataset, plan_metric, plan_model, plan_space
from mixing_buddy.publishing.results import read_result
from mixing_buddy.version import __version__

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "mixing_buddy" / "checkpoints" / "nano"
# Put together here, so that no file of the repository looks like it holds one.
TOKEN = "hf_" + "aB3" * 12


@pytest.fixture
def nano(tmp_path) -> Path:
    """A copy of nano that can be spoilt."""
    return Path(shutil.copytree(NANO, tmp_path / "nano"))


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A dataset of one row with audio."""
    folder = tmp_path / "songs"
    (folder / "single_mix").mkdir(parents=True)
    write_row(folder, "CC0-1.0")
    metadata = {
        "license": "cc0-1.0",
        "task_categories": ["audio-classification"],
        "size_categories": ["n<1K"],
        "dataset_info": [{"config_name": "single_mix"}],
        "configs": [
            {
                "config_name": "single_mix",
                "data_files": [{"split": "test", "path": "single_mix/test-*.parquet"}],
            }
        ],
    }
    write_card(folder, metadata)
    return folder


def write_row(folder: Path, licence: str) -> None:
    audio = pa.array([{"bytes": b"fLaC", "path": None}])
    columns = {"song": ["A"], "licence": [licence], "audio": audio}
    pq.write_table(pa.table(columns), folder / "single_mix" / "test-00000-of-00001.parquet")


def write_card(folder: Path, metadata: dict, body: str = "# Songs\n") -> None:
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(metadata)}---\n{body}")


def spoil_json(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_nano_and_the_metric_pass():
    for plan in (plan_model(NANO, "jane"), plan_metric(ROOT / "metrics" / "gain_advice", "jane")):
        assert plan.refusals == []
        assert "mixingbuddy/" not in plan.card


def test_a_plan_is_the_same_each_time():
    assert plan_model(NANO, "jane") == plan_model(NANO, "jane")


def test_files_have_git_s_and_storage_s_names(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    file = plan_file("b", tmp_path / "a")
    # `git hash-object` and `sha256sum` of the same bytes.
    assert file.blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert file.sha256 == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    same = plan_file("b", b"hello\n")
    assert (same.blob_id, same.sha256, same.size_bytes) == (file.blob_id, file.sha256, 6)


@pytest.mark.parametrize("size_bytes", [0, 2**20 - 20, 2**20])
def test_a_token_is_found_wherever_it_lies(tmp_path, size_bytes):
    path = tmp_path / "file"
    path.write_bytes(b" " * size_bytes + TOKEN.encode() + b" ")
    assert plan_file("file", path).has_secret
    path.write_bytes(b" " * size_bytes + TOKEN[:12].encode())
    assert not plan_file("file", path).has_secret


def test_a_dataset_passes_under_its_name(dataset):
    (dataset / ".gitignore").write_text("*.parquet\n")
    (dataset / "notes.txt").write_text("mine")
    plan = plan_dataset(dataset, "jane")
    assert plan.refusals == []
    assert plan.repo_id == "jane/mixing-buddy-songs"
    assert [file.path for file in plan.files] == [
        "README.md",
        "single_mix/test-00000-of-00001.parquet",
    ]
    assert plan.left_out == ("notes.txt",)


def test_a_link_that_leads_nowhere_is_named_and_others_are_followed(dataset, tmp_path):
    path = dataset / "single_mix" / "test-00000-of-00001.parquet"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    (_, shard) = plan_dataset(dataset, "jane").files
    assert shard.size_bytes == (tmp_path / "elsewhere").stat().st_size
    (tmp_path / "elsewhere").unlink()
    with pytest.raises(PublishingError, match="which is missing"):
        plan_dataset(dataset, "jane")


@pytest.mark.parametrize("licence", ["restricted", "unknown", "CC-BY-ND-4.0"])
def test_audio_that_may_not_be_shared_is_refused(dataset, licence):
    write_row(dataset, licence)
    (refusal,) = plan_dataset(dataset, "jane").refusals
    assert f"A ({licence})" in refusal


def test_recipes_of_restricted_songs_are_not_refused(dataset):
    table = pa.table({"song": ["A"], "licence": ["restricted"]})
    pq.write_table(table, dataset / "single_mix" / "test-00000-of-00001.parquet")
    assert plan_dataset(dataset, "jane").refusals == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"license": None}, "no licence"),
        ({"license": "unknown"}, "no licence"),
        ({"license": "My own"}, "no identifier"),
        ({"license": "other"}, "license_name"),
        ({"size_categories": None}, "lacks size_categories"),
        ({"configs": None}, "names no configs"),
    ],
)
def test_an_unclean_card_is_refused(dataset, change, reason):
    metadata = yaml.safe_load((dataset / "README.md").read_text().split("---\n")[1])
    write_card(dataset, metadata | change)
    assert any(reason in refusal for refusal in plan_dataset(dataset, "jane").refusals)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("See /home/jane/songs.\n", "path of one machine"),
        ("[More Information Needed]\n", "left to be filled in"),
        (f"Use {TOKEN}.\n", "access token"),
    ],
)
def test_an_unclean_text_is_refused(dataset, body, reason):
    metadata = yaml.safe_load((dataset / "README.md").read_text().split("---\n")[1])
    write_card(dataset, metadata, body)
    (refusal,) = plan_dataset(dataset, "jane").refusals
    assert reason in refusal
    assert TOKEN not in refusal


def test_metadata_that_is_no_yaml_is_refused(dataset):
    (dataset / "README.md").write_text("---\nlicense: [\n---\n")
    assert "no YAML" in plan_dataset(dataset, "jane").refusals[0]


def test_shards_and_card_must_agree(dataset):
    path = dataset / "single_mix" / "test-00000-of-00001.parquet"
    path.rename(path.with_name("train-00000-of-00001.parquet"))
    missing, unknown = plan_dataset(dataset, "jane").refusals
    assert "no file is single_mix/test-*.parquet" in missing
    assert "no config of README.md holds it" in unknown


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: (at / "model.safetensors").unlink(), "no weights"),
        (lambda at: (at / "model.safetensors").write_bytes(b"\x80\x04K\x01."), "no safetensors"),
        (lambda at: (at / "modeling_mixing_buddy.py").unlink(), "is missing"),
        (lambda at: (at / "assembly_mixing_buddy.py").unlink(), "assembly_mixing_buddy.py is miss"),
        (lambda at: (at / "processor_config.json").unlink(), "processor_config.json is missing"),
        (lambda at: spoil_json(at / "config.json", auto_map={}), "auto_map lacks AutoConfig"),
        (lambda at: spoil_json(at / "generation_config.json", do_sample=True), "do_sample"),
        (lambda at: spoil_json(at / "config.json", from_where="/home/jane/x"), "one machine"),
        (lambda at: append(at / "modeling_mixing_buddy.py", "import mixing_buddy"), "import this"),
        (lambda at: append(at / "modeling_mixing_buddy.py", "from . import a"), "only `from"),
        (lambda at: append(at / "modeling_mixing_buddy.py", f"# {TOKEN}"), "access token"),
    ],
)
def test_a_model_that_would_not_load_or_is_unsafe_is_refused(nano, spoil, reason):
    spoil(nano)
    refusals = plan_model(nano, "jane").refusals
    assert any(reason in refusal for refusal in refusals), refusals


def append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}\n")


def test_pickles_and_training_state_stay_here(nano):
    (nano / "training_args.bin").write_bytes(b"\x80")
    (nano / "checkpoint-10").mkdir()
    (nano / "checkpoint-10" / "optimizer.pt").write_bytes(b"\x80")
    plan = plan_model(nano, "jane")
    assert plan.left_out == ("checkpoint-10/optimizer.pt", "training_args.bin")
    assert plan.refusals == []


def test_a_model_that_holds_mert_is_under_its_licence(nano):
    spoil_json(nano / "config.json", audio_name_or_path="m-a-p/MERT-v1-330M")
    with pytest.raises(PublishingError, match=r"cc-by-nc-4\.0"):
        plan_model(nano, "jane")
    readme = nano / "README.md"
    readme.write_text(readme.read_text().replace("license: apache-2.0\n", ""))
    card = plan_model(nano, "jane").card
    assert "license: cc-by-nc-4.0" in card
    assert "- m-a-p/MERT-v1-330M" in card or "base_model: m-a-p/MERT-v1-330M" in card


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("## What it was trained on", "## Something else", "what the model was trained on"),
        ("license: apache-2.0\n", "", "names no licence"),
    ],
)
def test_what_only_the_maker_knows_must_be_said(nano, old, new, reason):
    readme = nano / "README.md"
    assert old in readme.read_text()
    readme.write_text(readme.read_text().replace(old, new))
    with pytest.raises(PublishingError, match=reason):
        plan_model(nano, "jane")


def test_a_base_that_nobody_else_has_is_refused(nano):
    spoil_json(nano / "config.json", text_name_or_path="models/qwen-of-mine/last")
    with pytest.raises(PublishingError, match="folder of this machine"):
        plan_model(nano, "jane")


@pytest.fixture
def report(tmp_path) -> Path:
    run = describe_run(
        None, "some/dataset", config="single_mix", split="test", prompt_category=None
    )
    figures = {
        "num_rows": 10,
        "num_songs": 2,
        "joint": 0.5,
        "stem": 0.625,
        "intervals": {"joint": [0.4, 0.6]},
        "baselines": {
            "text": {"knows": "only reads", "joint": 0.25},
            "oracle": {"knows": "all", "joint": 1.0},
        },
    }
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"run": run, **figures}))
    return path


def test_figures_of_a_card_are_the_report_s(report):
    card = plan_model(NANO, "jane", [report]).card
    assert "| Joint accuracy (stem and direction) | 50.0 % (40.0 to 60.0) |" in card
    assert "| Stem accuracy | 62.5 % |" in card
    assert "| Joint, text (only reads) | 25.0 % |" in card
    assert "oracle" not in card
    assert "| rows, songs | 10, 2 |" in card
    assert "Direction accuracy" not in card


def test_figures_of_other_weights_are_refused(report, nano):
    weights = json.loads(report.read_text())["run"]["weights"]
    assert read_result(report, "jane", weights).dataset_id == "some/dataset"
    path = nano / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(PublishingError, match="other weights"):
        plan_model(nano, "jane", [report])


def test_a_report_that_does_not_say_what_it_is_about_is_refused(report):
    report.write_text('{"joint": 0.5}')
    with pytest.raises(PublishingError, match="Make it anew"):
        plan_model(NANO, "jane", [report])


def test_a_space_takes_the_namespace(tmp_path):
    metadata = dict.fromkeys(("title", "emoji", "colorFrom", "colorTo"), "x")
    metadata |= {"license": "apache-2.0", "sdk": "gradio", "sdk_version": "6.31.0"}
    metadata |= {"app_file": "app.py", "models": ["mixingbuddy/mixing-buddy-nano"]}
    write_card(tmp_path, metadata)
    (tmp_path / "app.py").write_text('MODEL = "mixingbuddy/nano"\n')
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "app.pyc").write_bytes(b"\0")
    plan = plan_space(tmp_path, "jane")
    assert plan.refusals == ["the Space lacks requirements.txt."]
    (tmp_path / "requirements.txt").write_text("mixing-buddy[space]==0.0.1\n")
    (refusal,) = plan_space(tmp_path, "jane").refusals
    assert "pins mixing-buddy==0.0.1" in refusal
    (tmp_path / "requirements.txt").write_text(f"mixing-buddy=={__version__}\n")
    assert plan_space(tmp_path, "jane").refusals == []
    assert [file.path for file in plan.files] == ["README.md", "app.py"]
    assert plan.files[1].content == b'MODEL = "jane/mixing-buddy-nano"\n'
    assert "jane/mixing-buddy-nano" in plan.card
    assert plan.space_sdk == "gradio"


def test_a_dry_run_shows_everything_and_needs_no_network(dataset, monkeypatch):
    def no_network(*args):
        raise AssertionError("a dry run asked for an address")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    arguments = ["push", "--what", "dataset", "--namespace", "jane", "--dataset", str(dataset)]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert shown.exit_code == 0
    plan = plan_dataset(dataset, "jane")
    for file in plan.files:
        assert file.path in shown.output
        assert file.sha256[:16] in shown.output
    assert plan.card in shown.output
    assert "ok: audio of 1 songs may be shared: CC0-1.0" in shown.output


def test_a_dry_run_says_what_would_be_refused(dataset):
    write_row(dataset, "restricted")
    arguments = ["push", "--what", "dataset", "--namespace", "jane", "--dataset", str(dataset)]
    shown = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert "REFUSED: A (restricted)" in shown.output
    assert isinstance(shown.exception, PublishingError)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--what", "songs"], "choose one of"),
        (["--what", "all"], "--dataset"),
        (["--what", "adapter"], "--adapter"),
        (["--what", "metric", "--report", "x"], "has none"),
        (["--what", "model", "--model", "nowhere"], "there is no config.json"),
    ],
)
def test_wrong_arguments_are_named(arguments, reason):
    done = CliRunner().invoke(app, ["push", "--namespace", "jane", *arguments])
    assert isinstance(done.exception, PublishingError)
    assert reason in str(done.exception)
