"""Every entry of the encoder registry against Transformers: features, lengths, and a clip alone as in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoFeatureExtractor, BertConfig, HubertConfig, HubertModel

from linnet.errors import ModelError
from linnet.models.fusion.bases import load_base
from linnet.models.fusion.encoders import WaveformSpeech, encoder_config, speech_encoder
from linnet.models.fusion.windows import windowing
from tests.support.tiny_fusion import ENCODERS, granite_features, one_thread, save_all

NAMES = sorted(ENCODERS)
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")  # in WavLM itself


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("bases"), ENCODERS)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * 0.1


@lru_cache(maxsize=32)
def loaded(folder: Path) -> tuple[Any, Any]:
    """The registry's entry and the encoder of a folder."""
    config = encoder_config(AutoConfig.from_pretrained(folder))
    normalize = (folder / "preprocessor_config.json").exists() and '"do_normalize": true' in (
        folder / "preprocessor_config.json"
    ).read_text()
    return speech_encoder(config, normalize=normalize), load_base("encoder", str(folder)).eval()


def reference(folder: Path, sound: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
    """What Transformers makes of one clip: features, all frames, and how many of them are valid."""
    encoder = loaded(folder)[1]
    if folder.name == "granite":
        features = granite_features(sound, encoder.config.num_mel_bins)
        out = encoder(features, attention_mask=torch.ones(features.shape[:2], dtype=torch.long))
        return features, out.last_hidden_state, int(out.attention_mask.sum())
    made = AutoFeatureExtractor.from_pretrained(folder)(
        sound, sampling_rate=16000, return_tensors="pt", return_attention_mask=True
    )
    if "input_values" in made:
        frames = encoder(made["input_values"]).last_hidden_state
        return made["input_values"], frames, frames.shape[1]
    out = encoder(made["input_features"], attention_mask=made["attention_mask"])
    if folder.name == "whisper":
        count = int(encoder._get_feat_extract_output_lengths(made["attention_mask"].sum()))
        return made["input_features"], out.last_hidden_state, count
    return made["input_features"], out.last_hidden_state, int(out.attention_mask.sum())


@pytest.mark.parametrize("name", NAMES)
def test_features_and_frames_are_those_of_transformers(bases: dict[str, Path], name: str) -> None:
    kind, encoder = loaded(bases[name])
    sound = noise(9777)
    features, frames, count = reference(bases[name], sound)
    ours = kind.features(torch.from_numpy(sound))
    theirs = features[0].T if name == "whisper" else features[0]
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=1e-4, atol=1e-4)
    (made,) = kind.encode(encoder, [torch.from_numpy(sound)])
    torch.testing.assert_close(made, frames[0, :count], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_the_length_is_that_of_the_real_encoder(bases: dict[str, Path], name: str, data: st.DataObject) -> None:
    kind, _ = loaded(bases[name])
    samples = data.draw(st.integers(kind.shortest, 9000), label="samples")
    assert kind.frames(samples) == reference(bases[name], noise(samples))[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_shortest_sound_makes_one_frame_and_a_shorter_one_none(bases: dict[str, Path], name: str) -> None:
    kind, encoder = loaded(bases[name])
    assert kind.frames(kind.shortest) == 1
    if name != "whisper":  # counts the frame that a sound reaches into
        assert kind.frames(kind.shortest - 1) <= (1 if name == "parakeet" else 0)
    (made,) = kind.encode(encoder, [torch.from_numpy(noise(kind.shortest))])
    assert made.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_alone_is_what_it_is_in_a_batch(bases: dict[str, Path], name: str) -> None:
    kind, encoder = loaded(bases[name])
    clips = [torch.from_numpy(noise(samples, seed)) for seed, samples in enumerate((8000, 5000, 12345, 5000))]
    with torch.no_grad():
        together = kind.encode(encoder, clips)
        for clip, frames in zip(clips, together, strict=True):
            torch.testing.assert_close(kind.encode(encoder, [clip])[0], frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "grid"), [*((name, 0.0) for name in NAMES), ("whisper", 0.5)])
def test_what_is_heard_is_what_the_encoder_gets(bases: dict[str, Path], name: str, grid: float) -> None:
    """The oracle sees the features of each pass: rows times their length."""
    kind, encoder = on_grid(bases[name], grid) if grid else loaded(bases[name])
    cut, passes, call = windowing(kind, 1.2, 0.2), list[float](), kind.call
    each = kind.padded(16_000) / len(kind.features(torch.zeros(16_000)))  # samples for a frame of features

    def counted(module: Any, features: Any) -> Any:
        passes.append(each * len(features) * max(map(len, features)))
        return call(module, features)

    kind.call = counted
    try:
        counts = [8000, 5000, 30_000, 5000, 100]
        with torch.no_grad():
            cut.encode(encoder, [torch.from_numpy(noise(count)) for count in counts])
        assert cut.padded_samples(counts) == pytest.approx(sum(passes), rel=0.01)
        assert cut.padded_samples(counts) > sum(counts)
    finally:
        del kind.call


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(samples=st.integers(1, 16000 * 100), window=st.floats(1.2, 2.0), overlap=st.floats(0.12, 0.5))
def test_windows_keep_each_frame_once(
    bases: dict[str, Path], name: str, samples: int, window: float, overlap: float
) -> None:
    kind, _ = loaded(bases[name])
    cut = windowing(kind, window, overlap)
    plan = cut.plan(samples)
    assert sum(w.keep for w in plan) == cut.frames(samples) == kind.frames(max(samples, kind.shortest))
    assert plan[0].start == 0
    assert plan[-1].stop == max(samples, kind.shortest)
    first = 0
    for w in plan:
        assert w.keep >= 1
        assert w.stop - w.start <= cut.window
        assert w.skip + w.keep <= kind.frames(w.stop - w.start)
        assert w.start % kind.step == 0
        assert w.start // kind.step + w.skip == first, "kept frames follow one another"
        assert w.skip * kind.step == min(cut.overlap, first * kind.step), "sound before the seam was heard"
        assert w is plan[-1] or w.stop - (first + w.keep) * kind.step >= cut.overlap, "and sound after it"
        assert w.offset == w.start / 16000
        first += w.keep


def test_windows_of_a_local_encoder_are_the_whole_clip() -> None:
    """Without attention a frame sees 25 ms and 16 frames around it, less than the overlap."""
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=0,
        num_attention_heads=2,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    encoder, kind = HubertModel(config).eval(), speech_encoder(config)
    clips = [torch.from_numpy(noise(samples)) for samples in (70001, 9000)]
    with torch.no_grad():
        made = windowing(kind, 2.0, 0.3).encode(encoder, clips)
        assert len(windowing(kind, 2.0, 0.3).plan(70001)) == 3
        for clip, frames in zip(clips, made, strict=True):
            torch.testing.assert_close(frames, kind.encode(encoder, [clip])[0], rtol=1e-5, atol=1e-5)


def test_a_wrong_length_function_is_an_error_that_names_the_window(bases: dict[str, Path]) -> None:
    _, encoder = loaded(bases["hubert"])

    class Wrong(WaveformSpeech):
        def frames(self, samples: int) -> int:
            return super().frames(samples) + (samples > 9000)

    clips = [torch.from_numpy(noise(samples)) for samples in (8000, 16000)]
    with pytest.raises(ModelError, match=r"window 1 of 2 \(16000 samples\): HubertModel made 49 frames where 50"):
        Wrong(encoder.config).encode(encoder, clips)


def test_unknown_encoders_and_impossible_windows_are_refused(bases: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="unknown speech encoder type 'bert'; supported are hubert"):
        speech_encoder(BertConfig())
    kind, _ = loaded(bases["hubert"])
    with pytest.raises(ModelError, match=r"overlaps of 2\.0 s are invalid"):
        windowing(kind, 3.0, 2.0)
    with pytest.raises(ModelError, match=r"at least 0\.025 s"):
        windowing(kind, 3.0, 0.0)
    with pytest.raises(ModelError, match="add_adapter"):
        speech_encoder(AutoConfig.for_model("wav2vec2", add_adapter=True))


# --- Whisper on shorter windows


def on_grid(folder: Path, pad_seconds: float) -> tuple[Any, Any]:
    kind, encoder = loaded(folder)
    return speech_encoder(kind.config, pad_seconds=pad_seconds), encoder


def test_a_padded_window_is_cut_to_the_grid(bases: dict[str, Path]) -> None:
    """The twin: the mel of the audio padded to 1 s, and the encoder's own layers at the first 50 positions."""
    kind, encoder = on_grid(bases["whisper"], 0.5)
    sound = noise(9777)
    made = kind.encode(encoder, [torch.from_numpy(sound)])[0]
    padded = np.pad(sound, (0, 16_000 - len(sound)))
    extractor = AutoFeatureExtractor.from_pretrained(bases["whisper"], chunk_length=1)
    mel = extractor(padded, sampling_rate=16_000, return_tensors="pt", padding="do_not_pad")["input_features"]
    with torch.no_grad():
        hidden = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(mel))))
        hidden = hidden.transpose(1, 2) + encoder.embed_positions.weight[:50]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        expected = encoder.layer_norm(hidden)[0, : kind.frames(len(sound))]
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def test_on_the_grid_a_clip_alone_is_what_it_is_in_a_batch(bases: dict[str, Path]) -> None:
    kind, encoder = on_grid(bases["whisper"], 0.5)
    clips = [torch.from_numpy(noise(samples, seed)) for seed, samples in enumerate((7000, 5000, 12345, 8000, 40))]
    with torch.no_grad():
        together = kind.encode(encoder, clips)
        for clip, frames in zip(clips, together, strict=True):
            assert len(frames) == kind.frames(len(clip))
            torch.testing.assert_close(kind.encode(encoder, [clip])[0], frames, rtol=1e-4, atol=1e-4)


def test_a_window_that_fills_the_encoder_is_the_same_with_a_grid(bases: dict[str, Path]) -> None:
    kind, encoder = on_grid(bases["whisper"], 0.3)
    clip = [torch.from_numpy(noise(31_900))]
    with torch.no_grad():
        assert torch.equal(kind.encode(encoder, clip)[0], loaded(bases["whisper"])[0].encode(encoder, clip)[0])


def test_the_grid_is_for_encoders_that_pad(bases: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="pad_seconds 1 is for encoders that pad"):
        on_grid(bases["hubert"], 1.0)
    with pytest.raises(ModelError, match=r"at least 0\.02"):
        on_grid(bases["whisper"], 0.001)
