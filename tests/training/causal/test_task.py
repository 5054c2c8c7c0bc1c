"""What a causal task saves: an adapter that PEFT reads, or a whole model; both with what it was trained for."""

from __future__ import annotations

import pytest
import torch

from linnet.errors import ModelError, OptionError
from linnet.models.causal import CausalSpec, read_causal_spec
from linnet.models.resolve import resolve
from linnet.training.causal.task import load_adapters, load_causal

ADAPTED = {"model.encoder": "lora(r=4)", "model.decoder": "lora(r=4)"}


def logits(model, features):
    with torch.no_grad():
        return model(features, decoder_input_ids=torch.tensor([[300, 5, 6]])).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # read by PEFT
def test_an_adapter_is_read_by_peft(tmp_path):
    from peft import PeftModel
    from transformers import WhisperForConditionalGeneration

    spec = CausalSpec(base="digits", first_block=16, hours=0.5)
    task = load_causal("digits", ADAPTED, spec, seed=0)
    torch.manual_seed(1)
    for name, value in task.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    features = torch.randn(1, 80, 1000)
    task.model.eval()
    ours = logits(task.model, features)
    folder = task.export(tmp_path / "adapter")
    assert read_causal_spec(folder) == spec
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "linnet_causal.json",
    }
    base = WhisperForConditionalGeneration.from_pretrained(resolve("digits").path, dtype=torch.float32)
    plain = logits(base, features)
    theirs = logits(PeftModel.from_pretrained(base, folder).eval(), features)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (theirs - plain).abs().max() > 0.01


def test_training_starts_from_an_adapter(tmp_path):
    first = load_causal("digits", ADAPTED, CausalSpec(base="digits"), seed=0)
    for value in first.model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value.data, std=0.05)
    folder = first.export(tmp_path / "adapter")
    again = load_causal("digits", ADAPTED, CausalSpec(base="digits"), seed=1)
    load_adapters(again.model, folder)
    features = torch.randn(1, 80, 1000)
    torch.testing.assert_close(
        logits(again.model.eval(), features), logits(first.model.eval(), features), rtol=0, atol=1e-6
    )
    other = load_causal("digits", {"model.encoder": "lora(r=4)"}, CausalSpec(base="digits"), seed=0)
    with pytest.raises(OptionError, match=r"has other layers, ranks or alphas \(base_model.*give `freeze`"):
        load_adapters(other.model, folder)
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        load_adapters(again.model, tmp_path)


def test_a_whole_model_is_saved_with_its_processor(tmp_path):
    import linnet

    task = load_causal("digits", {"model.decoder": "all"}, CausalSpec(base="digits"), seed=0)
    folder = task.export(tmp_path / "whole")
    assert read_causal_spec(folder).base == "digits"
    text = linnet.load(str(folder), engine="torch").transcribe("examples/digits-en.flac", language="en").text
    assert text.split() == ["three", "one", "four", "one", "five", "nine"]


def test_what_cannot_be_made_causal_is_refused(tmp_path):
    with pytest.raises(OptionError, match="nothing is trained"):
        load_causal("digits", {"model.encoder": "frozen"}, CausalSpec(base="digits"), seed=0)
    uneven = {"model.encoder": "lora(r=4)", "model.decoder": "lora(r=8)"}
    task = load_causal("digits", uneven, CausalSpec(base="digits"), seed=0)
    with pytest.raises(OptionError, match="same rank"):
        task.export(tmp_path / "uneven")
