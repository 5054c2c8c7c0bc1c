"""Libraries on this machine, each on a small random model, against the library called by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, GenerationConfig, Wav2Vec2ForCTC, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration as Whisper

from linnet.audio import Audio
from linnet.errors import MissingExtra, OptionError
from linnet.evaluation.providers import (
    KINDS,
    ProviderError,
    ProviderOptions,
    ProviderRefusal,
    ProviderTranscript,
    names_provider,
    open_provider,
)
from linnet.evaluation.providers import local as local_module
from tests.support import tiny_whispers
from tests.support.tiny_speech import save_wav2vec2
from tests.support.tiny_whispers import edit_json, save_whisper
from tests.support.transcription_services import noise

SHORT = Audio(noise(1.5), "short.wav")
LONG = Audio(noise(5.0, seed=1), "long.wav")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small models wait for their own threads where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def heard(spec: str, audio: Audio, language: str | None = None, **settings: Any) -> ProviderTranscript:
    with open_provider(spec, ProviderOptions(device="cpu", **settings), cache=False) as provider:
        return provider.transcribe(audio, language=language)


def test_every_kind_can_be_named() -> None:
    assert all(names_provider(f"{kind}:model") for kind in KINDS)
    assert not any(map(names_provider, ["digits", "openai/whisper-small", "C:/models/a", "deepgram", "other:model"]))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("faster-wisper:small", "unknown kind 'faster-wisper'; did you mean 'faster-whisper'?"),
        ("Deepgram:nova-3", "did you mean 'deepgram'?"),
        (":small", "unknown kind ''"),
        ("deepgram", "expected KIND:MODEL, such as deepgram:nova-3"),
        ("deepgram:", "names no model; expected deepgram:MODEL"),
        ("deepgram:@http://localhost", "names no model"),
        ("transformers:digits@http://localhost", "runs locally: leave out the URL"),
    ],
)
def test_what_cannot_be_opened_says_how_it_can(spec: str, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        open_provider(spec)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"attempts": 0}, {"concurrency": 0}, {"timeout": 0.0}, {"pause": -1.0}, {"threads": -1}, {"device": "tpu"}],
)
def test_options_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(settings))):
        ProviderOptions(**settings)


@pytest.mark.parametrize("kind", ["faster-whisper", "openai-whisper"])
def test_a_library_that_is_not_there_names_its_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(local_module, "import_module", missing)
    with pytest.raises(MissingExtra, match=rf'pip install "linnet\[{kind}\]"'):
        open_provider(f"{kind}:small")


# Transformers


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper_like(tmp_path_factory.mktemp("models") / "whisper", seed=1)


def whisper_like(folder: Path, *, seed: int) -> Path:
    """A small random Whisper with a tokenizer of the class that the pipeline counts on."""
    save_whisper(folder, seed=seed)
    edit_json(folder / "tokenizer_config.json", tokenizer_class="WhisperTokenizer")
    return folder


FEW = {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 12}}


def by_hand(folder: Path, audio: Audio, language: str) -> str:
    """What Transformers hears in one window."""
    processor = AutoProcessor.from_pretrained(folder)
    features = processor(audio.samples, sampling_rate=16000, return_tensors="pt").input_features
    model = Whisper.from_pretrained(folder)
    tokens = model.generate(features, language=language, task="transcribe", **FEW["generate_kwargs"])
    return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()


def test_transformers_hears_what_generate_does(whisper_folder: Path) -> None:
    expected = {language: by_hand(whisper_folder, SHORT, language) for language in ("en", "de")}
    assert expected["en"] != expected["de"]
    for language, text in expected.items():
        assert heard(f"transformers:{whisper_folder}", SHORT, language, fields=FEW).text == text
    assert heard(f"transformers:{whisper_folder}", SHORT, "de-AT", fields=FEW).text == expected["de"]


def test_transformers_reads_on_after_the_first_window(whisper_folder: Path) -> None:
    texts = [
        heard(f"transformers:{whisper_folder}", Audio(LONG.samples[:end]), "en", fields=FEW).text
        for end in (32000, 80000)
    ]
    assert all(texts)
    assert len(texts[1]) > len(texts[0])


def test_threads_are_given_and_taken_back(whisper_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    own, generate = torch.get_num_threads(), Whisper.generate

    def watched(self: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(torch.get_num_threads())
        return generate(self, *arguments, **more)

    monkeypatch.setattr(Whisper, "generate", watched)
    heard(f"transformers:{whisper_folder}", SHORT, "en", fields=FEW, threads=own + 2)
    heard(f"transformers:{whisper_folder}", SHORT, "en", fields=FEW)
    assert seen == [own + 2, own]
    assert torch.get_num_threads() == own


def test_transformers_drives_ctc_models(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_wav2vec2(tmp_path / "ctc", norm="layer")
    processor = AutoProcessor.from_pretrained(tmp_path / "ctc")
    inputs = processor(SHORT.samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        best = Wav2Vec2ForCTC.from_pretrained(tmp_path / "ctc")(**inputs).logits.argmax(-1)
    expected = str(processor.batch_decode(best)[0]).strip()
    assert expected
    assert heard(f"transformers:{tmp_path / 'ctc'}", SHORT, "en").text == expected


def test_a_model_is_told_apart_from_the_next_state_of_it(whisper_folder: Path, tmp_path: Path) -> None:
    other = whisper_like(tmp_path / "whisper", seed=2)
    revisions = []
    for folder in (whisper_folder, other, whisper_folder):
        with open_provider(f"transformers:{folder}", ProviderOptions(device="cpu"), cache=False) as provider:
            identity = provider.identity
        revisions.append(identity.revision)
        assert (identity.name, identity.device, identity.dtype) == (f"transformers:{folder}", "cpu", "float32")
    assert revisions[0] == revisions[2] != revisions[1]
    assert all(revision.startswith("transformers ") for revision in revisions)


def test_what_transformers_does_not_take_is_an_error_of_that_recording(whisper_folder: Path, tmp_path: Path) -> None:
    with open_provider(f"transformers:{whisper_folder}", cache=False) as provider:
        with pytest.raises(OptionError, match="takes no prompt"):
            provider.transcribe(SHORT, prompt="Linnet")
        with pytest.raises(OptionError, match="Unsupported language: xx"):
            provider.transcribe(SHORT, language="xx")
    with pytest.raises(OptionError, match="nonsense"):
        heard(f"transformers:{whisper_folder}", SHORT, fields={"nonsense": 1})
    save_whisper(tmp_path / "odd", seed=1)  # its tokenizer is not of the class that the pipeline counts on
    with pytest.raises(ProviderError, match=r"failed on short.wav \(.*_decode_asr\)"):
        heard(f"transformers:{tmp_path / 'odd'}", SHORT, "en", fields=FEW)
    with pytest.raises(ProviderRefusal, match=r"transformers:no-such: cannot load the model \(no model 'no-such'"):
        open_provider("transformers:no-such")


# faster-whisper


def converted(folder: Path, tokenizer: Any, size: int | None = None) -> Path:
    """A small random Whisper of 30 s, converted for CTranslate2."""
    converters = pytest.importorskip("ctranslate2.converters", reason="the extra faster-whisper is not installed")
    pytest.importorskip("faster_whisper", reason="the extra faster-whisper is not installed")
    model = tiny_whispers.random_whisper(tokenizer, seed=3, seconds=30, size=size)
    settings = tiny_whispers.generation_settings(tokenizer, tiny_whispers.LANGUAGES)
    model.generation_config = GenerationConfig(**settings)
    model.save_pretrained(folder / "whole")
    tokenizer.save_pretrained(folder / "whole")
    WhisperFeatureExtractor(feature_size=16, chunk_length=30).save_pretrained(folder / "whole")
    converter = converters.TransformersConverter(
        str(folder / "whole"), copy_files=["tokenizer.json", "preprocessor_config.json"]
    )
    converter.convert(str(folder / "converted"), quantization="float32")
    return folder / "converted"


@pytest.fixture(scope="module")
def faster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("faster"), tiny_whispers.small_tokenizer(seconds=30))


CERTAIN = {"temperature": 0.0, "beam_size": 1, "max_new_tokens": 20}


def test_faster_whisper_hears_what_it_does_by_hand(faster_folder: Path) -> None:
    import faster_whisper

    model = faster_whisper.WhisperModel(str(faster_folder), device="cpu", compute_type="float32", cpu_threads=1)
    segments, _ = model.transcribe(LONG.samples, language="en", **CERTAIN)
    expected = "".join(segment.text for segment in segments).strip()
    assert expected
    told = heard(f"faster-whisper:{faster_folder}", LONG, "en", fields=CERTAIN, compute_type="float32", threads=1)
    assert (told.text, told.language) == (expected, "en")
    assert told.seconds > 0


def test_faster_whisper_in_batches_hears_what_its_pipeline_does_by_hand(faster_folder: Path) -> None:
    import faster_whisper

    fields = {**CERTAIN, "batch_size": 2, "vad_filter": False, "clip_timestamps": [{"start": 0.0, "end": 1.0}]}
    model = faster_whisper.WhisperModel(str(faster_folder), device="cpu", compute_type="float32", cpu_threads=1)
    segments, _ = faster_whisper.BatchedInferencePipeline(model).transcribe(LONG.samples, language="en", **fields)
    expected = "".join(segment.text for segment in segments).strip()
    assert expected
    told = heard(f"faster-whisper:{faster_folder}", LONG, "en", fields=fields, compute_type="float32", threads=1)
    assert told.text == expected


def test_faster_whisper_passes_language_and_prompt_on(tmp_path: Path, whisper_tokenizer: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(whisper_tokenizer)
    folder = converted(tmp_path, tokenizer, size=51865)
    options = ProviderOptions(device="cpu", fields=CERTAIN, threads=1)
    with open_provider(f"faster-whisper:{folder}", options) as provider:
        told = {
            case: provider.transcribe(SHORT, language=case[0], prompt=case[1])
            for case in (("en", None), ("de-AT", None), ("en", "Linnet"))
        }
        with pytest.raises(OptionError, match="xx"):
            provider.transcribe(SHORT, language="xx")
    assert [answer.language for answer in told.values()] == ["en", "de", "en"]
    assert told["en", None].text != told["en", "Linnet"].text


def test_what_faster_whisper_is(faster_folder: Path) -> None:
    with open_provider(f"faster-whisper:{faster_folder}", ProviderOptions(compute_type="int8")) as provider:
        assert provider.identity.dtype.startswith("int8")
        assert provider.identity.revision.startswith("faster-whisper ")
        assert provider.concurrency == 1
    with pytest.raises(OptionError, match="nonsense"):
        heard(f"faster-whisper:{faster_folder}", SHORT, fields={"nonsense": 1})
    with pytest.raises(ProviderRefusal, match="faster-whisper:no-such: cannot load the model"):
        open_provider("faster-whisper:no-such")


# openai-whisper

leaves_a_file_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # its vocabulary


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model in openai-whisper's own form."""
    whisper = pytest.importorskip("whisper", reason="the extra openai-whisper is not installed")
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 16, "n_audio_head": 2, "n_audio_layer": 1}
    dims |= {"n_vocab": 51865, "n_text_ctx": 448, "n_text_state": 16, "n_text_head": 2, "n_text_layer": 1}
    torch.manual_seed(0)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**dims))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    path = tmp_path_factory.mktemp("openai") / "tiny.pt"
    torch.save({"dims": dims, "model_state_dict": model.state_dict()}, path)
    return path


@leaves_a_file_open
def test_openai_whisper_hears_what_it_does_by_hand(checkpoint: Path) -> None:
    import whisper

    sure = {"temperature": 0.0, "sample_len": 8}
    model = whisper.load_model(str(checkpoint), device="cpu")
    expected = {
        language: model.transcribe(SHORT.samples, language=language, fp16=False, **sure) for language in ("en", "de")
    }
    assert expected["en"]["text"].strip()
    for language in ("en", "de"):
        told = heard(f"openai-whisper:{checkpoint}", SHORT, language, fields=sure)
        assert (told.text, told.language) == (expected[language]["text"].strip(), language)
    assert heard(f"openai-whisper:{checkpoint}", SHORT, "de_DE", fields=sure).language == "de"


@leaves_a_file_open
def test_what_openai_whisper_is(checkpoint: Path) -> None:
    with open_provider(f"openai-whisper:{checkpoint}", ProviderOptions(device="cpu")) as provider:
        assert provider.identity.dtype == "float32"
        assert provider.identity.revision.startswith("openai-whisper ")
        with pytest.raises(OptionError, match="Unsupported language: xx"):
            provider.transcribe(SHORT, language="xx")
    with pytest.raises(OptionError, match="supports auto, float16 and float32"):
        open_provider(f"openai-whisper:{checkpoint}", ProviderOptions(compute_type="int8"))
    with pytest.raises(ProviderRefusal, match="openai-whisper:no-such: cannot load the model"):
        open_provider("openai-whisper:no-such")
