"""Projects of workstations: only faders and a note may ever change in them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixing_buddy.advice import parse_advice
from mixing_buddy.advising.combining import WindowAdvice
from mixing_buddy.errors import MixingBuddyError, OutputError, ProjectError
from mixing_buddy.songs import load_song_folder, load_stems
from mixing_buddy.stems import STEMS
from mixing_buddy.workstations.audacity import Label, label_windows, write_labels
from mixing_buddy.workstations.formats import read_project, write_advice
from mixing_buddy.workstations.gains_table import COLUMNS, list_gains, write_gains
from mixing_buddy.workstations.listening import open_project, render_stems

DATA = Path(__file__).parent / "data" / "workstations"
RUBIDIUM = Path(__file__).parents[1] / "examples" / "rubidium"
RATE = 24_000

fuzz = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class _Unseekable(io.RawIOBase):
    """A pipe: writers of ZIP files then put sizes behind the data, as Java does."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def write_rpp(folder, *, line_end=b"\n", text=None):
    data = (DATA / "session.RPP").read_bytes() if text is None else text.encode()
    path = folder / "session.RPP"
    path.write_bytes(data.replace(b"\n", line_end))
    return path


def write_daw(folder, *, piped=False, project=None, metadata=None, name="session.dawproject"):
    """A DAWproject with a member of every kind: packed, stored, with extra fields, with a time."""
    target = _Unseekable() if piped else io.BytesIO()
    project = (DATA / "project.xml").read_bytes() if project is None else project
    metadata = (DATA / "metadata.xml").read_bytes() if metadata is None else metadata
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = b"made by hand"
        for member, data, method in [
            ("plugins/äq.fxp", b"\x00state" * 40, zipfile.ZIP_DEFLATED),
            ("metadata.xml", metadata, zipfile.ZIP_DEFLATED),
            ("audio/kick.wav", _wav(2.0, 100.0), zipfile.ZIP_STORED),
            ("project.xml", project, zipfile.ZIP_DEFLATED),
            ("audio/vox.wav", _wav(4.0, 300.0), zipfile.ZIP_STORED),
        ]:
            info = zipfile.ZipInfo(member, (2026, 11, 20, 13, 37, 42))
            info.compress_type = method
            info.extra = struct.pack("<HHI", 0xCAFE, 4, 7)
            info.external_attr = 0o600 << 16
            archive.writestr(info, data)
    path = folder / name
    path.write_bytes(bytes(target.data) if piped else target.getvalue())
    return path


def _wav(duration_s, frequency, rate=RATE):
    buffer = io.BytesIO()
    time_s = np.arange(round(duration_s * rate)) / rate
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * frequency * time_s), rate, format="WAV")
    return buffer.getvalue()


def write_any(folder, kind):
    return write_rpp(folder) if kind == "rpp" else write_daw(folder)


def out_of(path):
    return path.with_name("out" + path.suffix)


# What is read


def test_reaper_tracks_and_faders(tmp_path):
    project = read_project(write_rpp(tmp_path))
    names = ["Drums", "Kick In", 'Snare "top"', "Bass \"DI\" 'n' amp", "Lead Vox – Zoë"]
    assert [track.name for track in project.tracks] == names
    faders = [track.fader_db for track in project.tracks]
    assert faders[:4] == pytest.approx([-1.5, 0.0, -3.0, 10.8814], abs=1e-3)
    assert faders[4] == -math.inf
    assert [track.parent for track in project.tracks] == [None, 1, 1, None, None]
    assert [track.is_muted for track in project.tracks] == [False, False, True, False, False]
    assert project.gain_db(project.tracks[1]) == pytest.approx(-1.5, abs=1e-3)
    assert [track.number for track in project.heard_tracks()] == [2, 4]
    assert project.notes.startswith("Second pass")


def test_reaper_clips(tmp_path):
    (tmp_path / "Audio Files").mkdir()
    project = read_project(write_rpp(tmp_path))
    (kick,), (snare,) = project.tracks[1].files, project.tracks[2].files
    assert (kick.start_s, kick.length_s, kick.offset_s) == (0.5, 4.0, 0.25)
    assert (kick.loop_s, kick.fade_in_s) == ((0.0, None), 0.01)
    assert kick.gain_db == pytest.approx(-6.02, abs=0.01)
    # The active take, in a section of its file, turned round, with a Windows path.
    assert snare.path == tmp_path / "Audio Files" / "snare.wav"
    assert (snare.offset_s, snare.is_inverted) == (0.625, True)
    assert snare.gain_db == pytest.approx(6.02, abs=0.01)
    assert project.tracks[4].files == ()


def test_dawproject_tracks_and_clips(tmp_path):
    project = read_project(write_daw(tmp_path))
    drums, kick, bass, vox, keys, master = project.tracks
    assert [drums.name, vox.name] == ["Drums & more", 'Vox "Zoë"']
    assert [kick.parent, drums.parent, master.parent] == [1, 6, None]
    assert project.gain_db(kick) == pytest.approx(-6.0206 - 3.6203, abs=1e-3)
    assert (bass.fader_db, bass.max_fader_db, bass.is_muted) == (-4.5, 6.0, True)
    assert keys.fader_db is None
    # 2 beats are a second at 120 beats a minute; the loop of 4 beats begins in its beat 1.
    spans = [(clip.start_s, clip.length_s, clip.offset_s) for clip in kick.files]
    for span, expected in zip(spans, [(1.0, 1.5, 0.5), (2.5, 2, 0), (4.5, 1.5, 0)], strict=True):
        assert span == pytest.approx(expected)
    assert [clip.speed for clip in kick.files] == [1.0] * 3
    assert kick.files[0].archive == project.path
    (clip,) = bass.files
    assert (clip.start_s, clip.length_s, clip.offset_s) == pytest.approx((1.5, 2.0, 0.25))
    assert clip.path == tmp_path / "bass.wav"
    (clip,) = vox.files
    assert (clip.start_s, clip.length_s, clip.speed) == pytest.approx((2.0, 2.0, 2.0))


def test_what_cannot_be_heard_is_said(tmp_path):
    said = " ".join(read_project(write_rpp(tmp_path)).warnings)
    assert 'Track 2 ("Kick In") has plugins' in said
    assert "has no effect while the envelope plays" in said  # its mode is read, not trim/read
    assert 'Track 5 ("Lead Vox – Zoë"): the item at 2.00 s is MIDI' in said
    said = " ".join(read_project(write_daw(tmp_path)).warnings)
    assert 'Track 2 ("Kick") has plugins' in said
    assert 'Track 4 ("Vox "Zoë"") has volume automation' in said
    assert 'Track 5 ("Keys") plays notes' in said


def test_tempo_changes_move_clips(tmp_path):
    xml = (
        (DATA / "project.xml")
        .read_text()
        .replace(
            "<Lanes timeUnit",
            '<TempoAutomation><RealPoint time="0" value="60" interpolation="hold"/>'
            '<RealPoint time="2" value="120" interpolation="hold"/></TempoAutomation>'
            "<Lanes timeUnit",
            1,
        )
    )
    vox = read_project(write_daw(tmp_path, project=xml.encode())).tracks[3]
    assert vox.files[0].start_s == pytest.approx(2.0 + 1.0, abs=0.02)


def test_solo_silences_others(tmp_path):
    text = (DATA / "session.RPP").read_text()
    path = write_rpp(tmp_path, text=text.replace("MUTESOLO 0 0 0", "MUTESOLO 0 1 0", 1))
    assert [track.number for track in read_project(path).heard_tracks()] == [2]  # in the folder


# What is written


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_no_change_gives_the_same_bytes_reaper(tmp_path, line_end):
    path = write_rpp(tmp_path, line_end=line_end)
    write_advice(read_project(path), {2: 0.0, 3: 0.0}, out_of(path))
    assert out_of(path).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("piped", [False, True])
def test_no_change_gives_the_same_bytes_dawproject(tmp_path, piped):
    path = write_daw(tmp_path, piped=piped)
    write_advice(read_project(path), {2: 0.0}, out_of(path))
    assert out_of(path).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_reaper_changes_only_the_fader(tmp_path, line_end):
    path = write_rpp(tmp_path, line_end=line_end)
    write_advice(read_project(path), {3: -4.5}, out_of(path), "Snare\nÄnderung")
    new, old = out_of(path).read_bytes(), path.read_bytes()
    gain = f"{0.70794578438414 * 10 ** (-4.5 / 20):.14f}".rstrip("0").encode()
    expected = old.replace(b"VOLPAN 0.70794578438414 ", b"VOLPAN " + gain + b" ")
    end = b"tuning." if line_end == b"\n" else b"tuning.\r"
    note = line_end.join([b"    |", b"    |Snare", "    |Änderung".encode()])
    assert new == expected.replace(end + b"\n", end + b"\n" + note + line_end, 1)


@pytest.mark.parametrize("piped", [False, True])
def test_dawproject_changes_only_the_fader(tmp_path, piped):
    path = write_daw(tmp_path, piped=piped)
    write_advice(read_project(path), {2: 3.0, 3: -2.0}, out_of(path), "Kick <up> & 3 dB")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out_of(path)) as new:
        assert new.testzip() is None
        assert new.comment == old.comment
        assert new.namelist() == old.namelist()
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            fields = ("date_time", "compress_type", "extra", "external_attr", "create_system")
            assert [getattr(before, f) for f in fields] == [getattr(after, f) for f in fields]
            if before.filename not in ("project.xml", "metadata.xml"):
                assert new.read(after) == old.read(before)
                assert before.flag_bits == after.flag_bits
        value = f"{0.659140 * 10 ** (3 / 20):.7f}".encode()
        expected = old.read("project.xml").replace(b"'0.659140'", b"'" + value + b"'")
        assert new.read("project.xml") == expected.replace(b'"-4.500000"', b'"-6.500000"')
        assert new.read("metadata.xml") == old.read("metadata.xml").replace(
            b"of Friday", b"of Friday\nKick &lt;up&gt; &amp; 3 dB"
        )
    # Members that did not change are the same as they lie in the file, headers and all.
    for name in (b"plugins/", b"audio/kick", b"audio/vox"):
        raw = path.read_bytes()
        start = raw.index(name) - 30
        assert raw[start : raw.index(b"PK", start + 4)] in out_of(path).read_bytes()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (b"<MetaData/>", b"<MetaData><Comment>Up</Comment></MetaData>"),
        (
            b"<MetaData><Comment a='1' /></MetaData>",
            b"<MetaData><Comment a='1' >Up</Comment></MetaData>",
        ),
        (b"<MetaData>\n</MetaData>", b"<MetaData>\n<Comment>Up</Comment></MetaData>"),
    ],
)
def test_a_note_finds_its_place_in_any_metadata(tmp_path, metadata, expected):
    path = write_daw(tmp_path, metadata=metadata)
    write_advice(read_project(path), {}, out_of(path), "Up")
    assert zipfile.ZipFile(out_of(path)).read("metadata.xml") == expected
    assert read_project(out_of(path)).notes == "Up"


def test_missing_parts_are_added(tmp_path):
    path = write_rpp(
        tmp_path, text='<REAPER_PROJECT 0.1 "7.0" 0\n  <TRACK\n    NAME Bass\n  >\n>\n'
    )
    write_advice(read_project(path), {1: 6.0}, out_of(path), "Up")
    lines = out_of(path).read_text().split("\n")
    assert lines[1:4] == ["  <NOTES 0 2", "    |Up", "  >"]
    assert lines[6] == "    VOLPAN 1.99526231496888 0 -1 -1 1"
    path = tmp_path / "bare.dawproject"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("project.xml", (DATA / "project.xml").read_bytes())
    write_advice(read_project(path), {}, out_of(path), "Up")
    assert read_project(out_of(path)).notes == "Up"
    assert zipfile.ZipFile(out_of(path)).testzip() is None


@pytest.mark.parametrize("kind", ["rpp", "daw"])
@fuzz
@given(change_db=st.floats(-30.0, 12.0), number=st.integers(2, 4))
def test_written_then_read_is_the_sum_and_can_be_undone(tmp_path, kind, change_db, number):
    path = write_any(tmp_path, kind)
    before = read_project(path).tracks[number - 1]
    (move,) = write_advice(read_project(path), {number: change_db}, out_of(path)) or (None,)
    after = read_project(out_of(path))
    if move is None:
        assert change_db == 0.0
        return
    wanted_db = min(before.fader_db + change_db, max(before.max_fader_db, before.fader_db))
    assert after.tracks[number - 1].fader_db == pytest.approx(wanted_db, abs=0.01)
    assert move.is_clamped == (wanted_db < before.fader_db + change_db - 0.005)
    others = [t for t in after.tracks if t.number != number]
    strip = [(t.name, t.fader_db, t.is_muted) for t in others]
    old = [t for t in read_project(path).tracks if t.number != number]
    assert strip == [(t.name, t.fader_db, t.is_muted) for t in old]
    back = path.with_name("back" + path.suffix)
    write_advice(after, {number: -move.change_db}, back)
    undone = read_project(back).tracks[number - 1].fader_db
    assert undone == pytest.approx(before.fader_db, abs=1e-4)


def test_a_fader_at_its_end_is_clamped_and_said(tmp_path):
    path = write_rpp(tmp_path)
    (move,) = write_advice(read_project(path), {4: 6.0}, out_of(path))
    assert (move.is_clamped, move.new_db) == (True, 12.0)
    assert move.change_db == pytest.approx(12.0 - 10.8814, abs=1e-3)
    (move,) = write_advice(read_project(path), {5: 6.0}, out_of(path))  # all the way down
    assert (move.is_clamped, move.change_db) == (True, 0.0)


@fuzz
@given(name=st.text(st.characters(exclude_characters="\n\r`", exclude_categories=["Cs"])))
def test_any_name_survives_in_reaper(tmp_path, name):
    # A backtick is left out: where a name holds all three quotes, REAPER itself turns ` into '.
    quote = next(q for q in "\"'`" if q not in name)
    text = f"<REAPER_PROJECT 0.1\n<TRACK\nNAME {quote}{name}{quote}\nVOLPAN 1\n>\n>\n"
    path = write_rpp(tmp_path, text=text)
    project = read_project(path)
    assert project.tracks[0].name == name
    write_advice(project, {1: -1.0}, out_of(path), f"Lower {name}")
    written = read_project(out_of(path))
    assert written.tracks[0].name == name
    assert written.tracks[0].fader_db == pytest.approx(-1.0, abs=1e-6)


@fuzz
@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
)
def test_any_name_survives_in_dawproject(tmp_path, name):
    from xml.sax.saxutils import quoteattr

    xml = (
        f"<Project><Structure><Track id='t' name={quoteattr(name)}><Channel name={quoteattr(name)}>"
        f"<Volume name={quoteattr(name)} value='1' unit='linear'/></Channel></Track></Structure>"
        "</Project>"
    )
    path = write_daw(tmp_path, project=xml.encode())
    project = read_project(path)
    assert project.tracks[0].name == name
    write_advice(project, {1: -1.0}, out_of(path), f"Lower {name}")
    written = read_project(out_of(path))
    assert written.tracks[0].name == name
    assert written.tracks[0].fader_db == pytest.approx(-1.0, abs=1e-5)
    assert written.notes.endswith(f"Lower {name}")


# What goes wrong


@pytest.mark.parametrize("kind", ["rpp", "daw"])
@fuzz
@given(data=st.data())
def test_truncated_projects_are_refused(tmp_path, kind, data):
    path = write_any(tmp_path, kind)
    whole = path.read_bytes()
    # The comment at the end of an archive may be cut: nothing of the project is lost with it.
    needed = len(whole.rstrip()) if kind == "rpp" else whole.rindex(b"made by hand")
    length = data.draw(st.integers(0, needed - 1))
    path.write_bytes(whole[:length])
    with pytest.raises(ProjectError, match="session"):
        read_project(path)


@pytest.mark.parametrize("kind", ["rpp", "daw"])
@fuzz
@given(data=st.data())
def test_damaged_projects_raise_no_other_errors(tmp_path, kind, data):
    path = write_any(tmp_path, kind)
    broken = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken))
    out_of(path).unlink(missing_ok=True)
    try:
        write_advice(read_project(path), {2: -1.0}, out_of(path), "Note")
    except MixingBuddyError:
        assert not out_of(path).exists()
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@fuzz
@given(data=st.data())
def test_damaged_xml_raises_no_other_errors(tmp_path, data):
    xml = bytearray((DATA / "project.xml").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(xml) - 1))
        xml[place : place + 1] = data.draw(
            st.sampled_from([b"", b"9", b"e", b'"', b"-", b"<", b"x"])
        )
    path = write_daw(tmp_path, project=bytes(xml))
    out_of(path).unlink(missing_ok=True)
    try:
        write_advice(read_project(path), {2: -1.0}, out_of(path))
    except MixingBuddyError:
        assert not out_of(path).exists()
    else:
        assert zipfile.ZipFile(out_of(path)).testzip() is None


def test_hostile_xml_is_refused(tmp_path):
    bomb = b'<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Project>&b;</Project>'
    with pytest.raises(ProjectError, match="document type"):
        read_project(write_daw(tmp_path, project=bomb))
    xml = (DATA / "project.xml").read_text().replace('loopEnd="4.0"', 'loopEnd="1e-5"')
    xml = xml.replace('playStart="1.0"', 'playStart="0"')
    with pytest.raises(ProjectError, match="repeated"):
        read_project(write_daw(tmp_path, project=xml.encode()))
    itself = '<Clip time="0" duration="8" reference="id61"/></Clips>'
    xml = (DATA / "project.xml").read_text()
    head, tail = xml.split('<Clips id="id61">')
    xml = head + '<Clips id="id61">' + tail.replace("</Clips>", itself, 1)
    with pytest.raises(ProjectError, match="nested"):
        read_project(write_daw(tmp_path, project=xml.encode()))


@pytest.mark.parametrize("kind", ["rpp", "daw"])
def test_what_cannot_be_written_is_refused(tmp_path, kind):
    path = write_any(tmp_path, kind)
    project = read_project(path)
    with pytest.raises(OutputError, match="replace the project itself"):
        write_advice(project, {2: 1.0}, path)
    with pytest.raises(OutputError, match="like session"):
        write_advice(project, {2: 1.0}, tmp_path / "out.als")
    with pytest.raises(OutputError, match="can't be written"):
        write_advice(project, {2: 1.0}, tmp_path / "nowhere" / path.name)
    with pytest.raises(ProjectError, match="no track 99"):
        write_advice(project, {99: 1.0}, out_of(path))
    with pytest.raises(ProjectError, match="nan"):
        write_advice(project, {2: math.nan}, out_of(path))
    changed = write_advice(project, {2: 1.0}, out_of(path))
    out_of(path).replace(path)
    assert changed
    with pytest.raises(ProjectError, match="meanwhile"):
        write_advice(project, {2: 1.0}, out_of(path))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


# What is heard


def make_song(folder, kind, stems=RUBIDIUM, faders=None):
    """A project around a folder of four stems, named as engineers name tracks."""
    names = {"bass": "DI Bass", "drums": "Drum Bus", "other": "Gtr L+R", "vocals": "Lead Vox 1"}
    faders = {stem: 1.0 for stem in STEMS} | (faders or {})
    if kind == "rpp":
        tracks = "".join(
            f'  <TRACK\n    NAME "{names[stem]}"\n    VOLPAN {faders[stem]} 0 -1 -1 1\n'
            f"    <ITEM\n      POSITION 0\n      LENGTH 20\n      LOOP 0\n      <SOURCE FLAC\n"
            f'        FILE "{stems / stem}.flac"\n      >\n    >\n  >\n'
            for stem in STEMS
        )
        return write_rpp(folder, text=f'<REAPER_PROJECT 0.1 "7.22" 1\n{tracks}>\n')
    tracks = "".join(
        f'<Track id="t-{stem}" name="{names[stem]}"><Channel id="c-{stem}"><Volume max="2" min="0" '
        f'unit="linear" value="{faders[stem]}"/></Channel></Track>'
        for stem in STEMS
    )
    lanes = "".join(
        f'<Lanes track="t-{stem}"><Clips><Clip time="0" duration="20"><Audio channels="2" '
        f'duration="20" sampleRate="44100"><File path="audio/{stem}.flac"/></Audio></Clip></Clips>'
        "</Lanes>"
        for stem in STEMS
    )
    path = folder / "session.dawproject"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "project.xml",
            f'<Project version="1.0"><Structure>{tracks}</Structure><Arrangement>'
            f'<Lanes timeUnit="seconds">{lanes}</Lanes></Arrangement></Project>',
        )
        for stem in STEMS:
            archive.write(stems / f"{stem}.flac", f"audio/{stem}.flac")
    return path


@pytest.mark.parametrize("kind", ["rpp", "daw"])
def test_a_project_sounds_like_its_stems(tmp_path, kind):
    path = make_song(tmp_path, kind, faders={"vocals": 0.5, "bass": 0})
    with open_project(path) as heard:
        assert list(heard.stems.values()) == list(STEMS)
        rendered = load_stems(load_song_folder(heard.folder))
        folder = heard.folder
    assert not folder.exists()
    expected = load_stems(load_song_folder(RUBIDIUM))
    expected[STEMS.index("vocals")] *= 0.5
    expected[STEMS.index("bass")] = 0.0
    assert rendered.shape == expected.shape
    assert np.abs(rendered - expected).max() < 1e-4


def test_clips_loops_speeds_and_faders_are_heard(tmp_path):
    for name in ("kick", "snare", "bass"):
        (tmp_path / f"{name}.wav").write_bytes(_wav(2.0, 100.0))
    stems = tmp_path / "stems"
    stems.mkdir()
    project = read_project(write_rpp(tmp_path))
    render_stems(project, {2: "drums", 3: "drums", 4: "bass"}, stems)
    drums, rate = soundfile.read(stems / "drums.wav")
    bass, _ = soundfile.read(stems / "bass.wav")
    assert (rate, len(drums)) == (RATE, 8 * RATE)
    time_s = np.arange(len(drums)) / RATE
    # From 0.5 s for 4 s, from 0.25 s on in a file of 2 s that goes round; 200 periods fit exactly.
    wave = 0.5 * np.sin(2 * np.pi * 100.0 * (time_s - 0.5 + 0.25))
    wave *= 0.5 * 0.84139514164519
    inside = (time_s > 0.52) & (time_s < 4.48)
    assert np.abs(drums - wave)[inside].max() < 1e-3
    assert not drums[time_s < 0.5].any()
    assert not drums[time_s >= 4.5].any()
    assert np.abs(bass[: 2 * RATE]).max() == pytest.approx(0.5 * 3.5, rel=1e-3)
    assert not bass[2 * RATE + 10 :].any()  # the file ends there
    (tmp_path / "daw").mkdir()
    project = read_project(write_daw(tmp_path / "daw"))
    render_stems(project, {4: "vocals"}, stems)
    vox, _ = soundfile.read(stems / "vocals.wav")
    spectrum = np.abs(np.fft.rfft(vox[round(2.5 * RATE) : round(3.5 * RATE)]))
    assert spectrum.argmax() == 600  # twice its speed, so an octave up
    assert len(vox) == 4 * RATE


NUMBER = re.compile(rb"(?<=[ \"'])-?\d+(\.\d+)?(?=[ \"'\n])")
EXTREMES = [b"-1", b"0", b"1e-9", b"0.001", b"77", b"1e9", b"1e300", b"nan", b"inf", b"-1e9", b"x"]


@pytest.mark.parametrize("kind", ["rpp", "daw"])
@fuzz
@given(data=st.data())
def test_absurd_numbers_raise_no_other_errors(tmp_path, kind, data):
    for name in ("kick", "snare", "bass"):
        (tmp_path / f"{name}.wav").write_bytes(_wav(0.5, 100.0))
    text = (DATA / ("session.RPP" if kind == "rpp" else "project.xml")).read_bytes()
    place = data.draw(st.sampled_from([match.span() for match in NUMBER.finditer(text)]))
    text = text[: place[0]] + data.draw(st.sampled_from(EXTREMES)) + text[place[1] :]
    path = write_daw(tmp_path, project=text) if kind == "daw" else tmp_path / "session.RPP"
    if kind == "rpp":
        path.write_bytes(text)
    out_of(path).unlink(missing_ok=True)
    try:
        project = read_project(path)
        write_advice(project, {2: 1.0}, out_of(path))
        if max((c.end_s for t in project.heard_tracks() for c in t.files), default=0) < 60:
            with open_project(path):
                pass
    except MixingBuddyError:
        pass


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ProjectError, match=r"Kick In.*kick\.wav: there is no such file"):
        with open_project(write_rpp(tmp_path)):
            pass
    path = write_daw(tmp_path, project=(DATA / "project.xml").read_bytes().replace(b"/kick", b"/k"))
    with pytest.raises(ProjectError, match=r"audio/k\.wav, which can't be taken out"):
        with open_project(path):
            pass


def test_a_change_goes_to_every_track_of_a_stem(tmp_path):
    for name in ("kick", "snare", "bass"):
        (tmp_path / f"{name}.wav").write_bytes(_wav(2.0, 100.0))
    with open_project(write_rpp(tmp_path), mapping=["4=vocals"]) as heard:
        assert dict(heard.stems) == {2: "drums", 3: "drums", 4: "vocals"}
        assert not heard.unknown
        changes_db = heard.track_changes_db({"drums": -3.0, "bass": 2.0})
        assert changes_db == {2: -3.0, 3: -3.0}
        moves = write_advice(heard.project, changes_db, tmp_path / "out.rpp")
    write_gains(tmp_path / "gains.csv", list_gains(heard.project, heard.stems, moves))
    rows = list(csv.DictReader((tmp_path / "gains.csv").open(newline="", encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS
    assert [row["track"] for row in rows] == ["Kick In", 'Snare "top"', "Bass \"DI\" 'n' amp"]
    assert [row["new_db"] for row in rows] == ["-3.00", "-6.00", "10.88"]
    with open_project(heard.project.path, mapping=["Kick In=skip"]) as heard:
        assert heard.track_changes_db({"drums": -3.0}) == {3: -3.0}
    for mapping in ("77=bass", "Tuba=bass", "4=tuba", "4"):
        with pytest.raises(ProjectError, match=f"--map {mapping}"):
            with open_project(heard.project.path, mapping=[mapping]):
                pass


def test_a_name_that_says_nothing_is_told(tmp_path):
    item = "<ITEM\nLENGTH 2\n<SOURCE WAVE\nFILE a.wav\n>\n>\n"
    text = f"<REAPER_PROJECT 0.1\n<TRACK\nNAME Xyzzy\n{item}>\n>\n"
    (tmp_path / "a.wav").write_bytes(_wav(2.0, 100.0))
    with open_project(write_rpp(tmp_path, text=text)) as heard:
        assert (dict(heard.stems), heard.unknown) == ({1: "other"}, {1})
    text = text.replace("LENGTH 2", "LENGTH 2\nVOLPAN 1e9")
    with pytest.raises(ProjectError, match=r"add up to \+180 dB"):
        with open_project(write_rpp(tmp_path, text=text)):
            pass


def test_labels_of_windows(tmp_path):
    windows = [
        WindowAdvice(
            0.0, 10.0, "drums", ("drums", "vocals"), parse_advice("Raise the vocals by 3 to 6 dB.")
        ),
        WindowAdvice(
            0.0, 10.0, "vocals", ("drums", "vocals"), parse_advice("The mix is balanced.")
        ),
        WindowAdvice(10.0, 8.5, "drums", ("drums", "vocals"), parse_advice("The mix is balanced.")),
    ]
    labels = label_windows(windows)
    assert labels[0].text == "against drums: raise vocals by 3 to 6 dB; against vocals: balanced"
    write_labels(tmp_path / "labels.txt", [*labels, Label(18.5, 18.5, "tab\tand\nline – ü")])
    lines = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "10.000000\t18.500000\tagainst drums: balanced"
    assert lines[2] == "18.500000\t18.500000\ttab and line – ü"


@pytest.mark.parametrize("kind", ["rpp", "daw"])
def test_advice_on_a_project_from_the_command_line(tmp_path, kind):
    from typer.testing import CliRunner

    from mixing_buddy.cli import app

    generated = RUBIDIUM.with_name("generated")
    path = make_song(tmp_path, kind, generated, faders={"vocals": 0.35})
    out, labels, gains = out_of(path), tmp_path / "labels.txt", tmp_path / "gains.csv"
    wanted = ["--write", out, "--labels", labels, "--gains", gains]
    call = ["advise", *map(str, [path, *wanted]), "--json"]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    by_stem = {track["stem"]: track for track in told["project"]["tracks"]}
    assert by_stem["vocals"]["change_db"] > 0.0  # they were turned down by 9 dB
    before, after = read_project(path), read_project(out)
    for old, new in zip(before.tracks, after.tracks, strict=True):
        change_db = next(t["change_db"] for t in by_stem.values() if t["number"] == old.number)
        assert new.fader_db == pytest.approx(old.fader_db + change_db, abs=0.01)
        assert (new.name, new.is_muted, new.is_soloed) == (old.name, old.is_muted, old.is_soloed)
    assert "Lead Vox 1" in after.notes
    assert len(gains.read_text().splitlines()) == 5
    assert labels.read_text().count("against") >= 2
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, OutputError)  # there already: refused before listening


def test_a_folder_of_stems_has_no_project_to_write(tmp_path):
    from typer.testing import CliRunner

    from mixing_buddy.cli import app

    call = ["advise", str(RUBIDIUM), "--write", str(tmp_path / "a.rpp")]
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, MixingBuddyError)
    assert "--write needs one" in str(result.exception)
