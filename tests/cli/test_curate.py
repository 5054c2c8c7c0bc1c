"""`linnet curate` on a small corpus: what is kept, explained, compared, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.curation.selection import read_selection
from tests.support.calling import called

WORDS = ("ba", "da", "ga", "ma", "na")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty strings of tones, one for each word; one copy, one that is no audio, one of silence, one without a text."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    rows = []
    for number in range(40):
        said = random.integers(0, len(WORDS), 2 + number % 4)
        time = np.arange(4000) / 16_000
        parts = [0.3 * np.sin(2 * np.pi * 250 * 1.5**word * time) * np.hanning(4000) for word in said]
        sound = np.concatenate(parts) + 0.002 * random.standard_normal(4000 * len(said))
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
        rows.append({"audio": f"{number}.wav", "text": " ".join(WORDS[word] for word in said)})
    rows.append(rows[7] | {"id": "copy"})
    (folder / "broken.wav").write_bytes(b"no audio")
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    rows += [
        {"audio": "broken.wav", "text": "ba"},
        {"audio": "silence.wav", "text": "da"},
        {"audio": "3.wav", "id": "x"},
    ]
    for place, row in enumerate(rows):
        row |= {"language": "en", "speaker": f"s{place % 3}"}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def curated(corpus: Path) -> Path:
    """A curation of it, with its report."""
    output = corpus / "kept.jsonl"
    done = called(
        *("curate", corpus / "corpus.jsonl", "--keep", "0.4", "--output", output, "--workers", "1", "--json"),
        *("--report", corpus / "report.html"),
    )
    assert done.status == 0, done.err
    summary = json.loads(done.out)
    assert summary["recordings"] == 44
    assert summary["kept"] == len(output.read_text().splitlines())
    assert summary["kept_hours"] <= 0.4 * summary["hours"] + 1e-9
    assert {"unreadable", "no-speech", "no-text", "same-sound"} <= set(summary["fates"])
    assert "1 recordings cannot be read" in done.err
    return output


def test_kept_rows_have_scores_and_nothing_broken(curated: Path) -> None:
    rows = [json.loads(line) for line in curated.read_text().splitlines()]
    assert len(rows) > 8
    assert all(row["weight"] == 1.0 and "score_h_acoustic" in row for row in rows)
    names = {Path(row["audio"]).name for row in rows}
    assert not names & {"broken.wav", "silence.wav"}
    assert len(names) == len(rows)


def test_a_second_run_decodes_nothing_and_keeps_the_same(corpus: Path, curated: Path) -> None:
    before = curated.read_bytes()
    done = called("curate", corpus / "corpus.jsonl", "--keep", "0.4", "--output", curated, "--workers", "2")
    assert done.status == 0, done.err
    assert "1 of 1 shards existed" in done.err
    assert curated.read_bytes() == before


def test_one_recording_is_explained_and_an_unknown_one_named(curated: Path) -> None:
    work = curated.with_name("kept.jsonl.work")
    found = called("curate", "explain", work, "copy")
    assert found.status == 0, found.err
    assert "the other recording is 7.wav" in found.out
    missing = called("curate", "explain", work, "copi")
    assert missing.status != 0
    assert "did you mean" in missing.err


def test_other_budgets_leave_out_what_is_held_out_or_heard_otherwise(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "corpus.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    held = [row | {"audio": str(corpus / row["audio"])} for row in rows[:5]]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    heard = [{"id": "9.wav", "text": "ba da", "hypothesis": "nothing of it"}]
    (tmp_path / "heard.jsonl").write_text("".join(json.dumps(row) + "\n" for row in heard))
    done = called(
        *("curate", corpus / "corpus.jsonl", "--dry-run", "--json", "--work", tmp_path / "work", "--workers", "1"),
        *("--held-out", tmp_path / "held.jsonl", "--heard", tmp_path / "heard.jsonl"),
    )
    assert done.status == 0, done.err
    assert not (tmp_path / "work" / "selection.parquet").exists()
    made = called(
        *("curate", corpus / "corpus.jsonl", "--output", tmp_path / "kept.jsonl", "--work", tmp_path / "work"),
        *("--held-out", tmp_path / "held.jsonl", "--heard", tmp_path / "heard.jsonl", "--workers", "1"),
    )
    assert made.status == 0, made.err
    selection = read_selection(tmp_path / "work")
    fates = [selection.fates[row] for row in range(len(rows))]
    assert fates.count("leak") >= 4  # one or two may fail another gate before
    assert selection.checks["misheard"][9] > 0.5
    assert np.isnan(np.delete(selection.checks["misheard"], 9)).all()
    all_of_it = json.loads(done.out)[-1]
    assert all_of_it["share"] == 1.0
    assert all_of_it["rows"] == (selection.weights > 0).sum() < 40


def test_transcripts_are_heard_by_a_model_and_a_second_run_resumes(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "corpus.jsonl").read_text().splitlines()
    rows = [row | {"audio": str(corpus / row["audio"])} for row in map(json.loads, lines[:3])]
    manifest, heard = tmp_path / "some.jsonl", tmp_path / "heard.jsonl"
    manifest.write_text("".join(json.dumps(row | {"id": f"r{at}"}) + "\n" for at, row in enumerate(rows)))
    given = ("curate", "hear", manifest, "--model", "digits", "--output", heard, "--threads", "1")
    first = called(*given)
    assert first.status == 0, first.err
    assert "3 transcripts heard" in first.err
    found = [json.loads(line) for line in heard.read_text().splitlines()]
    assert sorted(row["id"] for row in found) == ["r0", "r1", "r2"]
    assert all(row["model"] == "digits" and np.isfinite(row["gain"]) for row in found)
    again = called(*given)
    assert "0 transcripts heard, 3 before" in again.err
    done = called(
        *("curate", manifest, "--output", tmp_path / "kept.jsonl", "--work", tmp_path / "work", "--workers", "1"),
        *("--heard", heard, "--force"),
    )
    assert done.status == 0, done.err
    gains = read_selection(tmp_path / "work").checks["unheard"]
    by_id = {row["id"]: row["gain"] for row in found}
    assert gains.tolist() == pytest.approx([by_id[f"r{at}"] for at in range(3)], abs=1e-5)


def test_heep_cuts_a_small_corpus_and_the_difference_is_shown(corpus: Path, curated: Path) -> None:
    other = corpus / "heep.jsonl"
    done = called(
        *("curate", corpus / "corpus.jsonl", "--preset", "heep", "--output", other, "--workers", "1"),
    )
    assert done.status == 0, done.err
    left = [int(line.split()[3]) for line in done.err.splitlines() if "hours above" in line]
    assert 9 <= left[-1] < left[0] <= 44  # a fifth at least, whatever min_samples says
    shown = called("curate", "diff", curated.with_name("kept.jsonl.work"), other.with_name("heep.jsonl.work"))
    assert shown.status == 0, shown.err
    assert shown.out.startswith("A keeps")


def test_a_page_has_the_confound_first_and_plays(corpus: Path, curated: Path) -> None:
    page = (corpus / "report.html").read_text()
    assert page.index("Correlation with duration") < page.index("Hours by speaker")
    assert "data:audio/mpeg" in page
    assert "same-sound" in page


def test_a_manifest_that_changed_is_curated_as_a_new_one(corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "corpus.jsonl").read_text().splitlines()]
    rows = [row | {"audio": str(corpus / row["audio"])} for row in rows]
    edited = [rows[1] | {"text": "na na na"}, *rows[2:30], rows[0]]
    manifest = tmp_path / "some.jsonl"
    for given in (rows[:20], edited, rows[:10]):  # it grows, with another order and text, and shrinks
        manifest.write_text("".join(json.dumps(row) + "\n" for row in given))
        made = []
        for work in (tmp_path / "work", tmp_path / f"work-{len(given)}"):
            output = tmp_path / f"{work.name}.jsonl"
            done = called("curate", manifest, "--output", output, "--work", work, "--workers", "1", "--force")
            assert done.status == 0, done.err
            made.append(output.read_bytes())
        assert made[0] == made[1]


def test_rows_that_cannot_be_used_are_on_record(corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "corpus.jsonl").read_text().splitlines()[:12]]
    rows = [row | {"audio": str(corpus / row["audio"])} for row in rows]
    bad = [rows[0] | {"duration": float("nan"), "id": "n"}, {"text": "no sound"}, rows[1] | {"text": 5, "id": "t"}]
    manifest, output = tmp_path / "some.jsonl", tmp_path / "kept.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *bad, rows[3]]) + "no json\n")
    done = called("curate", manifest, "--output", output, "--workers", "1", "--force", "--hours", "50")
    assert done.status == 0, done.err
    for said in (
        "0.00 hours are usable, less than the budget of 50.00",
        "4 of 17 rows cannot be used",
        "line 13",
        "line 14",
        "line 15",
        "1 rows have the id of an earlier row",
    ):
        assert said in done.err
        assert said in "\n".join(read_selection(output.with_name("kept.jsonl.work")).notices)
    manifest.write_text(json.dumps(rows[0] | {"text": ["ba"]}) + "\n")
    nothing = called("curate", manifest, "--output", output, "--workers", "1")
    assert nothing.status != 0
    assert "line 1: the key 'text'" in nothing.err
    assert "the corpus holds no utterances" in nothing.err


def test_a_dry_run_leaves_the_selection_and_a_corpus_is_not_overwritten(corpus: Path, curated: Path) -> None:
    manifest, work = corpus / "corpus.jsonl", curated.with_name("kept.jsonl.work")
    before = {path: path.read_bytes() for path in (manifest, curated, work / "selection.parquet")}
    assert called("curate", manifest, "--dry-run", "--work", work, "--keep", "0.1", "--workers", "1").status == 0
    for given, said in (
        (("--output", manifest), "is the corpus itself: choose another --output"),
        (("--output", f"{corpus}/./corpus.jsonl"), "is the corpus itself"),
        (("--output", curated, "--report", manifest), "is the corpus itself: choose another --report"),
        (("--output", curated, "--report", curated), "is --output as well"),
        (("--output", curated, "--mark", manifest), "--mark goes with --format nemo"),
        (("--output", corpus, "--format", "kaldi"), "would be replaced"),
        (("--output", curated, "--errors", corpus / "no.jsonl"), "no.jsonl: no such file"),
        (("--output", curated, "--heard", corpus / "no.jsonl"), "no.jsonl: no such file"),
        (("--output", curated, "--report", curated / "report.html"), "report.html: cannot write"),
        (("--output", curated, "--preset", "heep", "--hours", "1"), "keeps a share of the hours: give --keep"),
        (("--output", curated, "--preset", "heep", "--held-out", manifest), "gates, which preset heep does not have"),
        (("--output", curated, "--preset", "heep", "--heard", manifest), "gates, which preset heep does not have"),
    ):
        done = called("curate", manifest, *given, "--workers", "1")
        assert done.status != 0
        assert said in done.err
        assert "decoded" not in done.err, "refused before the work"
    assert {path: path.read_bytes() for path in before} == before


def test_what_cannot_be_is_refused(corpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "work"
    broken.mkdir()
    (broken / "selection.parquet").write_bytes(b"PAR1")
    damaged = called("curate", "explain", broken, "a")
    assert damaged.status != 0
    assert "the selection cannot be read" in damaged.err
    both = called("curate", corpus / "corpus.jsonl", "--keep", "0.2", "--hours", "1", "--output", tmp_path / "k")
    assert both.status != 0
    assert "give one of --keep and --hours" in both.err
    nowhere = called("curate", corpus / "corpus.jsonl")
    assert nowhere.status != 0
    assert "--output kept.jsonl" in nowhere.err
