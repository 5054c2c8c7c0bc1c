"""Operations counted from shapes against those that PyTorch counts while a step is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from linnet.data.batching import Cost, Lengths, bin_utterances
from linnet.data.batching.arrays import stream
from linnet.models.fusion import build
from linnet.training.estimate.duration import SHARE, Duration, estimate, measure_rate
from linnet.training.estimate.flops import StepFlops
from linnet.training.freeze import freeze
from linnet.training.optimization import checkpoint_gradients
from linnet.training.options import Optimization
from linnet.training.speech.loss import FusionLoss, Seq2SeqLoss
from linnet.training.speech.recipe import SpeechRecipe, SpeechRunSettings
from tests.support.low_rank_models import compress
from tests.support.tiny_fusion import one_thread, save_all
from tests.support.tiny_whispers import random_whisper, small_tokenizer

FROZEN = {"encoder": "frozen", "projector": "all", "language_model": "frozen"}
ALL = dict.fromkeys(FROZEN, "all")
LORA = {**FROZEN, "encoder": "lora(r=4)", "language_model": "lora(r=4)"}
UTTERANCES, SECONDS, TOKENS = 3, 2.5, 20


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    made = save_all(folder, ["whisper", "parakeet", "llama", "gpt2", "smollm3"])
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    waves = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 1}
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    made["hubert"] = folder / "hubert"
    HubertModel(HubertConfig(**sizes, **waves, **large)).save_pretrained(made["hubert"])
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(made["hubert"])
    return made


def counted(loss: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> FlopCounterMode:
    """A step with PyTorch's count of it; eager attention, since the CPU's fused one is not counted."""
    loss.train()
    loss(tensors)  # how the head is called is tried out once
    with one_thread(), FlopCounterMode(display=False) as counter:
        sum(loss(tensors).values()).backward()
    return counter


def fused(bases: dict[str, Path], encoder: str, decoder: str, policy: dict[str, str], **options: Any) -> Any:
    model: Any = build(str(bases[encoder]), str(bases[decoder]), {"hidden": 16}, **options)[0]
    freeze(model, policy)
    for part in (model.encoder, model.language_model):
        part.set_attn_implementation("eager")
    return model


def sounds(seconds: float = SECONDS) -> dict[str, torch.Tensor]:
    made = torch.randn(UTTERANCES, round(seconds * 16000), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(UTTERANCES * TOKENS).reshape(UTTERANCES, TOKENS) % 5
    return {"input_values": made, "attention_mask": torch.ones_like(made, dtype=torch.long), "labels": labels}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("policy", [FROZEN, {**FROZEN, "encoder": "top:1"}, LORA, ALL], ids=str)
def test_a_step_of_a_fusion_model(bases: dict[str, Path], policy: dict[str, str], checkpointing: bool) -> None:
    model = fused(bases, "hubert", "llama", policy)
    if checkpointing:
        checkpoint_gradients(model)
    found = counted(FusionLoss(model), sounds()).get_total_flops()
    # a convolution that is trained gets the gradient of its input in Transformers even where it is the first
    assert StepFlops(model).batch(UTTERANCES, SECONDS, TOKENS) == pytest.approx(found, rel=0.03)


def test_a_step_of_a_pack(bases: dict[str, Path]) -> None:
    model = fused(bases, "hubert", "llama", FROZEN)
    seconds, tokens = [2.5, 1.0, 1.7], [20, 3, 11]
    given = sounds()
    for row, (length, count) in enumerate(zip(seconds, tokens, strict=True)):
        given["attention_mask"][row, round(length * 16000) :] = 0
        given["labels"][row, count:] = -100
    found = counted(FusionLoss(model, packed=True), given).get_total_flops()
    assert StepFlops(model).pack(seconds, tokens) == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize("decoder", ["gpt2", "smollm3"])
def test_a_step_with_other_language_models(bases: dict[str, Path], decoder: str) -> None:
    model = fused(bases, "hubert", decoder, FROZEN)
    found = counted(FusionLoss(model), sounds()).get_total_flops()
    assert StepFlops(model).batch(UTTERANCES, SECONDS, TOKENS) == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize(("encoder", "window", "tolerance"), [("whisper", 2.0, 0.001), ("parakeet", 30.0, 0.15)])
def test_other_encoders(bases: dict[str, Path], encoder: str, window: float, tolerance: float) -> None:
    """Parakeet's relative positions are left out."""
    model = fused(bases, encoder, "llama", FROZEN, window_seconds=window, overlap_seconds=0.1)
    counts = counted(FusionLoss(model), sounds()).get_flop_counts()["FusionLoss.model.encoder"]
    found = StepFlops(model).encoder(round(SECONDS * 16000))[0]
    assert UTTERANCES * found == pytest.approx(sum(counts.values()), rel=tolerance)


@pytest.mark.parametrize(
    "policy",
    [{"model": "all"}, {"model.decoder": "lora(r=4)"}, {"model.encoder": "top:1", "model.decoder": "lora(r=4)"}],
)
def test_a_step_of_a_whisper(policy: dict[str, str]) -> None:
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(vocab_size=90, d_model=32, max_source_positions=150, pad_token_id=0, **sizes, **heads)
    model: Any = WhisperForConditionalGeneration(config)
    freeze(model, policy)
    model.set_attn_implementation("eager")
    given = torch.arange(UTTERANCES * TOKENS).reshape(UTTERANCES, TOKENS)
    features = torch.randn(UTTERANCES, 80, 300)
    found = counted(
        Seq2SeqLoss(model), {"input_features": features, "decoder_input_ids": given, "labels": given}
    ).get_total_flops()
    flops = StepFlops(model, span=3.0)
    assert flops.batch(UTTERANCES, 1.0, TOKENS) == pytest.approx(found, rel=0.01)
    if "model.encoder" not in policy and "model" not in policy:
        frames = {"frames": torch.randn(UTTERANCES, 150, 32), "frame_counts": torch.full((UTTERANCES,), 150)}
        cached = counted(Seq2SeqLoss(model), {**frames, "decoder_input_ids": given, "labels": given}).get_total_flops()
        idle = StepFlops(model, span=3.0, idle=["encoder"])
        assert idle.batch(UTTERANCES, 1.0, TOKENS) == pytest.approx(cached, rel=0.03)  # keys and values of layer 0


def test_a_step_of_a_low_rank_whisper() -> None:
    """Pairs and pivots in encoder and decoder, trained in part: attention is counted once for each layer."""
    model: Any = random_whisper(small_tokenizer(), seed=1)
    compress(model, ".model.", rank=12)
    freeze(model, {"model.encoder": "top:1", "model.decoder": "all"})
    model.set_attn_implementation("eager")
    given = torch.arange(UTTERANCES * TOKENS).reshape(UTTERANCES, TOKENS)
    tensors = {"input_features": torch.randn(UTTERANCES, 16, 200), "decoder_input_ids": given, "labels": given}
    found = counted(Seq2SeqLoss(model), tensors).get_total_flops()
    assert StepFlops(model, span=2.0).batch(UTTERANCES, 1.0, TOKENS) == pytest.approx(found, rel=0.01)


def test_a_linear_stack_by_hand(bases: dict[str, Path]) -> None:
    """One more label token is one more place: 2 W for each frozen matrix, and 2 W again for the projector below."""
    model = fused(bases, "hubert", "llama", FROZEN)
    flops = StepFlops(model)
    blocks = [value.numel() for name, value in model.language_model.model.layers.named_parameters() if "proj" in name]
    head = model.get_output_embeddings().weight.numel()
    width = 2 * model.config.text_config.hidden_size  # of queries and keys, and of weights and values, in both layers
    places = model.prompt_tokens(16000) + 10
    pairs = (places + 1) ** 2 - places**2
    expected = 2 * 2 * (sum(blocks) + head) + 3 * 4 * pairs * width
    assert flops.batch(1, 1.0, 12) - flops.batch(1, 1.0, 11) == pytest.approx(expected)


def test_a_skeleton_counts_as_the_model_does(bases: dict[str, Path]) -> None:
    real = fused(bases, "hubert", "llama", LORA)
    assert StepFlops(fused(bases, "hubert", "llama", LORA).to("meta")).batch(2, 3.0, 9) == StepFlops(real).batch(
        2, 3.0, 9
    )


def test_logits_that_are_made_twice_count_twice(bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = fused(bases, "hubert", "llama", FROZEN)
    once = StepFlops(model).batch(UTTERANCES, SECONDS, TOKENS)
    for module in ("speech.loss", "estimate.flops"):
        monkeypatch.setattr(f"linnet.training.{module}.LOGITS", 10 * len(model.get_output_embeddings().weight))
    found = counted(FusionLoss(model), sounds()).get_total_flops()
    twice = StepFlops(model).batch(UTTERANCES, SECONDS, TOKENS)
    assert twice > once
    assert twice == pytest.approx(found, rel=0.01)


def test_the_estimate_is_that_of_every_batch(bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    flops = StepFlops(fused(bases, "hubert", "llama", FROZEN))
    random = np.random.default_rng(0)
    durations = random.uniform(0.5, 10, 60)
    lengths = Lengths(durations, (3 * durations).astype(int))
    binning = bin_utterances(lengths, Cost(1.0), 30.0, groups=4)
    plan = binning.plan(binning.rows, 1, stream(0, 0, 0))
    batches = [plan.batch(step, 0) for step in range(plan.steps)]
    whole = sum(flops.batch(len(b), lengths.durations[b].max(), lengths.tokens[b].max()) for b in batches)
    monkeypatch.setattr("linnet.training.estimate.duration.measure_rate", lambda *_: 1e9)
    recipe = SpeechRecipe(optimization=Optimization(accumulate=2), run=SpeechRunSettings(device="cpu"))
    steps = 3 * -(-plan.steps // 2)  # three epochs
    found = estimate(
        lambda b: flops.batch(len(b), lengths.durations[b].max(), lengths.tokens[b].max()), plan, steps, recipe
    )
    assert found.run == pytest.approx(3 * whole)
    assert found.step == pytest.approx(3 * whole / steps)
    assert found.seconds() == pytest.approx(3 * whole / (SHARE * 1e9))


def test_a_duration_is_told() -> None:
    rows = dict(Duration(run=9.36e15, step=1.2e11, rate=2.1e12).rows())
    assert rows["compute"] == "9.4 PFLOP in all, 120 GFLOP a step on average"
    assert rows["estimated time"] == "3.1 h at 40 % of this machine's 2.1 TFLOPS, without validation"
    assert rows[""] == "0.4 min at 40 % of an H100's 989 TFLOPS (bf16)"


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_rate_of_this_machine_is_a_rate(precision: str) -> None:
    with one_thread():
        assert 1e8 < measure_rate(torch.device("cpu"), precision) < 1e16


def test_what_does_no_work_is_not_counted(bases: dict[str, Path]) -> None:
    model = fused(bases, "hubert", "llama", FROZEN)
    samples = round(SECONDS * 16000)
    whole, encoder = StepFlops(model), StepFlops(model).encoder(samples)
    cached = StepFlops(model, idle=["encoder"])
    assert cached.batch(2, SECONDS, TOKENS) == pytest.approx(whole.batch(2, SECONDS, TOKENS) - 2 * encoder[0])
    assert cached.encoder(samples) == (0.0, model.windowing.frames(samples))
    alone = StepFlops(model, idle=["encoder", "language_model"]).batch(2, SECONDS, TOKENS)
    rows, sizes = model.audio_rows(samples), [w.numel() for n, w in model.projector.named_parameters() if w.dim() > 1]
    assert alone == 2 * 2 * rows * (2 * sizes[0] + 3 * sizes[1])  # the first matrix needs no gradient of its input
