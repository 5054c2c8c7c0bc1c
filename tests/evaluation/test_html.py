"""The page of an evaluation: whole, harmless whatever the transcripts hold, readable, and true to the numbers."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from linnet.audio import Samples
from linnet.errors import OutputError
from linnet.evaluation.clips import embed
from linnet.evaluation.errors import Step, analyze
from linnet.evaluation.html import Gap, PageOptions, direction, pieces, render, write_report
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.report import Summary, summarize
from linnet.evaluation.rows import rescore
from linnet.pages.media import AudioClip
from linnet.scoring.scores import count_errors
from linnet.text.normalizers import Normalizers

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onmouseover='alert(3)' </style> {{ 7 * 7 }}"
VOID = {"meta", "rect", "line", "circle", "input"}
SILENT = PageOptions(audio_megabytes=0)


def row(said: str, heard: str, number: int = 0, **more: object) -> ScoredRow:
    counts = count_errors(said, heard)
    made = ScoredRow(
        number,
        f"u{number}",
        "/nowhere/a.wav",
        said,
        "en",
        hypothesis=heard,
        normalizer="none",
        normalized_text=said,
        normalized_hypothesis=heard,
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        duration=2.0,
        seconds=0.1,
    )
    return replace(made, **more)


def summary(rows: list[ScoredRow], **made_with: object) -> Summary:
    header = {"model": "digits", "revision": "1", "dtype": "f32", "options": {"temperatures": (0.0, 0.2)}, **made_with}
    return summarize(rows, made_with=header, sessions=[{"machine": "a CPU", "batch_size": 8}])


def page(rows: list[ScoredRow], options: PageOptions = SILENT, **made_with: object) -> str:
    return render(analyze(rows), summary(rows, **made_with), options)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        found = [self] if self.tag == tag else []
        return found + [one for child in self.inside for one in child.all(tag)]

    def of(self, name: str) -> list[Element]:
        """Those with a class."""
        found = [self] if name in (self.attributes.get("class") or "").split() else []
        return found + [one for child in self.inside for one in child.of(name)]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Parsed(HTMLParser):
    """A page as elements; every tag must be closed in order. The text of an element includes what is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs)
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parse(text: str) -> Element:
    return Parsed(text).root


def elements(root: Element) -> list[Element]:
    return [root, *(one for child in root.inside for one in elements(child))]


ROWS = [
    row("nine one two", "five one two", 0, speaker="anna", duration=12.0),
    row("ice cream", "icecream", 1, speaker="ben"),
    row("", "you", 2),
    row("So it is.", "so it is", 3, normalized_text="so it is", normalized_hypothesis="so it is", substitutions=0),
    row("a", "", 4, error="b.wav: no such file", hypothesis=None),
]


# Safe and whole


def test_hostile_texts_stay_texts() -> None:
    hostile = row(HOSTILE, f"x {HOSTILE} y", 0, id=HOSTILE, speaker=HOSTILE, language=HOSTILE, audio=HOSTILE)
    failed = row("a", "b", 1, id=HOSTILE, error=HOSTILE)
    rows = [hostile, failed, row("", HOSTILE, 2)]
    root = parse(page(rows, PageOptions(title=HOSTILE, audio_megabytes=1), model=HOSTILE, prompt={HOSTILE: HOSTILE}))
    plain = parse(page(ROWS))
    assert len(root.all("script")) == len(root.all("style")) == 1
    assert not root.all("img")
    assert {one.tag for one in elements(root)} <= {one.tag for one in elements(plain)} | {"audio"}
    assert not [name for one in elements(root) for name in one.attributes if name.startswith("on") or name == "style"]
    assert root.all("h1")[0].words == " ".join(HOSTILE.split())
    assert "49" not in root.all("h1")[0].text


def test_secrets_of_addresses_are_not_shown() -> None:
    secret = row("a", "b", 0, audio="https://me:s3cret@host/a.wav?key=s3cret")
    assert "s3cret" not in page([secret])
    (clip,) = embed([secret], limit=10**6)
    assert "https://host/a.wav?…" in str(clip.note)
    assert "s3cret" not in str(clip.note)


def test_it_loads_nothing() -> None:
    root = parse(page(ROWS))
    addresses = [value for one in elements(root) for name, value in one.attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(value is not None and value.startswith("#") for value in addresses)
    style, script = root.all("style")[0].text, root.all("script")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"fetch|XMLHttp|import\b|https?:", script)


def test_the_policy_lets_these_two_run_and_nothing_else() -> None:
    root = parse(page(ROWS))
    (policy,) = [one for one in root.all("meta") if one.attributes.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy.attributes["content"] or "").split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("media-src") == "data:"
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        digest = base64.b64encode(hashlib.sha256(root.all(tag)[0].text.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules == {"base-uri": "'none'", "form-action": "'none'"}


def test_links_lead_to_places_that_are_there() -> None:
    root = parse(page(ROWS))
    names = [one.attributes["id"] for one in elements(root) if "id" in one.attributes]
    assert len(names) == len(set(names))
    wanted = [one.attributes["href"] for one in root.all("a")]
    wanted += [f"#{one.attributes['aria-labelledby']}" for one in root.all("section")]
    assert {str(one)[1:] for one in wanted} <= set(names)


# Accessible


def test_tables_have_heads_and_names() -> None:
    root = parse(page(ROWS))
    assert len(root.all("table")) >= 5
    for region in root.of("scroll"):
        assert region.attributes["aria-label"]
        assert region.attributes["tabindex"] == "0"
        (table,) = region.all("table")
        heads = table.all("thead")[0].all("th")
        assert all(one.attributes["scope"] == "col" and one.words for one in heads)
        for line in table.all("tbody")[0].all("tr"):
            assert len(line.inside) == len(heads)
            assert line.inside[0].tag == "th"
            assert line.inside[0].attributes["scope"] == "row"


def test_it_says_its_language_and_its_width() -> None:
    root = parse(page(ROWS))
    assert root.all("html")[0].attributes["lang"] == "en"
    assert any(one.attributes.get("name") == "viewport" for one in root.all("meta"))
    assert [one.tag for one in elements(root) if one.tag in ("header", "main", "footer")] == [
        "header",
        "main",
        "footer",
    ]
    assert all(one.words for one in root.all("label"))
    assert "@media (prefers-color-scheme: dark)" in root.all("style")[0].text


# True to the numbers


def test_the_summary_is_there() -> None:
    made = summary(ROWS)
    root = parse(page(ROWS))
    assert root.of("value")[0].words == "50.00%"
    facts = [(one.inside[0].words, one.inside[1].words) for one in root.of("facts")[0].inside]
    assert facts == made.lines()
    assert "options: temperatures" in root.text
    assert "0.0, 0.2" in root.text
    assert "1 failed and not in the rate" in root.text
    assert "b.wav: no such file" in root.text


@pytest.mark.parametrize("protocol", ["plain", "open-asr"])
def test_figure_tables_and_alignments_are_of_one_alignment(protocol: str) -> None:
    """A compound that is split by one and joined by the other is right everywhere, or wrong everywhere."""
    if protocol == "open-asr":
        pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    texts = [
        ("i scream for ice cream", "i scream for icecream"),
        ("a lakeside house", "the lake side house"),
        ("ice cream", "icecream"),
    ]
    raw = [row(*pair, number) for number, pair in enumerate(texts)]
    rows = list(rescore(raw, Normalizers("basic"), protocol))
    found, made = analyze(rows), summary(rows)
    counts = (made.substitutions, made.deletions, made.insertions)
    assert counts == {"plain": (4, 2, 1), "open-asr": (1, 0, 0)}[protocol]
    assert (found.total.substitutions, found.total.deletions, found.total.insertions) == counts
    assert sum(one.aligned.counts.errors for one in found.worst) == sum(counts)
    root = parse(render(found, made, SILENT))
    substituted, deleted, inserted = counts
    assert [one.words for one in root.of("legend")[0].all("li")] == [
        f"{substituted} substituted",
        f"{deleted} deleted",
        f"{inserted} inserted",
    ]
    steps = [one for article in root.all("article") for one in article.of("alignment")]
    assert [sum(len(one.of(kind)) for one in steps) for kind in "sdi"] == list(counts)
    assert {one.reference for one in found.compounds} >= {"ice cream"}
    assert (f"protocol {protocol}, {made.score.scorer}") in root.of("lead")[-1].words


def test_the_worst_come_first_with_their_alignment() -> None:
    articles = parse(page(ROWS)).all("article")
    assert [one.all("h3")[0].words for one in articles] == ["u1", "u2", "u0"]
    compound, silence, digits = articles
    assert compound.attributes["data-kinds"] == "compound"
    assert compound.of("tags")[0].words == "Compounds only"
    assert [one.words for one in digits.of("alignment")[0].of("s")] == ["substituted: nine by fiveS"]
    assert [one.words for one in compound.of("alignment")[0].of("d")] == ["deleted: cream–D"]
    assert [one.words for one in silence.of("alignment")[0].of("i")] == ["inserted: –youI"]
    assert "1 error in 3 words" in digits.of("about")[0].words
    assert digits.of("about")[0].words.endswith("33% · anna · en · 12.0 s")


@pytest.mark.parametrize(
    ("text", "answer"),
    [("שלום", "rtl"), ("12 مرحبا", "rtl"), ("hello שלום", "ltr"), ("日本", "ltr"), ("12", "ltr"), ("", "ltr")],
)
def test_direction_of_writing(text: str, answer: str) -> None:
    assert direction(text) == answer


def test_scripts_from_right_to_left_are_shown_so() -> None:
    root = parse(page([row("שלום לכולם", "שלום כולם", language="he"), row("one", "two", 1)]))
    found = [(one.attributes["dir"], one.attributes["lang"]) for one in root.of("alignment")]
    assert sorted(found) == [("ltr", "en"), ("rtl", "he")]


STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 60)).map(
        lambda run: [Step("equal", "a", "a") if run[0] else Step("substitute", "a", "b")] * run[1]
    ),
    max_size=20,
).map(lambda runs: [step for run in runs for step in run])


@given(STEPS)
def test_gaps_hide_no_error_and_lose_no_word(steps: list[Step]) -> None:
    shown = pieces(steps)
    gaps = [one for one in shown if isinstance(one, Gap)]
    kept = [one for one in shown if isinstance(one, Step)]
    assert sum(one.words for one in gaps) + len(kept) == len(steps)
    wrong = sum(one.kind != "equal" for one in kept) + sum(one.errors for one in gaps)
    assert wrong == sum(one.kind != "equal" for one in steps)
    assert all(one.errors == 0 for one in gaps) or len(steps) > 400
    assert len(kept) <= 400
    assert shown == steps or any(one.words >= 6 for one in gaps) or len(steps) > 400


def test_without_errors_and_without_rows() -> None:
    root = parse(page([row("so it is", "so it is")]))
    assert "No word errors." in root.text
    assert "No utterance has an error." in root.text
    assert not root.all("article")
    assert "the references have no words" in parse(page([])).text


# Sounds


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 16000) / 16000)
    soundfile.write(path, samples, 16000)
    return path


def heard(clip: AudioClip) -> tuple[Samples, int]:
    kind, _, data = (clip.address or "").partition(",")
    assert kind == "data:audio/mpeg;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    return samples, rate


def test_a_sound_is_what_was_recorded(sound: Path) -> None:
    (clip,) = embed([row("a", "b", audio=str(sound), duration=3.0)], limit=10**6)
    samples, rate = heard(clip)
    assert clip.note is None
    assert rate == 16000
    assert len(samples) / rate == pytest.approx(3.0, abs=0.2)
    loudest = np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)
    assert loudest == pytest.approx(440, abs=2)


def test_a_long_sound_is_cut_and_says_so(sound: Path) -> None:
    (clip,) = embed([row("a", "b", audio=str(sound), duration=3.0)], limit=10**6, seconds=1.0)
    samples, rate = heard(clip)
    assert len(samples) / rate == pytest.approx(1.0, abs=0.2)
    assert clip.note == "the first 1 s"


def test_a_stretch_of_a_recording_is_cut_out(sound: Path) -> None:
    made = row("a", "b", audio=str(sound), duration=0.5)
    object.__setattr__(made, "start", 1.0)
    object.__setattr__(made, "end", 1.5)
    (clip,) = embed([made], limit=10**6)
    samples, rate = heard(clip)
    assert len(samples) / rate == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("audio", ["/nowhere/a.wav", "https://example.org/a.wav", "-", "corpus.tar::a.wav"])
def test_a_sound_that_cannot_be_read_has_a_note(audio: str, sound: Path) -> None:
    missing, there = embed([row("a", "b", audio=audio), row("a", "b", audio=str(sound))], limit=10**6)
    assert missing.address is None
    assert (missing.note or "").startswith("no audio: ")
    assert audio in (missing.note or "") or audio == "-"
    assert there.address


def test_a_library_without_mp3_is_said(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "check_format", lambda *_: False)
    (clip,) = embed([row("a", "b", audio=str(sound))], limit=10**6)
    assert clip == AudioClip(note="no audio: this libsndfile cannot write MP3; install version 1.1 or later")


def test_sounds_come_from_where_they_are_asked() -> None:
    def read(one: ScoredRow, seconds: float) -> Samples:
        return np.full(int(16000 * min(one.duration, seconds)), 0.1, np.float32)

    (clip,) = embed([row("a", "b", audio="corpus.tar::a.wav")], limit=10**6, read=read)
    assert len(heard(clip)[0]) / 16000 == pytest.approx(2.0, abs=0.2)


def test_sounds_stay_within_the_limit(sound: Path) -> None:
    rows = [row("a", "b", number, audio=str(sound), duration=3.0) for number in range(5)]
    whole = [len(clip.address or "") for clip in embed(rows, limit=10**6)]
    limit = whole[0] * 5 // 2
    clips = list(embed(rows, limit=limit))
    assert [clip.address is not None for clip in clips] == [True, True, False, False, False]
    assert all("limit" in (clip.note or "") for clip in clips[2:])
    root = parse(page(rows, PageOptions(audio_megabytes=limit / 1e6)))
    assert len(root.all("audio")) == 2
    assert re.search(r"2 can be played \([\d.]+ kB of at most [\d.]+ kB of audio\)", " ".join(root.text.split()))


# The file


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    found = write_report(path, iter(ROWS), summary(ROWS), PageOptions(title="Ours", audio_megabytes=0))
    assert path.read_text(encoding="utf-8") == render(found, summary(ROWS), PageOptions("Ours", audio_megabytes=0))
    assert found.total.errors == 4
    assert list(tmp_path.iterdir()) == [path]


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        write_report(tmp_path / "none" / "report.html", ROWS, summary(ROWS), SILENT)
