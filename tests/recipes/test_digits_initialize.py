"""A fresh model already looks where it is meant to look."""

import pytest
import torch

from recipes.digits.initialize import DISTANCES, sinusoids
from recipes.digits.model import DigitsModel, build_model
from recipes.digits.tokens import TIME_STEP, Vocabulary


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(DigitsModel()).eval()


def test_sinusoids_are_closest_to_themselves() -> None:
    table, frequencies = sinusoids(500, 128)
    assert frequencies[0] == 1.0
    assert frequencies[-1] == pytest.approx(1 / 400)
    assert torch.equal((table @ table.T).argmax(-1), torch.arange(500))


@pytest.mark.parametrize("layer", range(3))
def test_encoder_heads_look_at_their_distances(model: torch.nn.Module, layer: int) -> None:
    encoder = model.model.encoder
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(50, 450)
    with torch.no_grad():
        hidden = torch.nn.functional.gelu(encoder.conv1(torch.randn(2, 80, 1000, generator=generator)))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2) + encoder.embed_positions.weight
        for before in encoder.layers[:layer]:
            hidden = before(hidden, None)
        attention = encoder.layers[layer]
        _, weights = attention.self_attn(attention.self_attn_layer_norm(hidden))
    for head, distance in enumerate(DISTANCES[layer]):
        near = sum(weights[:, head, places, places + distance + around] for around in (-3, -2, -1, 0, 1, 2, 3))
        assert near.mean() > 0.5


def test_a_fifth_layer_begins_by_looking_at_what_was_before(model: torch.nn.Module) -> None:
    encoder = model.model.encoder
    layer = encoder.layers[len(DISTANCES)]
    hidden = encoder.embed_positions.weight[None]
    with torch.no_grad():
        _, weights = layer.self_attn(layer.self_attn_layer_norm(hidden))
    place = torch.arange(500)
    for at in (100, 250, 400):
        assert float(weights[0, 0, at, place < at].sum()) > 0.8


def test_a_time_token_begins_near_the_position_that_it_names(model: torch.nn.Module) -> None:
    vocabulary = Vocabulary.build()
    table, _ = sinusoids(500, 128)
    tokens = model.model.decoder.embed_tokens.weight
    for seconds in (0.5, 3.0, 9.0):
        scores = table @ tokens[vocabulary.time(seconds)]
        assert abs(int(scores.argmax()) * TIME_STEP - seconds) <= 0.1


def test_it_has_the_promised_size(model: torch.nn.Module) -> None:
    assert 1.5e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.95e6
