"""Batched long-form: nothing is lost at the edges of windows, and the embedded model hears long recordings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import linnet
from linnet.audio import load, open_audio
from linnet.audio.detectors import PauseCutter, VoiceActivity
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Audio, Samples
from linnet.audio.vad import Region
from linnet.errors import AudioError, OptionError
from linnet.transcription.backend import Job, Outcome, Request
from linnet.transcription.longform import Languages, WindowTranscript, batched
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.recognizer import Recognizer
from linnet.transcription.schedule import run_jobs
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import Window, WindowPlan

LIMIT = 10 * SAMPLE_RATE


@dataclass
class Scripted:
    """A listener and a plan in one: `windows` are planned, `answers` maps a window's start and end to what is heard."""

    windows: list[Window]
    answers: dict[tuple[float, float], WindowTranscript]
    asked: list[list[tuple[float, float]]] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    length = 60 * SAMPLE_RATE

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)

    def prepare(self, window: Window) -> Window:
        return window

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        self.languages.append(language)
        return Request(window.samples, TranscriptionOptions(), group=(window.start, window.end))

    def read(self, window: Window, answer: Any) -> WindowTranscript:
        heard = self.answers[window.start / SAMPLE_RATE, window.end / SAMPLE_RATE]
        return replace(heard, language=answer) if answer and heard.language else heard

    def play(self, languages: Languages | None = None, ahead: int = 8) -> Outcome:
        languages = languages or Languages("en", each=False)
        job = batched(self, languages=languages, recognizer=self, limit=LIMIT, ahead=ahead)  # type: ignore[arg-type]
        reply: Sequence[Any] | None = None
        while True:
            try:
                requests = job.send(reply)  # type: ignore[arg-type]
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome
            self.asked.append([(one.group[0] / SAMPLE_RATE, one.group[1] / SAMPLE_RATE) for one in requests])
            reply = self.languages[-len(requests) :]


def window(start: float, end: float, *speech: tuple[float, float], joined: bool = False) -> Window:
    regions = tuple(Region(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in speech or [(start, end)])
    samples = np.zeros(round((end - start) * SAMPLE_RATE), np.float32)
    return Window(round(start * SAMPLE_RATE), samples, regions, joined)


def said(
    resume: float, *parts: tuple[float, float, str], language: str | None = None, **chances: float
) -> WindowTranscript:
    return WindowTranscript(tuple(Segment(*part) for part in parts), resume, False, language, chances or None)


def text(outcome: Outcome) -> str:
    return " ".join(segment.text for segment in outcome.segments)


def test_windows_are_asked_together_and_stitched_by_time() -> None:
    play = Scripted([window(1, 5), window(7, 12)], {(1, 5): said(5, (1, 5, "a")), (7, 12): said(12, (7, 12, "b"))})
    outcome = play.play()
    assert play.asked == [[(1, 5), (7, 12)]]
    assert text(outcome) == "a b"
    assert outcome.counts is not None
    assert (outcome.counts.windows, outcome.counts.nonspeech_seconds) == (2, 51.0)
    assert ["51.0 of 60.0 s were skipped" in notice for notice in outcome.notices] == [True]


def test_no_more_windows_are_held_than_asked_for() -> None:
    windows = [window(at, at + 1) for at in range(40)]
    play = Scripted(windows, {(at, at + 1): said(at + 1, (at, at + 1, str(at))) for at in range(40)})
    assert text(play.play(ahead=6)) == " ".join(map(str, range(40)))
    assert max(map(len, play.asked)) == 6


def test_what_a_windows_end_cut_is_heard_again() -> None:
    answers = {(1, 9): said(6, (1, 6, "a")), (6, 9): said(9, (6, 9, "b")), (20, 22): said(22, (20, 22, "c"))}
    play = Scripted([window(1, 9), window(20, 22)], answers)
    assert text(play.play()) == "a b c"
    assert play.asked == [[(1, 9), (20, 22)], [(6, 9)]]


def test_a_rest_without_speech_is_left_alone() -> None:
    play = Scripted([window(1, 9, (1, 6))], {(1, 9): said(6, (1, 6, "a"))})
    assert text(play.play()) == "a"
    assert play.asked == [[(1, 9)]]


def test_a_joined_window_begins_where_the_last_whole_phrase_ended() -> None:
    windows = [window(0, 9), window(9, 15, joined=True), window(30, 32)]
    answers = {(0, 9): said(7, (0, 7, "a")), (7, 15): said(15, (7, 15, "b")), (30, 32): said(32, (30, 32, "c"))}
    play = Scripted(windows, answers)
    assert text(play.play()) == "a b c"
    assert play.asked == [[(0, 9), (30, 32)], [(7, 15)]]


def test_two_joined_windows_that_are_too_long_together_are_cut_anew() -> None:
    windows = [window(0, 9), window(9, 18, joined=True)]
    windows[1].samples[:] = 0.1
    windows[1].samples[4 * SAMPLE_RATE : 5 * SAMPLE_RATE] = 0.0  # 13 to 14 s
    play = Scripted(windows, {})
    heard: list[tuple[float, float]] = []

    def read(window: Window, answer: Any) -> WindowTranscript:
        start, end = window.start / SAMPLE_RATE, window.end / SAMPLE_RATE
        heard.append((start, end))
        return said(5 if start == 0 else end, (start, end, "x"))

    play.read = read  # type: ignore[method-assign]
    play.play()
    assert [start for start, _ in heard] == [0, 5, pytest.approx(13.98, abs=0.05)]
    assert [end for _, end in heard] == [9, pytest.approx(13.98, abs=0.05), 18]


def test_speech_that_the_model_passed_over_is_heard_again_alone() -> None:
    planned = window(0, 9, (0.5, 2), (4, 5), (7, 8.5))
    answers = {(0, 9): said(9, (0.5, 2, "a"), (7, 8.5, "c")), (3.7, 5.3): said(5.3, (4, 5, "b"))}
    play = Scripted([planned], answers)
    assert text(play.play()) == "a b c"
    assert play.asked == [[(0, 9)], [(3.7, 5.3)]]


def test_speech_after_the_last_segment_is_heard_again() -> None:
    planned = window(0, 9, (0.5, 2), (6, 7), (7.2, 8.5))
    play = Scripted([planned], {(0, 9): said(9, (0.5, 2, "a")), (5.7, 8.8): said(8.8)})
    assert text(play.play()) == "a"
    assert play.asked == [[(0, 9)], [(5.7, 8.8)]]  # and not once more


SKIPPED = "six words for all of this"
WHOLE = "six words for all of this and the sentence that was skipped before it"


@pytest.mark.parametrize(("second", "kept", "low_confidence"), [(WHOLE, WHOLE, 0), ("six words", SKIPPED, 1)])
def test_a_segment_with_too_few_words_is_heard_again_and_the_longer_text_stands(
    second: str, kept: str, low_confidence: int
) -> None:
    first = said(9, (0.5, 2, "a b c"), (2, 8.5, SKIPPED))
    first = replace(first, thin=first.segments[1:])
    planned = window(0, 9, (0.5, 2), (2.2, 8.5))
    play = Scripted([planned], {(0, 9): first, (2, 8.8): said(8.8, (2, 8.8, second))})
    outcome = play.play()
    assert text(outcome) == f"a b c {kept}"
    assert play.asked == [[(0, 9)], [(2, 8.8)]]  # and not once more
    assert outcome.counts is not None
    assert outcome.counts.low_confidence_segments == low_confidence


def test_a_stretch_that_keeps_too_few_words_is_heard_in_parts_until_their_words_are_found() -> None:
    """The whole skips again, then its second half does; the parts stand, in order, with high confidence."""
    skipped = said(9, (0, 9, "one two"))
    planned = window(0, 9, (0.2, 3), (3.4, 6.2), (6.4, 8.8))
    answers = {
        (0, 9): replace(skipped, thin=skipped.segments),
        (0, 3.2): said(3.2, (0, 3.2, "one two three four")),
        (3.2, 9): said(9, (3.2, 9, "nine ten")),
        (3.2, 6.3): said(6.3, (3.2, 6.3, "five six seven eight")),
        (6.3, 9): said(9, (6.3, 9, "nine ten eleven")),
    }
    answers[3.2, 9] = replace(answers[3.2, 9], thin=answers[3.2, 9].segments)
    outcome = (play := Scripted([planned], answers)).play()
    assert text(outcome) == "one two three four five six seven eight nine ten eleven"
    assert play.asked == [[(0, 9)], [(0, 9)], [(0, 3.2), (3.2, 9)], [(3.2, 6.3), (6.3, 9)]]
    assert outcome.counts is not None
    assert outcome.counts.low_confidence_segments == 0


@pytest.mark.parametrize("parts", [("the phrase that was skipped", "then what was heard"), ("", "what was heard")])
def test_a_stretch_of_which_words_are_known_to_be_missing_is_heard_in_parts(parts: tuple[str, str]) -> None:
    """Enough words for the speech, and as many when it is heard again: only the times of the words told of the rest."""
    first = said(9, (0, 9, "then what was heard"))
    planned = window(0, 9, (0.2, 3), (3.4, 6.2), (6.4, 8.8))
    answers = {
        (0, 9): replace(first, thin=first.segments, skipping=first.segments),
        (0, 3.2): said(3.2, (0, 3.2, parts[0])) if parts[0] else said(3.2),
        (3.2, 9): said(9, (3.2, 9, parts[1])),
    }
    play = Scripted([planned], answers)
    assert text(play.play()) == (" ".join(parts) if parts[0] else "then what was heard")
    assert play.asked == [[(0, 9)], [(0, 9)], [(0, 3.2), (3.2, 9)]]  # and not once more


def test_a_stretch_begins_with_the_speech_that_its_segment_begins_in() -> None:
    late = said(9, (0.5, 2, "a b c"), (4.6, 8.5, SKIPPED))
    late = replace(late, thin=late.segments[1:])
    planned = window(0, 9, (0.5, 2), (4, 5.2), (5.4, 8.5))
    play = Scripted([planned], {(0, 9): late, (3.7, 8.8): said(8.8, (3.7, 8.8, WHOLE))})
    assert text(play.play()) == f"a b c {WHOLE}"
    assert play.asked == [[(0, 9)], [(3.7, 8.8)]]


def test_parts_that_say_less_leave_the_first_hearing_as_it_was() -> None:
    slow = said(9, (0, 9, "so few words for so much speech"))
    answers = {(0, 9): replace(slow, thin=slow.segments), (0, 4.5): said(4.5), (4.5, 9): said(9, (4.5, 9, "much"))}
    outcome = Scripted([window(0, 9, (0, 4), (5, 9))], answers).play()
    assert text(outcome) == slow.segments[0].text
    assert outcome.counts is not None
    assert outcome.counts.low_confidence_segments == 1  # seven words in 8 s


def test_a_very_long_pause_is_cut_out_of_a_stretch_that_is_heard_again() -> None:
    planned = window(0, 9, (0.5, 2), (2.5, 3), (6.5, 7.5))
    answers = {
        (0, 9): said(9, (0.5, 2, "a")),
        (2.2, 3.3): said(3.3, (2.5, 3, "b")),
        (6.2, 7.8): said(7.8, (6.5, 7.5, "c")),
    }
    play = Scripted([planned], answers)
    assert text(play.play()) == "a b c"
    assert play.asked == [[(0, 9)], [(2.2, 3.3), (6.2, 7.8)]]


def test_what_is_left_of_a_window_begins_where_speech_goes_on() -> None:
    planned = window(0, 9, (0.5, 3.3), (7, 8.5))  # 0.3 s after the last timestamp are the end of its phrase
    play = Scripted([planned], {(0, 9): said(3, (0.5, 3, "a")), (6.7, 9): said(9, (7, 8.5, "b"))})
    assert text(play.play()) == "a b"
    assert play.asked == [[(0, 9)], [(6.7, 9)]]


def test_a_single_window_keeps_the_language_that_it_was_heard_in() -> None:
    """Of a short clip another language than the likeliest may explain the sound better."""
    languages = Languages(None, each=False)
    languages.count(WindowTranscript((Segment(0, 1, "a"),), 1.0, language="zh", probabilities={"ja": 0.5, "zh": 0.4}))
    languages.decide()
    assert languages.chosen == "zh"
    languages = Languages(None, each=False)
    for language, chances in (("zh", {"ja": 0.5, "zh": 0.4}), ("ja", {"ja": 0.9, "zh": 0.1})):
        languages.count(WindowTranscript((Segment(0, 1, "a"),), 1.0, language=language, probabilities=chances))
    assert languages.best == "ja"


def test_a_window_without_words_tells_the_language_where_no_other_does() -> None:
    languages = Languages(None, each=False)
    languages.count(WindowTranscript((), 1.0, language="it", probabilities={"it": 0.9}))
    languages.decide()
    assert (languages.best, languages.chosen, languages.voting) == ("it", None, True)
    languages.count(WindowTranscript((Segment(0, 1, "a"),), 1.0, language="fr", probabilities={"fr": 0.6}))
    assert languages.best == "fr"


def test_the_language_is_voted_on_and_windows_of_another_are_heard_again() -> None:
    answers = {
        (0, 5): said(5, (0, 5, "a"), language="?", en=0.6, de=0.4),
        (6, 9): said(9, (6, 9, "b"), language="?", en=0.1, de=0.9),
        (20, 25): said(25, language="?", en=1.0, de=0.0),  # without words it has no voice
    }
    play = Scripted([window(0, 5), window(6, 9), window(20, 25)], answers)
    first = iter(["en", "de", "en"])
    read = play.read

    def told(window: Window, answer: Any) -> WindowTranscript:
        heard = read(window, answer)
        return replace(heard, language=next(first)) if answer is None else replace(heard, probabilities=None)

    play.read = told  # type: ignore[method-assign]
    outcome = play.play(Languages(None, each=False))
    assert play.asked == [[(0, 5), (6, 9), (20, 25)], [(0, 5), (20, 25)]]
    assert play.languages == [None, None, None, "de", "de"]
    assert outcome.language == "de"
    assert outcome.language_probabilities == pytest.approx({"de": 0.65, "en": 0.35})
    assert list(outcome.language_probabilities or {}) == ["de", "en"]
    assert outcome.language_probability == pytest.approx(0.65)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "linnet-prefetch"]


class Hearing:
    """A backend of a few lines on batched long-form: hears one word in each window; may fail."""

    languages: tuple[str, ...] = ()
    engine_name = "hearing"

    def __init__(self, fault: BaseException | None = None) -> None:
        self.fault = fault
        self.batches: list[int] = []

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        plan = WindowPlan(source, SAMPLE_RATE, VoiceActivity() if options.vad else PauseCutter())
        return batched(plan, self, Languages("en", each=False), limit=SAMPLE_RATE, ahead=ahead)

    def prepare(self, window: Window) -> Window:
        return replace(window, joined=False)

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        return Request(window.samples, TranscriptionOptions())

    def read(self, window: Window, answer: Any) -> WindowTranscript:
        start, end = window.start / SAMPLE_RATE, window.end / SAMPLE_RATE
        return WindowTranscript((Segment(start, end, answer),), end)

    def run(self, requests: Sequence[Request]) -> list[str]:
        self.batches.append(len(requests))
        if self.fault is not None:
            raise self.fault
        return ["word"] * len(requests)


NO_VAD = TranscriptionOptions(vad=False)


def loud(seconds: float) -> Audio:
    return Audio(np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)).astype(np.float32))


def test_no_thread_is_left_when_a_run_ends_early_or_fails() -> None:
    list(run_jobs(Hearing(), [loud(30)], NO_VAD, 4))
    assert not threads()
    results = run_jobs(Hearing(), [loud(2), loud(60)], NO_VAD, 4)
    next(results)
    assert threads()
    results.close()
    assert not threads()
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(Hearing(KeyboardInterrupt()), [loud(60)], NO_VAD, 4))
    assert not threads()


def test_an_error_in_the_sound_fails_its_recording_only() -> None:
    class Torn:
        name, duration, notices = "torn", None, ()

        def read(self, start: int, count: int) -> Samples:
            if start > 5 * SAMPLE_RATE:
                raise AudioError("torn: is damaged at 5 s")
            return np.ones(count, np.float32)

        def close(self) -> None:
            pass

    results = list(run_jobs(Hearing(), [Torn(), loud(3)], NO_VAD, 4))
    assert [str(result.error) for result in results if result.error] == ["torn: is damaged at 5 s"]
    assert [result.index for result in results if result.outcome] == [1]
    assert not threads()


def test_a_long_recording_fills_its_batches() -> None:
    backend = Hearing()
    (result,) = run_jobs(backend, [loud(40)], NO_VAD, 8)
    assert result.outcome is not None
    assert sum(backend.batches) == len(result.outcome.segments) > 40
    assert backend.batches.count(8) >= 4


@pytest.fixture(scope="module")
def digits() -> Recognizer:
    return linnet.load("digits", device="cpu")


@pytest.fixture(scope="module")
def pieces(root: Path) -> dict[str, Samples]:
    """Strings that the embedded model hears without an error one by one."""
    sound = load(root / "examples" / "digits-long.flac").samples
    edge = 0.08
    lines = (root / "examples" / "digits-long.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        piece["text"]: sound[round((piece["start"] - edge) * SAMPLE_RATE) : round((piece["end"] + edge) * SAMPLE_RATE)]
        for piece in map(json.loads, lines)
    }


def recording(pieces: dict[str, Samples], gaps: Sequence[float], last: float = 0.0) -> tuple[Audio, list[Any]]:
    """One string after each gap (seconds), and when each is said; quiet noise below all of it."""
    parts, times, at = [], [], 0
    for gap, (words, samples) in zip(gaps, list(pieces.items()) * len(gaps), strict=False):
        parts += [np.zeros(round(gap * SAMPLE_RATE), np.float32), samples]
        begun = at + len(parts[-2])
        at = begun + len(samples)
        times.append((words, begun / SAMPLE_RATE + 0.08, at / SAMPLE_RATE - 0.08))
    sound = np.concatenate([*parts, np.zeros(round(last * SAMPLE_RATE), np.float32)])
    noise = 3e-4 * np.random.default_rng(0).standard_normal(len(sound), dtype=np.float32)
    return Audio((sound + noise).astype(np.float32)), times


def test_every_string_is_heard_with_its_time(digits: Recognizer, pieces: dict[str, Samples]) -> None:
    """Silences up to 90 s. Shorter ones than 1.2 s, which put strings into one window, are benchmarks/longform.py's."""
    sound, times = recording(pieces, [0.1, 1.2, 90.0, 3.0, 1.5, 10.0, 40.0, 2.0, 5.0])
    transcript = digits.transcribe(sound)
    assert [segment.text for segment in transcript.segments] == [words for words, _, _ in times]
    for segment, (_, start, end) in zip(transcript.segments, times, strict=True):
        assert segment.start == pytest.approx(start, abs=0.3)
        assert segment.end == pytest.approx(end, abs=0.3)
    assert transcript.language == "en"
    assert transcript.language_probabilities is not None
    assert sum(transcript.language_probabilities.values()) == pytest.approx(1.0)
    assert list(transcript.language_probabilities.values()) == sorted(transcript.language_probabilities.values())[::-1]
    assert transcript.counts is not None
    assert transcript.counts.nonspeech_seconds == pytest.approx(transcript.duration - 9 * 2.6, abs=8)


def test_a_word_at_the_very_end_and_the_very_start(digits: Recognizer, pieces: dict[str, Samples]) -> None:
    sound, times = recording(pieces, [0.0, 20.0])
    cut = Audio(sound.samples[round(0.08 * SAMPLE_RATE) : len(sound.samples) - round(0.06 * SAMPLE_RATE)])
    transcript = digits.transcribe(cut)
    assert [segment.text for segment in transcript.segments] == [words for words, _, _ in times]


def test_a_word_across_the_border_of_a_plain_window_is_heard_once(
    digits: Recognizer, pieces: dict[str, Samples]
) -> None:
    """The border of the 10 s window lies at each place of a string once; without voice activity."""
    for shift in np.arange(8.1, 10.2, 0.7):
        sound, times = recording(pieces, [float(shift), 5.0])
        for vad in (True, False):
            transcript = digits.transcribe(sound, vad=vad, language="en")
            assert transcript.text == " ".join(words for words, _, _ in times), (shift, vad)


@pytest.mark.parametrize("vad", [True, False])
def test_silence_music_and_noise_say_nothing(digits: Recognizer, vad: bool) -> None:
    rng, count = np.random.default_rng(0), 25 * SAMPLE_RATE
    time = np.arange(count) / SAMPLE_RATE
    chord = sum(0.1 * np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    noise = rng.standard_normal(count)
    sounds = {"silence": 0 * time, "noise": 0.05 * noise, "chord": chord, "bursts": 0.2 * noise * (time % 1.0 < 0.2)}
    for name, sound in sounds.items():
        transcript = digits.transcribe(Audio(np.asarray(sound, np.float32)), vad=vad)
        assert transcript.text == "", name
        assert transcript.counts is not None
        assert transcript.counts.nonspeech_seconds == (25.0 if vad or name == "silence" else 0.0)


def test_what_was_left_out_is_said(digits: Recognizer) -> None:
    (result,) = digits.transcribe_many([Audio(np.zeros(30 * SAMPLE_RATE, np.float32))])
    assert result.notices == (
        "no speech was detected: 30.0 of 30.0 s were skipped (--no-vad includes them, as for singing).",
    )


def test_many_bursts_of_noise_end_at_constant_memory(digits: Recognizer) -> None:
    """200 here, 10,000 in benchmarks/longform.py."""
    sound = np.zeros(200 * SAMPLE_RATE, np.float32).reshape(200, SAMPLE_RATE)
    sound[:, 3200:6400] = 0.2 * np.random.default_rng(0).standard_normal((200, 3200))
    source: Any = open_audio(Audio(sound.reshape(-1)))
    (result,) = digits.transcribe_many([source])
    assert result.transcript is not None
    assert result.transcript.text == ""


def test_each_window_may_tell_its_own_language(digits: Recognizer, root: Path) -> None:
    german, english = (load(root / "examples" / f"digits-{code}.flac").samples for code in ("de", "en"))
    pause = np.zeros(4 * SAMPLE_RATE, np.float32)
    mixed = Audio(np.concatenate([german, pause, english, pause, german]))
    transcript = digits.transcribe(mixed, language_per_segment=True)
    assert [segment.language for segment in transcript.segments] == ["de", "en", "de"]
    assert [segment.text for segment in transcript.segments][:2] == [
        "zwei sieben eins acht",
        "three one four one five nine",
    ]
    assert transcript.language in ("de", "en")


def test_options_that_exclude_one_another() -> None:
    with pytest.raises(OptionError, match="in sequence: use long_form sequential"):
        TranscriptionOptions(long_form="batched", condition_on_previous=True)
    with pytest.raises(OptionError, match="'chunked' is unknown: use batched or sequential"):
        TranscriptionOptions(long_form="chunked")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="give only one"):
        TranscriptionOptions(language="de", language_per_segment=True)
