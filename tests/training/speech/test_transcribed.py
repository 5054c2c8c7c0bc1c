"""Speech without texts that a model transcribes before the run."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnet.data import read_manifest, write_manifest
from linnet.errors import OptionError
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import run_recipe
from linnet.training.speech import transcribed
from linnet.training.speech.recipe import TrainingSource
from linnet.training.speech.transcribed import with_transcripts
from linnet.transcription.schedule import Result
from linnet.transcription.transcript import Segment, Transcript
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus

pytestmark = pytest.mark.usefixtures("quick")


class Counts:
    """A recognizer that hears how long each recording is: `one` for each 0.2 s; yields in reverse, as batches may."""

    languages = ("en", "de")

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, int]] = []

    def transcribe_many(self, sources: Iterable[Any], *, options: Any) -> Iterator[Result]:
        heard = list(sources)
        self.asked.append((options.language, len(heard)))
        for index, samples in reversed(list(enumerate(heard))):
            seconds = len(samples) / 16_000
            text = " ".join(["one"] * round(seconds / 0.2)) if np.abs(samples).max() > 0.1 else " "
            made = Transcript((Segment(0, seconds, text),), language="en", duration=seconds, source="", model="")
            yield Result(index, samples, "", duration=seconds, transcript=made)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    made = Counts()
    monkeypatch.setattr(transcribed, "load_recognizer", lambda name: made)
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """8 rows without texts, of no to three words; one is said to be German."""
    manifest = tone_corpus(tmp_path / "corpus", 8)
    rows = [replace(row, text=None, duration=None) for row in read_manifest(manifest)]
    rows[1] = replace(rows[1], language="de")
    write_manifest(manifest, rows)
    return manifest


def test_each_row_has_what_the_model_hears_in_it(counts: Counts, bare: Path, tmp_path: Path) -> None:
    told: list[str] = []
    source = TrainingSource(str(bare), transcribe_with="fake")
    (made,) = with_transcripts([source], tmp_path / "kept", RunContext(notify=told.append))
    texts = {row.id: (row.text, row.language) for row in read_manifest(made.path)}
    assert texts["3.wav"] == ("one one one", "en")
    assert texts["1.wav"] == ("one", "de")
    assert len(texts) == 6, "silence is left out"
    assert counts.asked == [("de", 1), ("en", 7)]
    assert any("6 of 8 rows" in line for line in told)
    assert with_transcripts([source], tmp_path / "kept", RunContext(notify=told.append)) == (made,)
    assert len(counts.asked) == 2, "it is kept"
    other = TrainingSource(str(bare), transcribe_with="another")
    with_transcripts([other], tmp_path / "kept", RunContext(notify=told.append))
    assert len(counts.asked) == 4


def test_recordings_are_found_from_the_folder_of_the_run(
    counts: Counts, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = TrainingSource(str(bare.relative_to(tmp_path)), transcribe_with="fake")
    (made,) = with_transcripts([source], Path("run/transcribed"), RunContext(notify=print))
    assert {row.audio for row in read_manifest(made.path)} < {str(one) for one in bare.parent.glob("*.wav")}


def test_other_sources_stay_as_they_are(counts: Counts, bare: Path, tmp_path: Path) -> None:
    (made,) = with_transcripts([TrainingSource(str(bare))], tmp_path / "kept", RunContext(notify=print))
    assert made.path == str(bare)
    assert not counts.asked


def test_what_cannot_be_read_is_named_or_left_out(counts: Counts, bare: Path, tmp_path: Path) -> None:
    (bare.parent / "2.wav").write_bytes(b"no sound")
    source, told = TrainingSource(str(bare), transcribe_with="fake"), []
    with pytest.raises(OptionError, match=r"2\.wav.*--skip-bad"):
        with_transcripts([source], tmp_path / "kept", RunContext(notify=told.append))
    (made,) = with_transcripts([source], tmp_path / "kept", RunContext(skip_bad=True, notify=told.append))
    texts = {row.id: row.text for row in read_manifest(made.path)}
    assert texts["3.wav"] == "one one one"
    assert "2.wav" not in texts


def test_nothing_heard_is_an_error(counts: Counts, bare: Path, tmp_path: Path) -> None:
    rows = [row for row in read_manifest(bare) if row.id in ("0.wav", "4.wav")]  # silence
    write_manifest(bare, rows)
    with pytest.raises(OptionError, match="recognized no words in its 2 rows"):
        with_transcripts(
            [TrainingSource(str(bare), transcribe_with="fake")], tmp_path / "kept", RunContext(notify=print)
        )


def test_a_recipe_trains_on_it_beside_recordings_with_texts(
    counts: Counts, bare: Path, bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    content = fusion_recipe(bases, manifest, tmp_path / "out", optimization={"steps": 2})
    content["data"]["train"].append({"path": str(bare), "transcribe_with": "fake"})
    content["data"]["validation"] = None
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    said = dict(dry_run(recipe))
    assert not counts.asked
    assert "32 utterances" in said["data"]
    assert len(list(run_recipe(recipe))) == 2
    assert (tmp_path / "out/corpus/transcripts/1.jsonl").is_file()
