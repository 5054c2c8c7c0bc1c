"""The passes that hear a corpus: every row has its numbers or its reason, the same for any workers, and resumable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.curation import shards
from linnet.curation.codebook import Codebook, CodebookOptions
from linnet.curation.measure import hear_all, language_of, table_schema
from linnet.curation.passes import draw, hear_corpus, obtain_codebook
from linnet.curation.shards import Plan, make_plan, read_tables, table_path
from linnet.curation.sketch import likeness
from linnet.curation.workers import WorkerOptions, shared_workers
from linnet.data import Utterance, open_source
from linnet.data.duplicates.prints import exact_hash
from linnet.data.samples import UtteranceReader
from tests.support import corpus_formats
from tests.support.syllables import RATE, speechlike

pytest.importorskip("pyarrow", reason="tables need pyarrow")

OPTIONS = CodebookOptions(units=16, rows=8, frames=1000)
ONE, TWO = WorkerOptions(workers=1), WorkerOptions(workers=2)


def whole_numbers(samples: np.ndarray) -> np.ndarray:
    """As 16 bits, which the writers of formats round each in its own way."""
    return np.rint(samples * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that are good, and one of each kind that is not."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", whole_numbers(speechlike(number, 1.5)), RATE)
    soundfile.write(folder / "copy.flac", whole_numbers(speechlike(0, 1.5)), RATE)
    soundfile.write(folder / "quiet.wav", 0.05 * speechlike(1, 1.5), RATE)
    soundfile.write(folder / "clipped.wav", np.clip(20 * speechlike(2, 1.5), -1, 1), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "none.wav", np.zeros(0), RATE)
    soundfile.write(folder / "blink.wav", 0.1 * np.ones(3), RATE)
    (folder / "text.wav").write_text("no sound")
    long = whole_numbers(np.concatenate([speechlike(number, 1.5) for number in range(6)]))
    soundfile.write(folder / "long.flac", long, RATE)
    return folder


@pytest.fixture(scope="module")
def rows(sounds: Path) -> list[Utterance]:
    names = ["0.wav", "missing.wav", "text.wav", "none.wav", "silent.wav", "blink.wav", "clipped.wav", "quiet.wav"]
    whole = [Utterance(str(sounds / name), text=name, language="eng", id=name) for name in [*names, "copy.flac"]]
    starts = [3.0, 0.0, 60.0, 1.5]
    parts = [Utterance(str(sounds / "long.flac"), start=at, end=at + 1.5, language="??") for at in starts]
    more = [Utterance(str(sounds / f"{number}.wav"), text="x " * 10_000, domain="d") for number in range(1, 6)]
    return [*whole, *parts, *more, Utterance(str(sounds / "1.wav"), id="\ud800", text="", speaker="s", source="c")]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 5)


@pytest.fixture
def plan(rows: list[Utterance], tmp_path: Path) -> Plan:
    return make_plan(rows, tmp_path / "work")


def tables(plan: Plan) -> list[bytes]:
    return [table_path(plan.work, "measured", shard.index).read_bytes() for shard in plan.shards]


def test_every_row_has_its_numbers_or_its_reason(plan: Plan, rows: list[Utterance]) -> None:
    codebook = obtain_codebook(plan, OPTIONS, ONE)
    report = hear_corpus(plan, codebook, ONE)
    table = read_tables(plan, "measured")
    assert table.schema.equals(table_schema())
    found = table.to_pylist()
    assert [row["row"] for row in found] == list(range(len(rows)))
    assert [row["id"] for row in found] == [*(row.id for row in rows[:-1]), "?"]
    assert [row["text"] for row in found] == [row.text for row in rows]
    assert Counter(row["language"] for row in found) == {"en": 9, "und": 10}
    failed = {row["id"].rpartition("/")[2]: row["error"] for row in found if row["error"] is not None}
    assert failed.keys() == {"missing.wav", "text.wav", "none.wav", "long.flac@60.000"}
    assert "no such file" in failed["missing.wav"]
    assert (report.rows, report.failed, report.kept, report.shards) == (19, 4, 0, 4)
    assert report.seconds == sum(row["duration"] for row in found)
    assert len(report.failures) == 4
    for row in found:
        if row["error"] is not None:
            assert (row["duration"], row["frames"], row["speech_frames"]) == (0.0, 0, 0)
            assert (row["units"], row["runs"], row["sketch"]) == ([], [], [])
            assert row["pcm_hash"] is row["level_db"] is row["snr_db"] is None


def test_the_numbers_are_those_of_the_sound(plan: Plan, rows: list[Utterance]) -> None:
    hear_corpus(plan, obtain_codebook(plan, OPTIONS, ONE), ONE)
    found = {row["id"].rpartition("/")[2]: row for row in read_tables(plan, "measured").to_pylist()}
    first = found["0.wav"]
    assert (first["duration"], first["frames"]) == (1.5, 74)
    assert sum(first["runs"]) == first["speech_frames"] > 50
    with UtteranceReader() as reader:
        assert first["pcm_hash"] == exact_hash(reader.read(rows[0]).samples) == found["copy.flac"]["pcm_hash"]
    assert first["pcm_hash"] != found["1.wav"]["pcm_hash"]
    assert found["long.flac@0.000"]["pcm_hash"] == first["pcm_hash"]  # stretches are read in the order of their starts
    assert found["long.flac@1.500"]["pcm_hash"] == found["1.wav"]["pcm_hash"]
    quiet = found["quiet.wav"]
    assert quiet["pcm_hash"] != found["1.wav"]["pcm_hash"]
    assert likeness(*(np.array(row["sketch"], np.uint32) for row in (quiet, found["1.wav"]))) > 0.5
    assert likeness(*(np.array(row["sketch"], np.uint32) for row in (first, found["1.wav"]))) < 0.2
    assert found["clipped.wav"]["clipped"] > 0.1 > 0.001 > first["clipped"]
    silent = found["silent.wav"]
    assert (silent["units"], silent["speech_frames"], silent["level_db"], silent["snr_db"]) == ([], 0, -120.0, None)
    assert (found["blink.wav"]["error"], found["blink.wav"]["frames"]) == (None, 1)


def test_any_number_of_workers_writes_the_same_bytes(rows: list[Utterance], tmp_path: Path) -> None:
    made = []
    for workers in (ONE, TWO):
        plan = make_plan(rows, tmp_path / str(workers.workers))
        codebook = obtain_codebook(plan, OPTIONS, workers)
        hear_corpus(plan, codebook, workers)
        made.append((codebook.digest, tables(plan)))
    assert made[0] == made[1]


@pytest.mark.filterwarnings("ignore")  # of Ray, about its own ways
@pytest.mark.skipif("LINNET_TEST_RAY" not in os.environ, reason="a Ray takes seconds to begin: set LINNET_TEST_RAY=1")
def test_ray_writes_the_same_bytes(rows: list[Utterance], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    made = []
    for workers in (ONE, WorkerOptions(workers=2, cluster="ray")):
        plan = make_plan(rows, tmp_path / str(workers.cluster))
        with shared_workers(workers):
            codebook = obtain_codebook(plan, OPTIONS, workers)
            hear_corpus(plan, codebook, workers)
        made.append((codebook.digest, tables(plan)))
    assert made[0] == made[1]


def test_what_is_done_is_not_done_again(plan: Plan, rows: list[Utterance]) -> None:
    codebook = obtain_codebook(plan, OPTIONS, ONE)
    first = hear_corpus(plan, codebook, ONE)
    before = tables(plan)
    table_path(plan.work, "measured", 2).write_bytes(b"half a file")
    told: list[tuple[int, int]] = []
    again = hear_corpus(plan, codebook, ONE, lambda done, of: told.append((done, of)))
    assert (again.kept, again.rows, again.failed, again.seconds) == (3, first.rows, first.failed, first.seconds)
    assert told == [(4, 4)]
    assert tables(plan) == before
    changed = make_plan([*rows[:-1], Utterance("other.wav")], plan.work)
    assert hear_corpus(changed, codebook, ONE).kept == 3
    other = obtain_codebook(changed, CodebookOptions(units=4, rows=8, frames=500), ONE)
    assert hear_corpus(changed, other, ONE).kept == 0


_RUN = """
import sys
from pathlib import Path
from linnet.curation import shards
from linnet.curation.codebook import CodebookOptions
from linnet.curation.passes import hear_corpus, obtain_codebook
from linnet.curation.workers import WorkerOptions, shared_workers
from linnet.data import read_manifest
shards.ROWS = 5
plan = shards.make_plan(list(read_manifest(sys.argv[1])), Path(sys.argv[2]))
codebook = obtain_codebook(plan, CodebookOptions(units=16, rows=8, frames=1000), WorkerOptions(workers=1))
hear_corpus(plan, codebook, WorkerOptions(workers=1), lambda done, of: print(done, flush=True))
"""


def test_a_run_that_was_killed_goes_on(rows: list[Utterance], tmp_path: Path) -> None:
    from linnet.data import read_manifest, write_manifest

    many = [row for _ in range(3) for row in rows[:-1]]
    write_manifest(tmp_path / "m.jsonl", many)
    work = tmp_path / "killed"
    command = [sys.executable, "-c", _RUN, str(tmp_path / "m.jsonl"), str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    plan = make_plan(list(read_manifest(tmp_path / "m.jsonl")), work)
    codebook = obtain_codebook(plan, OPTIONS, ONE)
    report = hear_corpus(plan, codebook, ONE)
    assert 1 <= report.kept < report.shards
    whole = make_plan(list(read_manifest(tmp_path / "m.jsonl")), tmp_path / "whole")
    hear_corpus(whole, codebook, ONE)
    assert tables(plan) == tables(whole)


def test_the_codebook_is_kept_and_a_damaged_one_is_learned_again(plan: Plan) -> None:
    codebook = obtain_codebook(plan, OPTIONS, ONE)
    path = plan.work / "codebook.safetensors"
    written = path.stat().st_mtime_ns
    time.sleep(0.01)
    assert obtain_codebook(plan, OPTIONS, ONE).digest == codebook.digest
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"x")
    assert obtain_codebook(plan, OPTIONS, ONE).digest == codebook.digest
    assert Codebook.load(path)[1]["options"]["units"] == 16


def test_a_corpus_that_cannot_be_heard_at_all_still_has_its_rows(tmp_path: Path) -> None:
    plan = make_plan([Utterance(f"{number}.wav") for number in range(7)], tmp_path)
    report = hear_corpus(plan, obtain_codebook(plan, OPTIONS, ONE), ONE)
    assert (report.rows, report.failed, report.seconds) == (7, 7, 0.0)


def test_languages_are_drawn_evenly_and_in_any_order() -> None:
    rows = [Utterance(f"{number}.wav", language="en" if number % 50 else "sw") for number in range(1000)]
    drawn = draw(rows, 60, seed=0)
    assert Counter(rows[place].language for place in drawn) == {"en": 40, "sw": 20}
    assert Counter(rows[place].language for place in drawn[:30]) == {"en": 15, "sw": 15}
    assert drawn[:30] == draw(rows, 30, seed=0)
    assert {rows[place].id for place in drawn} == {rows[::-1][place].id for place in draw(rows[::-1], 60, seed=0)}
    assert drawn != draw(rows, 60, seed=1)
    assert len(draw(rows[:5], 60, seed=0)) == 5


def test_recordings_are_heard_in_their_order_and_stretches_by_their_start() -> None:
    rows = [Utterance("b", start=2.0), Utterance("a"), Utterance("b", start=1.0), Utterance("b", start=0.0, channel=1)]
    assert [place for place, _ in hear_all(rows)] == [2, 0, 1, 3]


def test_a_language_that_is_none_is_unknown() -> None:
    assert [language_of(code) for code in ("cmn_Hant", "en-US", "", "english", "xx-xx-xx-xx")] == [
        "zh-hant",
        "en-us",
        *["und"] * 3,
    ]


def test_recordings_inside_archives_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    manifest = corpus_formats.nemo_tarred(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    plan = make_plan(open_source(f"nemo:data/{manifest.name}"), Path("work"))
    codebook = obtain_codebook(plan, OPTIONS, ONE)
    monkeypatch.chdir("/")
    report = hear_corpus(plan, codebook, ONE)
    assert (report.failures, report.seconds) == ((), 1.5)
    assert read_tables(plan, "measured")["audio"][0].as_py() == "data/audio_0.tar::a.wav"
