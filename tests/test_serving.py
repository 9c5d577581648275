"""The service: advice over HTTP, and what it turns away."""

import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from mixing_buddy.advising.inference import MixingBuddy
from mixing_buddy.advising.inputs import open_song
from mixing_buddy.advising.reporting import to_json
from mixing_buddy.errors import MixingBuddyError, ServiceError
from mixing_buddy.serving.app import Service, make_app
from mixing_buddy.serving.limits import Limits, Refusal
from mixing_buddy.serving.schemas import AdviceReply
from mixing_buddy.serving.server import is_local, serve
from mixing_buddy.serving.uploads import plain_name

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rubidium"
LIMITS = Limits(
    max_bytes=4_000_000, max_files=5, max_duration_s=60.0, max_channels=2, max_requests=2
)


@pytest.fixture(scope="module")
def nano() -> MixingBuddy:
    return MixingBuddy.from_pretrained()


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where uploads go: empty again after every request."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def client(nano, temporary):
    service = Service(lambda: nano, model_name="nano", limits=LIMITS)
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        wait_until(lambda: service.is_ready)
        yield client
    assert list(temporary.iterdir()) == []


def wait_until(is_true, at_most_s: float = 60.0) -> None:
    end_s = time.monotonic() + at_most_s
    while not is_true():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


def tracks_of(folder: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("tracks", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]


def wav(duration_s: float = 3.0, *, channels: int = 1, sample_rate: int = 8000) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    samples = rng.normal(0.0, 0.05, (round(duration_s * sample_rate), channels))
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def advised(buddy: MixingBuddy, path: Path, **options) -> dict:
    song = open_song(path)
    advice = buddy.advise(song, measure=True, **options)
    absent = dict.fromkeys(("iteration", "applied", "project"))
    told = to_json(song, advice, mode=buddy.usual_mode(song), **absent)
    return json.loads(json.dumps(told))


def test_tracks_get_the_answer_of_the_command_line_in_the_shape_that_is_documented(client, nano):
    reply = client.post("/advise", files=tracks_of(EXAMPLE), data={"anchor": "drums"})
    assert reply.status_code == 200, reply.text
    expected = advised(nano, EXAMPLE, anchor="drums")
    assert reply.json() == {**expected, "song": {**expected["song"], "path": "tracks"}}
    AdviceReply.model_validate(reply.json())


def test_a_mix_gets_advice_and_abstention(client, nano, tmp_path):
    path = tmp_path / "my mix.wav"
    path.write_bytes(wav(12.0))
    data = {"abstain_below": "1.0"}
    reply = client.post("/advise", files={"mix": (path.name, path.read_bytes())}, data=data)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    expected = advised(nano, path)
    assert told["song"] == {**expected["song"], "path": path.name}
    assert told["windows"] == expected["windows"]
    assert (told["abstain_below"], told["abstained"]) == (1.0, True)
    AdviceReply.model_validate(told)


def test_mappings_correct_what_files_were_taken_for(client):
    files = [("tracks", (f"Take {n}.wav", wav())) for n in range(3)]
    data = {"mapping": ["Take 0.wav=vocals", "Take 1=drums", "Take 2.wav=skip"]}
    reply = client.post("/advise", files=files, data=data)
    assert reply.status_code == 200, reply.text
    song = reply.json()["song"]
    assert [track["stem"] for track in song["tracks"]] == ["vocals", "drums"]
    assert [each["file"] for each in song["left_out"]] == ["Take 2.wav"]


@pytest.mark.parametrize(
    ("files", "data", "status", "message"),
    [
        ([], {"anchor": "drums"}, 415, "form with files"),
        ([("mix", ("a.wav", wav())), ("mix", ("b.wav", wav()))], {}, 400, "either one file"),
        ([("mix", ("a.wav", wav())), ("tracks", ("b.wav", wav()))], {}, 400, "either one file"),
        ([("tracks", ("a.wav", wav()))] * 2, {}, 400, "sent twice"),
        ([("song", ("a.wav", wav()))], {}, 400, "files are mix, tracks"),
        ([("mix", ("a.wav", wav()))], {"colour": "red"}, 400, "fields are anchor"),
        ([("mix", ("a.wav", wav()))], {"abstain_below": "nan"}, 400, "from 0 to 1"),
        ([("mix", ("a.wav", wav()))], {"anchor": "cowbell"}, 422, "choose one of"),
        ([("mix", ("a.wav", wav()))], {"anchor": "x" * 5000}, 413, "longer than"),
        ([("mix", ("a.exe", wav()))], {}, 415, "not the name of an audio file"),
        ([("mix", ("a.wav", b""))], {}, 422, "a.wav: "),
        ([("mix", ("a.wav", b"no audio at all"))], {}, 422, "a.wav: the file can't be opened"),
        ([("mix", ("a.wav", wav(1.0)))], {}, 422, "a.wav: 1.00 s long"),
        ([("tracks", ("vocals.wav", wav()))], {"mapping": "x=drums"}, 422, "no such file"),
        ([("tracks", ("vocals.wav", wav()))], {}, 422, "tracks: nothing to judge"),
        ([("mix", ("a.wav", wav(61.0)))], {}, 413, "1.0 minutes long"),
        ([("mix", ("a.wav", wav(channels=3)))], {}, 413, "3 channels"),
        ([("tracks", (f"{n}.wav", wav())) for n in range(6)], {}, 413, "More than 5 files"),
        ([("mix", ("a.wav", bytes(4_100_000)))], {}, 413, "larger than 4 MB"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(client, temporary, files, data, status, message):
    reply = client.post("/advise", files=files, data=data)
    assert (reply.status_code, list(reply.json())) == (status, ["error"]), reply.text
    told = reply.json()["error"]
    assert message in told
    assert "\n" not in told
    assert str(temporary) not in told
    assert list(temporary.iterdir()) == []


def test_bytes_are_counted_where_no_length_is_told(client, temporary):
    seen = []

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="mix"; filename="a.wav"\r\n\r\n'
        for _ in range(100):
            seen.append(sum(file.stat().st_size for file in temporary.rglob("*.wav")))
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/advise", content=body(), headers=headers)
    assert reply.status_code == 413, reply.text
    assert max(seen) <= LIMITS.max_bytes


@pytest.mark.parametrize("body", [b"", b"--x", b"nonsense", b"--x\r\n\r\nhello\r\n--x--\r\n"])
def test_broken_forms_are_told(client, body):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/advise", content=body, headers=headers)
    assert reply.status_code == 400, reply.text


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, 507), (errno.EIO, 500)])
def test_a_disk_that_fails_is_told(client, monkeypatch, code, status):
    def fail(*_):
        raise OSError(code, "broken")

    monkeypatch.setattr("mixing_buddy.serving.uploads._Parts._take", fail)
    reply = client.post("/advise", files={"mix": ("a.wav", wav())})
    assert reply.status_code == status
    assert ("disk" in reply.json()["error"]) == (status == 507)


@pytest.mark.parametrize("name", ["/etc/{}", "../../{}", "..\\..\\{}", "C:\\songs\\{}"])
def test_of_a_path_only_its_last_part_is_used(client, tmp_path, name):
    (tmp_path / "vocals.wav").write_bytes(b"mine")
    files = [("tracks", (name.format(f"{stem}.wav"), wav())) for stem in ("vocals", "drums")]
    reply = client.post("/advise", files=files)
    assert reply.status_code == 200, reply.text
    assert [t["file"] for t in reply.json()["song"]["tracks"]] == ["drums.wav", "vocals.wav"]
    assert (tmp_path / "vocals.wav").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", ".", "..", ".wav", "a/", "a\0.wav", "a\n.wav", "ä" * 200])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(Refusal):
        plain_name(name)


def test_pages_of_other_sites_are_turned_away(nano):
    service = Service(lambda: nano, model_name="nano", limits=LIMITS)
    app = make_app(service, hosts=["localhost"])
    with TestClient(app, base_url="http://localhost") as client:
        wait_until(lambda: service.is_ready)
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403
        reply = client.get("/health", headers={"Origin": "http://evil.example"})
        assert reply.status_code == 403
        assert "access-control-allow-origin" not in reply.headers
        assert client.get("/nowhere").json() == {"error": "Not Found"}


def test_health_waits_for_the_model_and_requests_for_a_place(nano, temporary):
    loading, listening = threading.Event(), threading.Event()

    def load():
        assert loading.wait(60)
        return nano

    service = Service(load, model_name="nano", limits=LIMITS)
    with TestClient(make_app(service)) as client:
        before = client.get("/health")
        early = client.post("/advise", files={"mix": ("a.wav", wav())})
        assert (before.status_code, before.json()["ready"]) == (503, False)
        assert (early.status_code, early.headers["retry-after"]) == (503, "5")
        loading.set()
        wait_until(lambda: service.is_ready)
        told = client.get("/health").json()
        assert (told["ready"], told["model"], told["device"]) == (True, "nano", "cpu")

        class Waiting:
            usual_mode = nano.usual_mode

            def advise(self, song, **options):
                assert listening.wait(60)
                return nano.advise(song, **options)

        service._buddy = Waiting()
        with ThreadPoolExecutor() as pool:
            ask = lambda: client.post("/advise", files={"mix": ("a.wav", wav())})  # noqa: E731
            taken = [pool.submit(ask) for _ in range(LIMITS.max_requests)]
            wait_until(lambda: service._num_requests == LIMITS.max_requests)
            late = ask()
            assert late.status_code == 503
            assert int(late.headers["retry-after"]) > 0
            listening.set()
            assert [each.result().status_code for each in taken] == [200, 200]
        assert ask().status_code == 200
    assert list(temporary.iterdir()) == []


def test_threads_that_share_a_model_get_the_answers_of_one(nano, tmp_path, write_song):
    # Two songs of different lengths: what one left behind in tokenizer or model would show.
    write_song(tmp_path / "short", duration_s=7.0, seed=3, silent=("bass",))
    songs = [EXAMPLE, tmp_path / "short"] * 4
    alone = [advised(nano, song) for song in songs[:2]] * 4
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda song: advised(nano, song), songs))
    for left, right in zip(together, alone, strict=True):
        for key in ("confidence", "balanced_probability"):
            assert left.pop(key) == pytest.approx(right[key], abs=1e-6)
        assert left == {key: value for key, value in right.items() if key in left}


def test_the_page_describes_the_form(client):
    api = client.get("/openapi.json").json()
    form = api["paths"]["/advise"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) == {
        "mix",
        "tracks",
        "anchor",
        "abstain_below",
        "mapping",
    }
    assert form["examples"]
    assert client.get("/docs").status_code == 200


def test_addresses_of_this_machine_are_told_from_others():
    assert all(map(is_local, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert not any(map(is_local, ["0.0.0.0", "::", "192.168.1.2", "example.org"]))


def test_a_port_in_use_and_a_model_that_fails_are_told():
    def fail():
        raise MixingBuddyError("there is no such model.")

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServiceError) as error:
        serve(fail, model_name="m", limits=LIMITS, port=taken.getsockname()[1])
    assert "--port" in str(error.value)
    with pytest.raises(MixingBuddyError, match="there is no such model"):
        serve(fail, model_name="m", limits=LIMITS, port=0, tell=lambda text: None)


def test_a_process_serves_until_it_is_interrupted(temporary):
    command = [Path(sys.executable).with_name("mixing-buddy"), "serve", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline()).group()
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
            wait_until(lambda: _is_ready(client))
            _hang_up_in_the_middle(url)
            wait_until(lambda: list(temporary.iterdir()) == [])
            with ThreadPoolExecutor() as pool:
                asked = pool.submit(client.post, "/advise", files=tracks_of(EXAMPLE))
                wait_until(lambda: list(temporary.rglob("vocals.flac")))
                process.send_signal(signal.SIGINT)
                reply = asked.result()
            assert reply.status_code == 200, reply.text
            AdviceReply.model_validate(reply.json())
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Stopped." in told
    assert "Traceback" not in told
    assert list(temporary.iterdir()) == []


def _hang_up_in_the_middle(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    head = b"POST /advise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="mix"; filename="a.wav"\r\n\r\nabc'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + part)
        time.sleep(0.2)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False
