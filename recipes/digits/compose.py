"""Compose training recordings: digits of one voice strung together, then a room, a line and noise around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from linnet.audio import effects
from linnet.audio.effects import Rng
from linnet.audio.types import SAMPLE_RATE as RATE

from . import augment
from .augment import Array
from .bank import DigitClip, Voice, Voices

PHRASE_GAP = 0.5  # seconds of silence that end a phrase
ENGINE_SHARES = {"real": 0.36, "world": 0.17, "morph": 0.17, "espeak": 0.19, "flite": 0.08, "festival": 0.03}
NARROW = ("real", "world", "morph")  # engines whose speech ends at 4 kHz
CONTEXT = (16, 11, 11)  # classes of each column of `context_targets`


@dataclass(frozen=True)
class Word:
    """A spoken digit at `start` to `end` seconds; `exact` where the bounds are known and not only guessed."""

    digit: int
    start: float
    end: float
    exact: bool = True


@dataclass
class Recording:
    """Samples [N] and what is said in them; `cut` is the start of a word that the end of the samples cuts off."""

    samples: Array
    language: str
    words: list[Word] = field(default_factory=list)
    cut: float | None = None

    def phrases(self) -> list[list[Word]]:
        """Words grouped by silences of at least `PHRASE_GAP` seconds."""
        groups: list[list[Word]] = []
        for word in self.words:
            if groups and word.start - groups[-1][-1].end < PHRASE_GAP:
                groups[-1].append(word)
            else:
                groups.append([word])
        return groups


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of recording."""

    english: float = 0.6
    empty: float = 0.11
    cut: float = 0.25
    alone: float = 0.28


@lru_cache(maxsize=1)  # seconds of work for 40 MB, which each composer of a process would do again
def make_noises(seed: int) -> Mapping[str, Sequence[Array]]:
    """12 s each of noises of every kind, read-only; the same for the same seed."""
    rng = np.random.default_rng([seed, 7])
    length = 12 * RATE
    noises = {
        "pink": [effects.colored(rng, length, float(p)) for p in rng.uniform(0, 2.2, 12)],
        "hum": [augment.hum(rng, length) for _ in range(4)],
        "music": [augment.music(rng, length) for _ in range(24)],
        "clicks": [augment.clicks(rng, length) for _ in range(12)],
    }
    for made in noises.values():
        for one in made:
            one.setflags(write=False)
    return noises


class Composer:
    """Makes recording after recording from voices and a bank of noises.

    Deterministic: what `compose` returns depends on its generator and on the seed of the noises alone.
    """

    def __init__(self, voices: Voices, mix: Mix, seed: int) -> None:
        self.voices = voices
        self.mix = mix
        self.noises = make_noises(seed)

    def compose(self, rng: Rng, window: float, *, polluted: bool = True) -> Recording:
        """One recording of at most `window` seconds, `polluted` by a room, a line and noise."""
        if rng.random() < self.mix.empty:
            language = str(rng.choice(sorted(self.voices)))
            return Recording(self._empty(rng, window), language)
        others = sorted(set(self.voices) - {"en"})
        english = not others or ("en" in self.voices and rng.random() < self.mix.english)
        language = "en" if english else str(rng.choice(others))
        engine = self._engine(rng, language)
        recording = self._string(rng, window, language, engine)
        if polluted:
            recording.samples = self.pollute(rng, recording.samples, narrow=engine in NARROW)
        return recording

    def _engine(self, rng: Rng, language: str) -> str:
        engines = sorted(self.voices[language])
        shares = np.array([ENGINE_SHARES[engine] for engine in engines])
        return str(rng.choice(engines, p=shares / shares.sum()))

    def _string(self, rng: Rng, window: float, language: str, engine: str) -> Recording:
        """Words of one voice with gaps, in as many seconds as they need up to `window`."""
        voices = self.voices[language][engine]
        voice = voices[int(rng.integers(len(voices)))]
        speed = float(np.clip(rng.normal(1.0, 0.09), 0.78, 1.28))
        cut = rng.random() < self.mix.cut and window >= 2.0
        count = 99 if cut else (1 if rng.random() < self.mix.alone else int(rng.integers(2, 13)))
        limit = round(window * RATE)
        canvas = np.zeros(limit, np.float32)
        recording = Recording(canvas, language)
        position = self._lead(rng, window, tight=cut)
        spread = 10.0 if rng.random() < 0.25 else 4.0  # dB between the words of a string
        pace = float(rng.uniform(0.0, 0.25))
        while len(recording.words) < count:
            clip = self._pick(rng, voice, count - len(recording.words))
            local = speed * float(rng.uniform(0.94, 1.06))
            sound = effects.resample(clip.samples(), local) * 10 ** (rng.uniform(-spread, spread) / 20)
            if position + len(sound) > limit:
                if cut:
                    self._cut_off(rng, recording, sound, clip, position, local)
                break
            canvas[position : position + len(sound)] += sound
            recording.words += _words(clip, position, local)
            position = max(0, position + len(sound) + self._gap(rng, pace))
        if recording.cut is None and not (cut and recording.words and rng.random() < 0.3):
            recording.samples = canvas[: self._end(rng, recording, limit)]
        return recording

    def _lead(self, rng: Rng, window: float, *, tight: bool) -> int:
        """Samples of silence before the first word."""
        kind = rng.random()
        if tight or kind < 0.45:
            return int(rng.uniform(0, 0.12) * RATE)
        if kind < 0.9:
            return int(min(rng.exponential(0.5), 0.5 * window) * RATE)
        return int(rng.uniform(0, 0.75 * window) * RATE)

    def _gap(self, rng: Rng, pace: float) -> int:
        """Samples between two words; a little less than none where they run together."""
        if rng.random() < 0.12:
            return int(rng.uniform(0.55, 2.5) * RATE)
        return int(np.clip(pace + rng.normal(0, 0.06), -0.03, 0.32) * RATE)

    def _pick(self, rng: Rng, voice: Voice, room: int) -> DigitClip:
        strings = voice.strings if room >= 2 else []
        if strings and rng.random() < 0.35:
            clip = strings[int(rng.integers(len(strings)))]
            if len(clip.digits) <= room:
                return clip
        digits = sorted(voice.digits)
        clips = voice.digits[digits[int(rng.integers(len(digits)))]]
        return clips[int(rng.integers(len(clips)))]

    def _cut_off(
        self, rng: Rng, recording: Recording, sound: Array, clip: DigitClip, position: int, speed: float
    ) -> None:
        """Let the end of the samples fall inside a word of `sound`; keep the words before it."""
        limit = len(recording.samples)
        if clip.bounds is None or not recording.words:
            return
        words = _words(clip, 0, speed)
        whole = [word for word in words if position / RATE + word.end <= limit / RATE]
        word = words[min(len(whole), len(words) - 1)]
        start, end = int(word.start * RATE), int(word.end * RATE)
        seen = limit - position - start
        share = seen / max(1, end - start)
        if not 0.15 <= share <= 0.8:
            position = limit - start - int(rng.uniform(0.25, 0.7) * (end - start))
        if position < recording.words[-1].end * RATE or position >= limit:
            return
        recording.samples[position:] += sound[: limit - position]
        recording.words += [_moved(other, position / RATE) for other in whole]
        recording.cut = (position + start) / RATE

    def _end(self, rng: Rng, recording: Recording, limit: int) -> int:
        last = int(recording.words[-1].end * RATE) if recording.words else int(rng.uniform(0.3, 1) * limit)
        kind = rng.random()
        if kind < 0.35:
            after = rng.uniform(0.0, 0.12)
        elif kind < 0.85:
            after = rng.exponential(0.7)
        else:
            after = limit / RATE
        return max(1600, min(limit, last + int(after * RATE)))

    def _noise(self, rng: Rng, length: int) -> Array:
        """[length] of one kind of noise at unit level, often with its own color."""
        kind = str(
            rng.choice(["white", "pink", "hum", "music", "clicks", "babble"], p=[0.3, 0.32, 0.08, 0.14, 0.1, 0.06])
        )
        if kind == "white":
            return rng.standard_normal(length, dtype=np.float32)
        if kind == "babble":
            return self._babble(rng, length)
        pool = self.noises[kind]
        noise = pool[int(rng.integers(len(pool)))]
        start = int(rng.integers(0, len(noise) - length + 1))
        return effects.unit(noise[start : start + length])

    def _babble(self, rng: Rng, length: int) -> Array:
        """Ten voices at once, none of them to be understood."""
        output = np.zeros(length, np.float32)
        for _ in range(10):
            language = str(rng.choice(sorted(self.voices)))
            engine = self._engine(rng, language)
            voices = self.voices[language][engine]
            voice = voices[int(rng.integers(len(voices)))]
            position = int(rng.integers(-RATE // 2, RATE // 2))
            while position < length:
                sound = self._pick(rng, voice, 1).samples()[::-1] * rng.uniform(0.3, 1)
                first = max(0, -position)
                sound = sound[first : first + length - max(position, 0)]
                output[max(position, 0) : max(position, 0) + len(sound)] += sound
                position += len(sound) + first + int(rng.integers(400, 6000))
        return effects.unit(output)

    def _empty(self, rng: Rng, window: float) -> Array:
        """Silence, noise, hum, music or clicks at any level."""
        length = int(rng.uniform(0.2, 1.0) * window * RATE) if rng.random() < 0.6 else round(window * RATE)
        kind = rng.random()
        if kind < 0.08:
            return np.zeros(length, np.float32)
        samples = self._noise(rng, length)
        if rng.random() < 0.35:
            samples = samples + self._noise(rng, length) * float(10 ** rng.uniform(-1.5, 0.5))
        if rng.random() < 0.3:
            envelope = np.interp(np.arange(length), np.linspace(0, length, 9), rng.uniform(0, 1, 9) ** 2)
            samples = samples * envelope.astype(np.float32)
        if rng.random() < 0.6:
            samples = self._color(rng, samples)
        peak = float(np.abs(samples).max())
        return (samples * (10 ** (rng.uniform(-75, 0) / 20) / max(peak, 1e-6))).astype(np.float32)

    def _color(self, rng: Rng, samples: Array) -> Array:
        size = fft.next_fast_len(len(samples), real=True)
        frequencies = fft.rfftfreq(size, 1 / RATE).astype(np.float32)
        gain = augment.tilt_and_bands(rng, frequencies, 1.5)
        if rng.random() < 0.5:
            gain = gain * _line(rng, frequencies, narrow=False)
        colored: Array = fft.irfft(fft.rfft(samples, size) * gain, size)[: len(samples)].astype(np.float32)
        return colored

    def pollute(self, rng: Rng, samples: Array, *, narrow: bool) -> Array:
        """Room, color, top band, noise, line, level, coding: each by chance."""
        length = len(samples)
        response = effects.room_response(rng) if rng.random() < 0.5 else None
        size = fft.next_fast_len(length + (0 if response is None else len(response)), real=True)
        frequencies = fft.rfftfreq(size, 1 / RATE).astype(np.float32)
        spectrum = fft.rfft(samples, size)
        if narrow and rng.random() < 0.4:
            spectrum = augment.fold_up(spectrum, frequencies, float(10 ** (rng.uniform(-30, 4) / 20)))
        if response is not None:
            spectrum = spectrum * fft.rfft(response, size)
        if rng.random() < 0.75:
            spectrum = spectrum * augment.tilt_and_bands(rng, frequencies)
        level = float(np.sqrt(np.mean(np.square(samples)) + 1e-12))
        if rng.random() < 0.85:
            decibels = float(rng.uniform(3, 25) if rng.random() < 0.5 else rng.uniform(20, 60))
            noise = fft.rfft(self._noise(rng, length), size) * (level * 10 ** (-decibels / 20))
            spectrum = spectrum + (noise * augment.tilt_and_bands(rng, frequencies) if rng.random() < 0.5 else noise)
        if rng.random() < (0.3 if narrow else 0.65):
            spectrum = spectrum * _line(rng, frequencies, narrow=True)
        output: Array = fft.irfft(spectrum, size)[:length].astype(np.float32)
        return _level_and_code(rng, output)


def _line(rng: Rng, frequencies: Array, *, narrow: bool) -> Array:
    """The pass band of a telephone, a radio or a poor microphone."""
    high = float(rng.uniform(3300, 4100)) if narrow and rng.random() < 0.75 else float(rng.uniform(3000, 7500))
    low = float(rng.uniform(80, 420)) if rng.random() < 0.4 else 0.0
    return augment.band(rng, frequencies, low, high)


def _level_and_code(rng: Rng, samples: Array) -> Array:
    samples = samples * (10 ** (rng.uniform(-35, 0) / 20) / max(1e-6, float(np.abs(samples).max())))
    kind = rng.random()
    if kind < 0.06:
        return effects.mu_law(samples, 8)
    if kind < 0.12:
        limit = float(np.abs(samples).max()) * rng.uniform(0.25, 0.8)
        return np.clip(samples, -limit, limit).astype(np.float32)
    if kind < 0.5:
        return (np.round(samples * 32767) / 32768).astype(np.float32)
    return samples.astype(np.float32)


def _words(clip: DigitClip, position: int, speed: float) -> list[Word]:
    """The words of a clip placed at sample `position` and played `speed` times as fast."""
    if clip.bounds is None:
        step = clip.length / len(clip.digits)
        edges = [(round(i * step), round((i + 1) * step)) for i in range(len(clip.digits))]
    else:
        edges = list(clip.bounds)
    return [
        Word(digit, (position + first / speed) / RATE, (position + end / speed) / RATE, clip.bounds is not None)
        for digit, (first, end) in zip(clip.digits, edges, strict=True)
    ]


def _moved(word: Word, seconds: float) -> Word:
    return Word(word.digit, word.start + seconds, word.end + seconds, word.exact)


def frame_targets(recording: Recording, frames: int, first_class: int) -> NDArray[np.int64]:
    """What each of `frames` encoder frames (20 ms) hears: 0 nothing, `first_class` + digit, -100 not known."""
    labels = np.zeros(frames, np.int64)
    for word in recording.words:
        first, end = round(word.start * 50), round(word.end * 50)
        labels[first:end] = first_class + word.digit if word.exact else -100
    if recording.cut is not None:
        labels[round(recording.cut * 50) : round(len(recording.samples) / RATE * 50)] = -100
    return labels


def context_targets(recording: Recording, frames: int) -> NDArray[np.int64]:
    """What came before the word at each of `frames` encoder frames (20 ms): [frames, 3].

    How many words (up to 15), the digit before it and the one before that (10: none); -100 where no word with exact
    bounds is heard.
    """
    most, none = CONTEXT[0] - 1, CONTEXT[1] - 1
    labels = np.full((frames, len(CONTEXT)), -100, np.int64)
    digits = [none, none]
    for number, word in enumerate(recording.words):
        if word.exact:
            labels[round(word.start * 50) : round(word.end * 50)] = (min(number, most), digits[-1], digits[-2])
        digits.append(word.digit)
    return labels
