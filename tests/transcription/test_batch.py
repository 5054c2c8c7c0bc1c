"""Runs over many recordings: names that cannot collide, nothing done twice, nothing lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.errors import OptionError, OutputError
from linnet.files import write_atomic
from linnet.transcription import batch
from linnet.transcription.batch import ItemResult, RunOptions, prepare_folder, run_batch, write_outputs
from linnet.transcription.naming import Item, plan_items
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Progress
from linnet.transcription.transcript import Segment, Transcript
from tests.support.fake_recognizer import FakeRecognizer

OUT = Path("out")


@pytest.fixture
def sounds(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "in" / name for name in ("a.wav", "b.wav", "c.wav")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(b"RIFF" + path.name.encode())
    return [str(path) for path in paths]


def run(recognizer: FakeRecognizer, sources: list[str], output: Path | None, **options: Any) -> list[ItemResult]:
    chosen = RunOptions(**options)
    return list(run_batch(recognizer, plan_items(sources, chosen.formats, output), chosen))


def names(sources: Sequence[str], formats: Sequence[str] = ("txt",), output: Path | None = OUT) -> list[str]:
    return [str(item.folder / item.name) for item in plan_items(sources, formats, output)]


def test_files_are_named_by_their_stems() -> None:
    assert names(["x/a.wav", "y/b.tar.flac", "https://host/p/talk%20one.mp3?token=1", "-"]) == [
        "out/a",
        "out/b.tar",
        "out/talk one",
        "out/stdin",
    ]


def test_equal_stems_take_the_whole_name_and_then_a_digest() -> None:
    found = names(["a.wav", "a.mp3", "A.flac", "x/a.wav", "b.wav"])
    assert found[1:3] == ["out/a.mp3", "out/A.flac"]
    assert found[4] == "out/b"
    assert found[0].startswith("out/a-")
    assert found[3].startswith("out/a-")
    assert len({name.lower() for name in found}) == 5


def test_a_stem_that_looks_like_a_whole_name_stays_apart() -> None:
    first, second, third = names(["a.wav", "a.mp3", "a.wav.flac"])
    assert first.startswith("out/a-")
    assert (second, third) == ("out/a.mp3", "out/a.wav.flac")


def test_files_lie_beside_their_inputs_without_an_output_folder() -> None:
    assert names(["x/a.wav", "y/a.wav", "https://host/b.mp3"], output=None) == ["x/a", "y/a", "b"]


def test_no_file_takes_the_name_of_an_input() -> None:
    assert names(["a.txt", "b.wav"], output=None) == ["a.txt", "b"]
    assert names(["a.txt", "b.wav"], ["srt"], output=None) == ["a", "b"]


def test_addresses_without_their_secrets(tmp_path: Path) -> None:
    urls = [f"https://me:s3cret@host/p/a.wav?key=s3cret&part={part}" for part in (1, 2)]
    items = plan_items([*urls, "https://me:s3cret@host", "http://[::1/b.wav"], ["txt"], tmp_path)
    assert items[0].name[:-8] == items[1].name[:-8] == "a-"
    assert len({item.name for item in items}) == len({item.label for item in items}) == 4
    assert [item.name for item in items[2:]] == ["host", "b"]
    assert run(FakeRecognizer(), urls[:1], tmp_path, skip_existing=True)[0].status == "done"
    assert run(FakeRecognizer(), urls[:1], tmp_path, skip_existing=True)[0].status == "skipped"
    run(FakeRecognizer(), urls[1:], tmp_path)
    assert "s3cret" not in "".join(path.name + path.read_text() for path in tmp_path.iterdir())
    fingerprints = {batch.make_fingerprint(FakeRecognizer(), url, RunOptions()) for url in urls}
    assert len(fingerprints) == 2


def test_an_input_given_twice_is_done_once() -> None:
    assert names(["a.wav", "./a.wav", "b.wav"]) == ["out/a", "out/b"]


def test_names_do_not_depend_on_the_order() -> None:
    sources = ["a.wav", "a.mp3", "x/a.wav", "A.WAV"]
    found = {tuple(sorted(zip(order, names(order), strict=True))) for order in permutations(sources)}
    assert len(found) == 1


def test_long_names_are_cut() -> None:
    found = names(["https://host/" + "ä" * 150 + ".mp3", "https://host/" + "ä" * 151 + ".mp3"])
    assert all(len(os.fsencode(Path(name).name)) <= 180 for name in found)
    assert found[0] != found[1]


@given(st.lists(st.text("aA.b/", min_size=1, max_size=8), max_size=8, unique=True))
def test_names_never_collide(texts: list[str]) -> None:
    sources = [f"s/{text.strip('/')}.wav" for text in texts if ".." not in text]
    items = plan_items(sources, ["txt", "json"], OUT)
    assert len({str(item.folder / item.name).casefold() for item in items}) == len(items)


def test_each_recording_is_written_when_it_is_done(tmp_path: Path, sounds: list[str]) -> None:
    options = RunOptions(formats=("txt", "json"))
    items = plan_items(sounds, options.formats, tmp_path / "out")
    prepare_folder(tmp_path / "out")
    steps = run_batch(FakeRecognizer(), items, options)
    first = next(steps)
    assert (first.status, first.duration, first.seconds) == ("done", 2.0, 0.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".a.linnet", "a.json", "a.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "a\n"
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    record = json.loads((tmp_path / "out" / ".a.linnet").read_text())
    assert record["formats"] == dict.fromkeys(("txt", "json"), document["fingerprint"])
    assert [step.item.name for step in steps] == ["b", "c"]


def test_results_may_come_in_any_order(tmp_path: Path, sounds: list[str]) -> None:
    found = run(FakeRecognizer(), sounds, tmp_path, batch_size=4)
    assert [step.item.name for step in found] == ["c", "b", "a"]
    assert [(tmp_path / f"{name}.txt").read_text() for name in "abc"] == ["a\n", "b\n", "c\n"]


def test_the_rest_goes_on_after_a_failure(tmp_path: Path, sounds: list[str]) -> None:
    found = run(FakeRecognizer(), [sounds[0], str(tmp_path / "bad.wav"), sounds[1]], tmp_path)
    assert [step.status for step in found] == ["done", "failed", "done"]
    assert "not a sound" in str(found[1].error)
    assert not (tmp_path / "bad.txt").exists()


def test_an_option_that_the_model_cannot_honor_ends_the_run(tmp_path: Path, sounds: list[str]) -> None:
    with pytest.raises(OptionError, match="language 'xx' is unknown"):
        run(FakeRecognizer(), sounds, tmp_path, decoding=TranscriptionOptions(language="xx"))


def skipping(recognizer: FakeRecognizer, sources: list[str], output: Path, **options: Any) -> list[str]:
    found = run(recognizer, sources, output, **{"skip_existing": True, **options})
    return [step.item.name for step in found if step.status == "skipped"]


def test_a_second_run_skips_what_is_there_and_leaves_it_alone(tmp_path: Path, sounds: list[str]) -> None:
    run(FakeRecognizer(), sounds[:2], tmp_path)
    before = (tmp_path / "a.txt").stat()
    again = FakeRecognizer()
    assert skipping(again, sounds, tmp_path) == ["a", "b"]
    assert again.heard == [sounds[2]]
    after = (tmp_path / "a.txt").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


@pytest.mark.parametrize(
    "change",
    [
        {"recognizer": FakeRecognizer(name="other")},
        {"recognizer": FakeRecognizer(revision="2")},
        {"recognizer": FakeRecognizer(dtype="bfloat16")},
        {"decoding": TranscriptionOptions(beam_size=5)},
        {"channel": "left"},
        {"formats": ("txt", "srt")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_model_option_or_format_is_done_again(
    tmp_path: Path, sounds: list[str], change: dict[str, Any]
) -> None:
    run(FakeRecognizer(), sounds, tmp_path)
    assert skipping(FakeRecognizer(), sounds, tmp_path) == ["a", "b", "c"]
    changed = {"recognizer": FakeRecognizer(), **change}
    assert skipping(changed.pop("recognizer"), sounds, tmp_path, **changed) == []


def test_a_changed_input_is_done_again(tmp_path: Path, sounds: list[str]) -> None:
    run(FakeRecognizer(), sounds, tmp_path)
    Path(sounds[1]).write_bytes(b"RIFF, and longer than before")
    assert skipping(FakeRecognizer(), sounds, tmp_path) == ["a", "c"]


def test_a_missing_file_or_record_is_made_again(tmp_path: Path, sounds: list[str]) -> None:
    run(FakeRecognizer(), sounds, tmp_path, formats=("txt", "vtt"))
    (tmp_path / "a.vtt").unlink()
    (tmp_path / ".b.linnet").write_text("{ torn")
    assert skipping(FakeRecognizer(), sounds, tmp_path, formats=("txt", "vtt")) == ["c"]
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT")


def test_formats_are_added_one_by_one(tmp_path: Path, sounds: list[str]) -> None:
    run(FakeRecognizer(), sounds, tmp_path, formats=("txt",))
    run(FakeRecognizer(), sounds, tmp_path, formats=("srt",))
    assert skipping(FakeRecognizer(), sounds, tmp_path, formats=("srt", "txt")) == ["a", "b", "c"]


def test_stdin_is_never_skipped(tmp_path: Path) -> None:
    run(FakeRecognizer(), ["-"], tmp_path)
    assert skipping(FakeRecognizer(), ["-"], tmp_path) == []


class Killed(BaseException):
    """Stands for `kill -9`: nothing of ours runs after it."""


@pytest.mark.parametrize("survived", range(5))
def test_a_run_killed_between_any_two_renames_is_finished_by_the_next(
    tmp_path: Path, sounds: list[str], survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One recording makes four files: record (claimed), txt, json, record (done)."""
    written: list[str] = []

    def write(path: str | os.PathLike[str], text: str) -> None:
        if len(written) == survived:
            raise Killed
        write_atomic(path, text)
        written.append(Path(path).name)

    formats = ("txt", "json")
    monkeypatch.setattr(batch, "write_atomic", write)
    with pytest.raises(Killed):
        run(FakeRecognizer(), sounds, tmp_path, formats=formats)
    assert written == [".a.linnet", "a.txt", "a.json", ".a.linnet"][:survived]
    monkeypatch.undo()
    assert skipping(FakeRecognizer(), sounds, tmp_path, formats=formats) == (["a"] if survived == 4 else [])
    assert skipping(FakeRecognizer(), sounds, tmp_path, formats=formats) == ["a", "b", "c"]


def test_beside_the_inputs_no_foreign_file_is_replaced(sounds: list[str]) -> None:
    notes = Path(sounds[0]).with_suffix(".txt")
    notes.write_text("my own notes")
    recognizer = FakeRecognizer()
    found = run(recognizer, sounds[:2], None)
    assert [step.status for step in found] == ["failed", "done"]
    assert str(found[0].error) == (
        f"{notes}: already exists and was not written by Linnet; choose a folder with --output"
    )
    assert notes.read_text() == "my own notes"
    assert recognizer.heard == [sounds[1]]
    assert [step.status for step in run(FakeRecognizer(), sounds[1:2], None)] == ["done"]  # our own are replaced
    assert [step.status for step in run(FakeRecognizer(), sounds[:1], notes.parent)] == ["done"]  # named by --output


def test_a_full_disk_ends_the_run(tmp_path: Path, sounds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    calls: list[int] = []

    def fills_up(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fills_up)
    found = run(FakeRecognizer(), sounds, tmp_path / "in", formats=("srt",))
    assert [(step.item.name, step.status) for step in found] == [("a", "done"), ("b", "failed"), ("c", "not begun")]
    assert "b.srt: cannot write: the disk is full; free some space" in str(found[1].error)
    assert not [path for path in (tmp_path / "in").iterdir() if path.suffix == ".tmp"]


def test_progress_names_the_place_among_all_inputs(tmp_path: Path, sounds: list[str]) -> None:
    run(FakeRecognizer(), sounds[:1], tmp_path)
    seen: list[Progress] = []
    options = RunOptions(skip_existing=True)
    list(run_batch(FakeRecognizer(), plan_items(sounds, ["txt"], tmp_path), options, on_progress=seen.append))
    assert [(one.index, one.source) for one in seen] == [(1, sounds[1]), (2, sounds[2])]


def test_a_folder_is_created_or_refused(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "x" / "y")
    assert list((tmp_path / "x" / "y").iterdir()) == []
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(OutputError, match="expected a folder for results, found a file; choose another --output"):
            prepare_folder(wrong)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_closed_folder_is_refused_before_the_work(tmp_path: Path, sounds: list[str]) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission to write there"):
        prepare_folder(closed)
    recognizer = FakeRecognizer()
    assert [step.status for step in run(recognizer, sounds, closed)] == ["failed"] * 3
    assert recognizer.heard == []


def test_a_closed_folder_fails_its_recordings(
    tmp_path: Path, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = run(FakeRecognizer(), sounds[:1], tmp_path)
    assert str(found[0].error) == f"{tmp_path}: cannot write: no permission to write there; choose another --output"


def test_outputs_are_exactly_the_wanted_formats(tmp_path: Path) -> None:
    transcript = Transcript((Segment(0, 1, "one"),))
    item = Item("a.wav", tmp_path, "a", beside=False)
    write_outputs(item, transcript, RunOptions(("srt", "tsv")), "f" * 32)
    write_outputs(replace(item, name="b"), transcript, RunOptions(("jsonl",)), "f" * 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.linnet", ".b.linnet", "a.srt", "a.tsv", "b.jsonl"]


def test_the_journal_of_a_recording_goes_when_its_files_are_there(tmp_path: Path) -> None:
    (item,) = plan_items(["talk.wav"], ["txt"], tmp_path)
    item.journal.write_text("half of it\n")
    write_outputs(item, Transcript((Segment(0, 1, "one"),)), RunOptions(("txt",)), "f" * 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".talk.linnet", "talk.txt"]


def test_a_file_that_was_emptied_is_made_again_and_one_that_was_edited_stays(tmp_path: Path) -> None:
    sounds = [tmp_path / name for name in ("one.wav", "silence.wav")]
    for path in sounds:
        path.write_bytes(b"sound")
    items = plan_items([str(path) for path in sounds], ["txt"], tmp_path / "out")
    (tmp_path / "out").mkdir()
    options = RunOptions(skip_existing=True)
    assert [one.status for one in run_batch(FakeRecognizer(), items, options)] == ["done", "done"]
    assert items[1].target("txt").read_text() == ""
    assert [one.status for one in run_batch(FakeRecognizer(), items, options)] == ["skipped", "skipped"]
    items[0].target("txt").write_text("")
    items[1].target("txt").write_text("(nobody speaks)")
    assert sorted(one.status for one in run_batch(FakeRecognizer(), items, options)) == ["done", "skipped"]
    assert items[0].target("txt").read_text() == "one\n"
    assert items[1].target("txt").read_text() == "(nobody speaks)"
