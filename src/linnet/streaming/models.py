"""From a name or a loaded recognizer to a model of streams."""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.notices import Notify
from linnet.streaming.protocol import StreamingModel
from linnet.transcription.recognizer import Recognizer, load


def streaming_model(
    model: Recognizer | str | None = None, *, beam_size: int = 1, notify: Notify | None = None, **loading: Any
) -> StreamingModel:
    """What serves streams: a causal model where the folder says that it is one, else any Whisper by re-encoding.

    `model` is a loaded recognizer, or what `linnet.load` takes as its name, with its keywords. Raises `ModelError` for
    a model that cannot serve streams.
    """
    recognizer = model if isinstance(model, Recognizer) else load(model, notify=notify, **loading)
    backend: Any = recognizer.backend
    if not hasattr(backend, "vocabulary"):
        raise ModelError(
            f"{recognizer.name} cannot serve streams, for it is not of the Whisper family: choose one that is, such as "
            "openai/whisper-base"
        )
    from linnet.streaming.reencoding import ReencodingModel

    return ReencodingModel(backend, recognizer.name, beam_size=beam_size)
