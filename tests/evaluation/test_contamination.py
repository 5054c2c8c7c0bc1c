"""What was planted in the training data is found, counted and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from linnet.data import Utterance
from linnet.data.duplicates import DuplicateOptions
from linnet.errors import OutputError
from linnet.evaluation.contamination import Match, find_contamination
from tests.support.syllables import RATE, later, speechlike


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, list[Utterance]]:
    """Three evaluation utterances; the training has the first as it is, the second as mp3, the third's text."""
    (tmp_path / "e").mkdir()
    texts = [
        "the first of three sentences here",
        "another one of which the sound is copied",
        "copied in its words only",
    ]
    evaluation, training = [], []
    for at, text in enumerate(texts):
        soundfile.write(tmp_path / f"e/{at}.wav", speechlike(at), RATE, subtype="PCM_16")
        evaluation.append(Utterance(str(tmp_path / f"e/{at}.wav"), text, id=f"e{at}"))
    soundfile.write(tmp_path / "0.flac", soundfile.read(tmp_path / "e/0.wav", dtype="int16")[0], RATE)
    soundfile.write(tmp_path / "1.mp3", later(speechlike(1)), RATE)
    soundfile.write(tmp_path / "2.wav", speechlike(12), RATE)
    soundfile.write(tmp_path / "3.wav", speechlike(13, 0.05), RATE)
    for name, text in (
        ("0.flac", None),
        ("1.mp3", "nothing that is said over there"),
        ("2.wav", texts[2]),
        ("3.wav", "no"),
        ("gone.wav", None),
    ):
        training.append(Utterance(str(tmp_path / name), text, id=name))
    return {"training": training, "evaluation": evaluation}


def test_what_was_planted_is_found_and_what_cannot_be_read_is_told(
    corpus: dict[str, list[Utterance]], tmp_path: Path
) -> None:
    done: list[int] = []
    result = find_contamination(**corpus, on_progress=done.append)
    found = [(match.kind, match.training, match.evaluation) for match in result.matches]
    assert found == [
        ("same-audio", "0.flac", "e0"),
        ("near-audio", "1.mp3", "e1"),
        ("near-text", "2.wav", "e2"),
    ]
    assert result.matches[1].start == pytest.approx(1_061 / RATE, abs=0.08)  # the codec adds a delay of its own
    assert (result.contaminated, result.utterances) == (3, {"same-audio": 1, "near-audio": 1, "near-text": 1})
    assert done == [1, 2, 3, 4, 5]
    seen = result.training
    assert (seen.utterances, seen.recordings, seen.recordings_too_short, seen.failed) == (5, 3, 1, 1)
    assert (seen.texts, seen.texts_too_short) == (2, 1)
    assert "gone.wav" in result.failures[0]
    lines = result.lines()
    assert lines[0] == "3 of 3 evaluation utterances are in the training data in some form"
    assert any(line.startswith("near-audio 0.9") and "e1 is in 1.mp3 at 0.1 s" in line for line in lines)
    result.write(tmp_path / "matches.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "matches.jsonl").read_text().splitlines()]
    assert [Match(**row) for row in rows] == list(result.matches)
    assert json.loads(json.dumps(result.to_dict()))["contaminated"] == 3


def test_sounds_or_texts_alone(corpus: dict[str, list[Utterance]]) -> None:
    sounds = find_contamination(**corpus, options=DuplicateOptions(texts=False))
    texts = find_contamination(**corpus, options=DuplicateOptions(audio=False))
    assert {match.kind for match in sounds.matches} == {"same-audio", "near-audio"}
    assert {match.kind for match in texts.matches} == {"near-text"}
    assert texts.failures == ()
    assert texts.training.recordings == 0


def test_many_matches_are_counted_but_not_all_listed(tmp_path: Path) -> None:
    text = "everybody in this set says the same"
    rows = [Utterance("e.wav", text, id=str(at)) for at in range(50)]
    result = find_contamination([Utterance("t.wav", text)], rows, DuplicateOptions(audio=False))
    assert (len(result.matches), result.contaminated) == (10, 50)
    with pytest.raises(OutputError, match="folder is missing"):
        result.write(tmp_path / "no" / "matches.jsonl")


def test_nothing_in_nothing() -> None:
    result = find_contamination([], [])
    assert (result.matches, result.contaminated) == ((), 0)
    assert result.lines()[0].startswith("0 of 0 evaluation utterances")
