"""An evaluation of a live system: rows that resume, figures of the summary, and what has no times or no stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.data.manifest import WordTime
from linnet.data.sources import open_source
from linnet.errors import OptionError
from linnet.evaluation.job import EvaluationJob, Files, Scoring
from linnet.evaluation.report import Summary
from linnet.evaluation.streams.reference import from_transcript
from linnet.evaluation.streams.report import summarize_streams
from linnet.evaluation.streams.system import StreamChoice, StreamSystem
from linnet.scoring.latency import SpokenWord
from linnet.text.normalizers import Normalizers
from linnet.transcription.options import TranscriptionOptions
from tests.support.fake_live import FakeLive


class Watch:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.finished_rows: list[Any] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begin(self, files: int) -> None:
        pass

    def progress(self, progress: Any) -> None:
        pass

    def finished(self, row: Any) -> None:
        self.finished_rows.append(row)


def words(*ends: float) -> list[dict[str, Any]]:
    names = ("one", "two", "three")
    return [{"word": name, "start": end - 0.5, "end": end} for name, end in zip(names, ends, strict=False)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings of three seconds: two speakers with word times, and one row without them."""
    soundfile.write(tmp_path / "a.wav", np.zeros(3 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    rows = [
        {"audio": "a.wav", "id": "a", "text": "One two three!", "speaker": "x", "words": words(0.8, 1.8, 2.8)},
        {"audio": "a.wav", "id": "b", "text": "one too three", "speaker": "y", "words": words(0.6, 1.6, 2.6)},
        {"audio": "a.wav", "id": "c", "text": "one two three", "speaker": "y"},
    ]
    rows[1]["words"][1]["word"] = "too"
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"language": "en", **row}) + "\n" for row in rows))
    return path


def evaluate(
    path: Path, live: FakeLive, rows: Path | None = None, *, language: str | None = None, **choice: Any
) -> tuple[Summary, Watch]:
    watch = Watch()
    scoring = Scoring("basic", "plain", TranscriptionOptions(language=language), batch_size=1, channel="mix")
    job = EvaluationJob(StreamSystem(lambda: live, StreamChoice(0.5, **choice)), scoring, watch)
    return job.run(open_source(str(path)), Files(rows, None, restart=False, limit=None)), watch


def test_lags_are_of_recognized_words_with_times(corpus: Path) -> None:
    """Guess k comes at second k + 1 and is final a second later; the third is final at the end, at 3 s."""
    summary, _ = evaluate(corpus, FakeLive())
    stream = summary.stream
    assert stream is not None
    assert (summary.words, summary.substitutions) == (9, 1)
    assert (stream.streams, stream.timed, stream.words, stream.lags) == (3, 2, 6, 5)
    lags = sorted([2 - 0.8, 3 - 1.8, 3 - 2.8, 2 - 0.6, 3 - 2.6])
    assert stream.audio.commit_lag is not None
    assert stream.audio.commit_lag.p50 == pytest.approx(lags[2])
    assert stream.audio.commit_lag.p95 == pytest.approx(np.quantile(lags, 0.95))
    assert stream.audio.emission_lag is not None
    assert stream.audio.emission_lag.mean == pytest.approx(np.mean([0.2, 0.2, 0.2, 0.4, 0.4]))
    assert stream.audio.first_text is not None
    assert stream.audio.first_text.p50 == pytest.approx(((1 - 0.3) + (1 - 0.1)) / 2)
    assert stream.audio.commit_p50_interval is not None
    assert stream.final_wer == pytest.approx(1 / 6)
    assert (stream.erased, stream.final_words) == (0, 9)
    assert stream.counters == {"decodes": 18}
    # LAAL: final at 2, 3 and 3 s, of which the one that reaches the source's end is the last that counts
    assert stream.audio.laal == pytest.approx(((2 - 0) + (3 - 1)) / 2)


def test_prefixes_are_compared_at_each_chunk_and_at_the_end(corpus: Path) -> None:
    """Points 0.5 to 3 s and the end; b: words begin at 0.1, 1.1 and 2.1 s and are shown at 1, 2 and 3 s."""
    only = corpus.read_text().splitlines()[1]
    corpus.write_text(only + "\n")
    summary, _ = evaluate(corpus, FakeLive())
    assert summary.stream is not None
    said = [1, 1, 2, 2, 3, 3, 3]
    wrong = [1, 0, 1, 1, 2, 1, 1]  # "too" is substituted from second 2 on
    assert summary.stream.audio.prefix_wer == pytest.approx(sum(wrong) / sum(said))


def test_rows_resume_with_their_streams(corpus: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    whole, _ = evaluate(corpus, FakeLive(), rows)
    lines = rows.read_text().splitlines()
    assert json.loads(lines[0])["options"]["stream"] == {"policy": "fake", "chunk": 0.5, "align": False}
    rows.write_text("\n".join(lines[:3]) + "\n")  # header, session, one row
    live = FakeLive()
    resumed, watch = evaluate(corpus, live, rows)
    assert len(live.opened) == 2
    assert "1 of 3 utterances are already scored" in watch.notices
    assert resumed.stream is not None
    assert whole.stream is not None
    assert resumed.stream.audio == whole.stream.audio
    other = FakeLive()
    other.options["policy"] = "another"
    with pytest.raises(OptionError, match="was made with another stream"):
        evaluate(corpus, other, rows)


def test_a_damaged_stream_is_played_again(corpus: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    evaluate(corpus, FakeLive(), rows)
    rows.write_text(rows.read_text().replace('"chunk": 0.5, "compute"', '"chunk": "?", "compute"', 1))
    live = FakeLive()
    summary, watch = evaluate(corpus, live, rows)
    assert len(live.opened) == 1
    assert summary.utterances == 3
    assert any("its stream is damaged" in line for line in watch.notices)


def test_a_stream_that_fails_is_a_failed_row(corpus: Path) -> None:
    summary, watch = evaluate(corpus, FakeLive(fails_at=2))
    assert (summary.failed, summary.stream) == (3, None)
    assert watch.finished_rows[0].error == "the stream ended: no more"


def test_a_language_of_the_manifest_fails_its_row_and_one_of_the_command_raises(corpus: Path) -> None:
    corpus.write_text(corpus.read_text().replace('"language": "en"', '"language": "de"', 1))
    summary, watch = evaluate(corpus, FakeLive())
    assert summary.failed == 1
    assert "'de' is unknown to this model" in (watch.finished_rows[0].error or "")
    with pytest.raises(OptionError, match="'de' is unknown"):
        evaluate(corpus, FakeLive(), language="de")


def test_without_times_the_lag_is_not_measured_and_said(corpus: Path) -> None:
    corpus.write_text(corpus.read_text().splitlines()[2] + "\n")
    summary, _ = evaluate(corpus, FakeLive())
    lines = dict(summary.lines())
    assert lines["lag"] == "not measured: no row has its words' times (key words, or --align)"
    assert lines["erased words"] == "0 (0.000 per final word)"
    assert "commit lag, audio" not in lines
    assert summary.stream is not None
    assert summary.stream.audio.prefix_wer is None


def test_times_may_come_from_an_offline_transcript(corpus: Path) -> None:
    def align(samples: Samples, language: str | None) -> Sequence[WordTime]:
        assert (len(samples), language) == (3 * SAMPLE_RATE, "en")
        return [WordTime("One,", 0.2, 0.7), WordTime("tree", 2.0, 2.5)]

    corpus.write_text(corpus.read_text().splitlines()[2] + "\n")
    summary, _ = evaluate(corpus, FakeLive(), align=align)
    assert summary.stream is not None
    assert (summary.stream.timed, summary.stream.words, summary.stream.lags) == (1, 1, 1)
    assert summary.stream.audio.commit_lag is not None
    assert summary.stream.audio.commit_lag.p50 == pytest.approx(2 - 0.7)


def test_words_that_were_not_heard_share_the_time_between_their_neighbors() -> None:
    heard = [WordTime("b", 2.0, 2.5), WordTime("x", 3.0, 3.2), WordTime("e", 4.5, 5.0)]
    found = from_transcript("a b cc d e f", heard, 6.0, str.lower)
    assert found == [
        SpokenWord("a", 0.0, 2.0, sure=False),
        SpokenWord("b", 2.0, 2.5),
        SpokenWord("cc", 2.5, pytest.approx(2.5 + 4 / 3), sure=False),
        SpokenWord("d", pytest.approx(2.5 + 4 / 3), 4.5, sure=False),
        SpokenWord("e", 4.5, 5.0),
        SpokenWord("f", 5.0, 6.0, sure=False),
    ]


def test_the_summary_as_text_and_json(corpus: Path) -> None:
    summary, _ = evaluate(corpus, FakeLive())
    lines = dict(summary.lines())
    assert lines["streams"] == "3, in chunks of 0.5 s"
    assert lines["words with a lag"] == "5 of 6"
    assert lines["commit lag, audio"].startswith("p50 1.20 (")
    assert lines["prefix WER, wall"].endswith("(ARWER)")
    data = json.loads(json.dumps(summary.to_dict()))
    assert data["stream"]["audio"]["commit_lag"]["count"] == 5
    assert data["stream"]["normalized_erasure"] == 0.0


def test_rows_of_offline_recognition_have_no_figures_of_streams() -> None:
    assert summarize_streams([], Normalizers()) is None
