"""Validation: the error rate of a model by decoding, scored by a given function."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils import gather_object

from linnet.data.samples import UtteranceReader
from linnet.models.loading import quiet
from linnet.training.batch import tensors_to
from linnet.training.context import Score
from linnet.training.loop import Validate
from linnet.training.speech.corpus import Corpus
from linnet.training.speech.model import SpeechTask
from linnet.training.speech.recipe import SpeechRunSettings
from linnet.training.trainer import Trainer


@torch.no_grad()
def transcripts(trainer: Trainer, task: SpeechTask, run: SpeechRunSettings, corpus: Corpus) -> list[str]:
    """The current model's transcripts, decoded in batches of similar length.

    Processes share the work, and each returns all transcripts.
    """
    model, inputs = task.model, task.inputs
    order = np.argsort(corpus.lengths.durations, kind="stable").tolist()
    made: list[tuple[int, str]] = []
    model.eval()
    with UtteranceReader() as reader:
        size = run.validation_batch
        for first in range(trainer.rank * size, len(order), trainer.world * size):
            rows = order[first : first + size]
            given = inputs.audio([reader.read(corpus.utterances[row]).samples for row in rows])
            with quiet(), trainer.accelerator.autocast():  # for the model; features are float32
                ids = model.generate(
                    **tensors_to(given, trainer.accelerator.device),
                    **inputs.generate_options([corpus.utterances[row].language for row in rows]),
                    num_beams=run.beams,
                    max_new_tokens=min(run.max_new_tokens, inputs.most or run.max_new_tokens),
                    synced_gpus=False,  # weights are gathered: no process waits for another's tokens
                )
            made += zip(rows, inputs.texts(ids), strict=True)
    return [text for _, text in sorted(gather_object(made))]


def validation(task: SpeechTask, run: SpeechRunSettings, corpus: Corpus, score: Score) -> Validate:
    """A function that decodes a validation set and scores it."""
    references = [utterance.text or "" for utterance in corpus.utterances]
    languages = [utterance.language for utterance in corpus.utterances]

    def validate(trainer: Trainer) -> dict[str, float]:
        return {"wer": score(references, transcripts(trainer, task, run, corpus), languages)}

    return validate
