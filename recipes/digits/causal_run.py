"""From a recipe to `digits-stream`: batches of streams, the model, and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from linnet.audio.effects import Rng
from linnet.audio.types import SAMPLE_RATE as RATE
from linnet.errors import OptionError
from linnet.training.batch import Batch
from linnet.training.causal.batches import Shape, causal_tensors, window_tensors
from linnet.training.causal.run import spec_of
from linnet.training.causal.targets import CausalExample, from_middle
from linnet.training.causal.task import load_causal
from linnet.training.causal.validate import StreamValidation
from linnet.training.freeze import counts
from linnet.training.loop import Validate
from linnet.training.numbered import NumberedPlan
from linnet.training.trainer import Trainer, make_accelerator

from .augment import Array
from .bank import Voice, Voices, load_fsdd
from .causal import DigitsCausalData, DigitsCausalRecipe
from .compose import Recording
from .dataset import ComposedBatches
from .tokens import WINDOW, Vocabulary
from .validate import edit_distance
from .words import DIGITS


def prepare(recipe: DigitsCausalRecipe) -> tuple[Trainer, DigitStreams, Validate | None]:
    """The trainer at its first step, its data, and its validation, where the recipe has real recordings."""
    options = recipe.optimization
    if not options.steps:
        raise OptionError("optimization: name the `steps`: the speech is put together anew for each, without an end.")
    accelerator = make_accelerator(recipe.run)
    count = options.steps * options.accumulate * accelerator.num_processes
    task = load_causal(
        recipe.start,
        recipe.freeze,
        spec_of(
            recipe.start,
            recipe.causal,
            language=None,
            aligner="the bounds of joined clips",
            hours=options.steps * recipe.data.batch_seconds / 3600,
        ),
        seed=recipe.run.seed,
        checkpointing=options.gradient_checkpointing,
        smoothing=recipe.smoothing,
        imitation=recipe.imitation,
    )
    data = DigitStreams(recipe, task.shape, count)
    data.load_voices(recipe.data.train_speakers)
    plan = NumberedPlan(count, accelerator.num_processes, recipe.run.seed, lower="`batch_seconds`")
    trainer = Trainer(recipe, task, plan, accelerator)
    if not recipe.data.fsdd:
        return trainer, data, None
    voices: Voices = {}
    load_fsdd(Path(recipe.data.fsdd), recipe.data.validation_speakers, voices)
    rng = np.random.default_rng([recipe.run.seed, 3])
    cases = [one for voice in voices["en"]["real"] for one in strings(voice, recipe.validation_strings, rng)]
    scored = StreamValidation(
        task.whisper.vocabulary, task.shape, cases, recipe.causal, error_rate, ["en"] * len(cases)
    )
    return trainer, data, lambda trained: scored.figures(trained.task.model)


def outline(recipe: DigitsCausalRecipe) -> Iterator[tuple[str, str]]:
    """What a recipe comes to, as rows of a table: what, and its figure."""
    trainer, data, _ = prepare(recipe)
    for part, count in counts(trainer.task.model, trainer.task.policy).items():
        yield part, f"{count.trained:,} trained, {count.frozen:,} frozen"
    voices = data.load_voices(recipe.data.train_speakers)
    found = (f"{len(of)} {kind} {code}" for code, kinds in voices.items() for kind, of in kinds.items())
    yield "voices", ", ".join(found)
    yield "steps", str(trainer.steps)


class DigitStreams(ComposedBatches):
    """`self[number]` is a whole batch, which depends on the seed and its number alone."""

    data: DigitsCausalData

    def __init__(self, recipe: DigitsCausalRecipe, shape: Shape, count: int) -> None:
        super().__init__(recipe.data, count, recipe.run.seed)
        self.causal, self.shape = recipe.causal, shape
        self.taught = bool(recipe.imitation)

    def __getitem__(self, number: int) -> Batch:
        if number >= self.count:
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, number])
        shares = np.array(self.data.shares)
        length = float(rng.choice(self.data.windows, p=shares / shares.sum()))
        whole = bool(rng.random() < self.causal.full_context)
        size = max(1, round(self.data.batch_seconds / (WINDOW if whole else length)))
        examples = [self.example(np.random.default_rng([self.seed, number, row]), length) for row in range(size)]
        if whole:
            tensors = window_tensors(examples, self.shape)
        else:
            tensors = causal_tensors(examples, self.causal, self.shape, rng, windows=self.taught)
        seconds = [one.seconds for one in examples]
        padded = tensors["features"].shape[1] / 100 * size
        return Batch(tensors, [f"batch {number}"], seconds, padded, [])

    def example(self, rng: Rng, length: float) -> CausalExample:
        """One recording of at most `length` seconds."""
        limit = min(length, WINDOW - self.causal.tail_pad / 50)
        recording = self.composer.compose(rng, limit, polluted=bool(rng.random() >= self.data.clean))
        made = example_of(recording, self.vocabulary)
        if rng.random() < self.data.middle:
            previous = self.vocabulary.special("startofprev")
            made = from_middle(made, [word.start for word in recording.words], previous, rng, most=4)
        return made


def example_of(recording: Recording, vocabulary: Vocabulary) -> CausalExample:
    """A recording as a causal model is trained on it; a word that its end cuts off is never said."""
    spelled = DIGITS[recording.language]
    return CausalExample(
        recording.samples,
        prefix_of(recording.language, vocabulary),
        tuple(vocabulary.word(spelled[word.digit]) for word in recording.words),
        tuple(word.end for word in recording.words),
    )


def prefix_of(language: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """What the decoder is given before the words."""
    return tuple(vocabulary.special(name) for name in ("startoftranscript", language, "transcribe", "notimestamps"))


def strings(voice: Voice, count: int, rng: Rng) -> Iterator[CausalExample]:
    """Strings of three to eight English digits of one voice, with gaps of 0.05 to 0.3 s and noise 50 dB below."""
    vocabulary = Vocabulary.build()
    for _ in range(count):
        digits = [int(digit) for digit in rng.integers(0, 10, int(rng.integers(3, 9)))]
        parts: list[Array] = [np.zeros(int(rng.uniform(0.1, 0.6) * RATE), np.float32)]
        ends: list[float] = []
        for digit in digits:
            clips = voice.digits[digit]
            parts.append(clips[int(rng.integers(len(clips)))].samples())
            ends.append(sum(map(len, parts)) / RATE)
            parts.append(np.zeros(int(rng.uniform(0.05, 0.3) * RATE), np.float32))
        samples = np.concatenate(parts) * np.float32(0.4)
        level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-50 / 20)
        samples = samples + np.float32(level) * rng.standard_normal(len(samples), dtype=np.float32)
        tokens = tuple(vocabulary.word(DIGITS["en"][digit]) for digit in digits)
        if len(samples) <= (WINDOW - 0.5) * RATE:
            yield CausalExample(samples, prefix_of("en", vocabulary), tokens, tuple(ends))


def error_rate(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str | None]) -> float:
    """Word errors summed / reference words summed."""
    del languages
    pairs = [(one.split(), other.split()) for one, other in zip(references, hypotheses, strict=True)]
    return sum(edit_distance(one, other) for one, other in pairs) / max(1, sum(len(one) for one, _ in pairs))
