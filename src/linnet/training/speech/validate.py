"""The error rate of a model by real decoding; how errors are counted is a function that is given."""

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
    """What the model as it stands writes for each utterance; those of like length are decoded together.

    Several processes share the work, and each has the whole answer.
    """
    model, inputs = task.model, task.inputs
    order = np.argsort(corpus.lengths.durations, kind="stable").tolist()
    made: list[tuple[int, str]] = []
    model.eval()
    with UtteranceReader() as listener:
        size = run.validation_batch
        for first in range(trainer.rank * size, len(order), trainer.world * size):
            rows = order[first : first + size]
            heard = inputs.sounds([listener.read(corpus.utterances[row]).samples for row in rows])
            with quiet(), trainer.accelerator.autocast():  # the model, not the features: those are float32
                ids = model.generate(
                    **tensors_to(heard, trainer.accelerator.device),
                    **inputs.asking([corpus.utterances[row].language for row in rows]),
                    num_beams=run.beams,
                    max_new_tokens=min(run.max_new_tokens, inputs.most or run.max_new_tokens),
                    synced_gpus=False,  # the loop has gathered all weights: no process waits for another's tokens
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
