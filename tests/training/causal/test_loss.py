"""One encoder pass and K points are exactly K truncated passes, and the future never changes the past."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linnet.models.causal import CausalSpec, encode_causal
from linnet.training.batch import IGNORED
from linnet.training.causal.batches import Shape, causal_tensors, window_tensors
from linnet.training.causal.decode import decode_stream, decode_windows, extend
from linnet.training.causal.features import stream_features
from linnet.training.causal.loss import CausalLoss, decode_limited, distance
from linnet.training.causal.options import CausalOptions, Imitation
from linnet.training.causal.targets import CausalExample
from linnet.training.causal.task import load_causal

ENCODER = {"model.encoder": "lora(r=2)"}
MIX = CausalOptions(points=4, first_block=20, longest_block=30, margin=0.0, jitter=0.0)


@pytest.fixture(scope="module")
def task():
    return load_causal("digits", {}, CausalSpec(base="digits"), seed=0)


@pytest.fixture(scope="module")
def model(task):
    made = task.model.double().eval()
    yield made
    made.float()


def examples(task) -> list[CausalExample]:
    rng = np.random.default_rng(0)
    vocabulary = task.whisper.vocabulary
    prefix = (vocabulary.start, vocabulary.languages["en"], vocabulary.no_timestamps)
    words = tuple(vocabulary.tokenizer(" three one four", add_special_tokens=False)["input_ids"])
    samples = [(rng.standard_normal(16_000 * 2) * 0.1).astype(np.float32), np.zeros(9_000, np.float32)]
    return [CausalExample(samples[0], prefix, words, (0.5, 1.0, 1.7)), CausalExample(samples[1], prefix)]


def test_the_loss_is_that_of_as_many_truncated_passes(task, model):
    batch = causal_tensors(examples(task), MIX, task.shape, np.random.default_rng(3))
    batch["features"] = batch["features"].double()
    whole = CausalLoss(model)(batch)["text"]
    total = torch.zeros((), dtype=torch.float64)
    for row, (number, limit) in enumerate(zip(batch["recordings"].tolist(), batch["limits"].tolist(), strict=True)):
        # a pass that ends there: the block's own frames, and the one mel frame behind it that a stream has, too
        features = batch["features"][number : number + 1, : 2 * limit + 2]
        ends = torch.cat([batch["ends"][number, :limit], torch.tensor([limit + 1])])[: features.shape[1] // 2]
        encoded = encode_causal(model.model.encoder, features, ends)[:, :limit]
        kept = int((batch["labels"][row] != IGNORED).nonzero().max()) + 1
        hidden = model.model.decoder(
            input_ids=batch["inputs"][row : row + 1, :kept], encoder_hidden_states=encoded
        ).last_hidden_state
        total += torch.nn.functional.cross_entropy(
            model.proj_out(hidden)[0].float(), batch["labels"][row, :kept], ignore_index=IGNORED, reduction="sum"
        )
    assert len(batch["limits"]) > 4
    torch.testing.assert_close(whole.double(), total, rtol=1e-6, atol=1e-6)


def test_changing_the_future_changes_no_row_of_the_past(task, model):
    batch = causal_tensors(examples(task), MIX, task.shape, np.random.default_rng(5))
    features = batch["features"].double()
    rows, limits = batch["recordings"], batch["limits"]

    def hidden(given: torch.Tensor) -> torch.Tensor:
        encoded = encode_causal(model.model.encoder, given, batch["ends"])
        return decode_limited(model.model.decoder, batch["inputs"], encoded[rows], limits)

    before = hidden(features)
    cut = int(limits[rows == 0].min())
    changed = features.clone()
    changed[0, 2 * cut + 1 :] += 1.0
    after = hidden(changed)
    same = (rows != 0) | (limits <= cut)
    torch.testing.assert_close(after[same], before[same], rtol=0, atol=1e-12)
    assert (after[~same] - before[~same]).abs().max() > 1e-3


def test_without_limits_the_decoder_is_that_of_transformers(model):
    encoded = torch.randn(2, 40, model.config.d_model, dtype=torch.float64)
    tokens = torch.randint(0, 300, (2, 9))
    theirs = model.model.decoder(input_ids=tokens, encoder_hidden_states=encoded).last_hidden_state
    ours = decode_limited(model.model.decoder, tokens, encoded, torch.tensor([40, 40]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_whole_windows_are_what_the_model_was_trained_on(task, model):
    one = examples(task)
    batch = window_tensors(one, task.shape)
    batch["features"] = batch["features"].double()
    ours = CausalLoss(model)(batch)["text"]
    encoded = model.model.encoder(batch["features"].transpose(1, 2)).last_hidden_state
    hidden = model.model.decoder(input_ids=batch["inputs"], encoder_hidden_states=encoded).last_hidden_state
    theirs = torch.nn.functional.cross_entropy(
        model.proj_out(hidden).float().flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_distance_is_the_share_of_the_variance_that_is_missed():
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal((2, 7, 3)), rng.standard_normal((2, 9, 3))
    counts = [4, 7]
    pairs = [(ours[row, place], theirs[row, place]) for row in range(2) for place in range(counts[row])]
    wanted = np.array([pair[1] for pair in pairs])
    squares = sum(float(((one - other) ** 2).sum()) for one, other in pairs)
    missed = squares / float(((wanted - wanted.mean(0)) ** 2).sum())
    found = distance(torch.from_numpy(ours), torch.from_numpy(theirs), torch.tensor(counts))
    assert float(found) == pytest.approx(missed, rel=1e-5)
    mean = torch.from_numpy(wanted.mean(0)).expand(2, 7, 3)
    assert float(distance(mean, torch.from_numpy(theirs), torch.tensor(counts))) == pytest.approx(1.0, rel=1e-5)


def test_frames_are_taught_by_the_encoder_before_training_on_whole_windows():
    made = load_causal("digits", ENCODER, CausalSpec(base="digits"), seed=0, imitation=Imitation(frames=3.0))
    loss = made.loss.train()
    assert not made.teacher.training
    whole = loss(window_tensors(examples(made), made.shape))
    assert whole["imitation"].item() == pytest.approx(0.0, abs=1e-3), "adapters begin with nothing"
    batch = causal_tensors(examples(made), MIX, made.shape, np.random.default_rng(3), windows=True)
    assert batch["frames"].tolist() == [125, 54], "with the silence after the audio"
    found = loss(batch)["imitation"]
    encoder = load_causal("digits", {}, CausalSpec(base="digits"), seed=0).model.model.encoder.eval()
    taught = encoder(batch["windows"].transpose(1, 2)).last_hidden_state
    ours = encode_causal(encoder, batch["features"], batch["ends"])
    labels = int((batch["labels"] != IGNORED).sum())
    torch.testing.assert_close(found, 3.0 * labels * distance(ours, taught, batch["frames"]), rtol=1e-4, atol=1e-4)
    found.backward()
    assert all(value.grad is None for value in made.teacher.parameters())
    assert any(value.grad is not None for name, value in made.model.named_parameters() if "lora_" in name)


def test_a_batch_for_frames_alone_teaches_the_same_frames_and_leaves_the_decoder_alone():
    both = {"model.encoder": "lora(r=2)", "model.decoder": "lora(r=2)"}
    made = load_causal("digits", both, CausalSpec(base="digits"), seed=0, imitation=Imitation(frames=3.0, words=1.0))
    loss = made.loss.eval()
    batch = causal_tensors(examples(made), MIX, made.shape, np.random.default_rng(3), windows=True)
    wanted = loss(batch)["imitation"].detach()
    found = loss({**batch, "frames_only": torch.tensor(True)})
    assert found["text"].item() == 0.0
    torch.testing.assert_close(found["imitation"].detach(), wanted, rtol=0, atol=0)
    sum(found.values()).backward()
    taught = {name for name, value in made.model.named_parameters() if value.grad is not None}
    assert taught
    assert all(name.startswith("model.encoder.") for name in taught)


def test_words_are_taught_by_the_model_before_training_that_hears_all():
    kinds = {share: Imitation(words=share) for share in (0.0, 0.25, 1.0)}
    made = load_causal("digits", ENCODER, CausalSpec(base="digits"), seed=0, imitation=kinds[1.0])
    batch = causal_tensors(examples(made), MIX, made.shape, np.random.default_rng(3), windows=True)
    plain = load_causal("digits", {}, CausalSpec(base="digits"), seed=0).model.eval()

    def log_chances(frames: torch.Tensor, row: int, limit: int) -> torch.Tensor:
        number = int(batch["recordings"][row])
        hidden = decode_limited(
            plain.model.decoder, batch["inputs"][row : row + 1], frames[number : number + 1], torch.tensor([limit])
        )
        return plain.proj_out(hidden)[0].double().log_softmax(-1)

    with torch.no_grad():
        ours = encode_causal(plain.model.encoder, batch["features"], batch["ends"])
        taught = plain.model.encoder(batch["windows"].transpose(1, 2)).last_hidden_state
        hard = soft = torch.zeros((), dtype=torch.float64)
        for row, labels in enumerate(batch["labels"]):
            student = log_chances(ours, row, int(batch["limits"][row]))
            teacher = log_chances(taught, row, taught.shape[1])
            for place in (labels != IGNORED).nonzero().flatten().tolist():
                label = int(labels[place])
                crossed = -student[place, label]
                apart = (teacher[place].exp() * (teacher[place] - student[place])).sum()
                hard = hard + crossed
                soft = soft + (crossed if label == made.shape.end else apart)
    assert hard > soft > 0
    for share, kind in kinds.items():
        found = CausalLoss(made.model, teacher=made.teacher, imitation=kind).eval()(batch)
        assert found.keys() == {"text"}
        wanted = (1 - share) * hard + share * soft
        torch.testing.assert_close(found["text"].detach().double(), wanted, rtol=1e-4, atol=1e-3)


def test_stream_features_do_not_depend_on_what_follows():
    rng = np.random.default_rng(0)
    long = rng.standard_normal(32_000).astype(np.float32)
    first = stream_features([long[:16_000]], 50, mels=80, peak=1.5)
    whole = stream_features([long], 100, mels=80, peak=1.5)
    torch.testing.assert_close(first[:, :98], whole[:, :98], rtol=0, atol=1e-6)  # 200 samples before the cut


def test_a_stream_writes_every_token_once_and_in_time(task, model):
    del model  # in float64
    shape = Shape(task.shape.mels, task.shape.window, task.shape.places, task.shape.end)
    task.model.float()
    found = decode_stream(task.model, task.whisper.vocabulary, shape, examples(task), MIX, block=16)
    for one in found:
        assert len(one.tokens) == len(one.times)
        assert one.times == sorted(one.times)
        assert not one.times or one.times[-1] <= 0.02 * one.ends[-1] + 1e-9
    assert len(decode_windows(task.model, shape, examples(task))) == 2


def test_greedy_extension_against_generate(task):
    torch.manual_seed(0)
    model = task.model.float().eval()
    encoded = torch.randn(1, 500, model.config.d_model)
    begun = [[task.whisper.vocabulary.start, task.whisper.vocabulary.languages["en"], 5]]
    (tail,) = extend(model, task.shape, encoded, begun, [500], most=6)
    tokens = list(begun[0])
    for token in tail.tokens:
        with torch.no_grad():
            scores = model(encoder_outputs=(encoded,), decoder_input_ids=torch.tensor([tokens])).logits[0, -1]
        assert int(scores[: task.shape.end + 1].argmax()) == token
        tokens.append(token)


def test_rows_of_different_lengths_and_limits_are_extended_as_each_is_alone_without_a_cache():
    made = load_causal("digits", {}, CausalSpec(base="digits"), seed=0)
    model, shape = made.model.eval(), made.shape
    said = examples(made)
    batch = causal_tensors(said, MIX, shape, np.random.default_rng(3), windows=True)
    with torch.no_grad():
        encoded = encode_causal(model.model.encoder, batch["features"], batch["ends"])
        wild = torch.randn(2, *encoded.shape[1:], generator=torch.Generator().manual_seed(0))
        encoded = torch.cat([encoded, wild])
    begun = [
        list(said[0].prefix),
        [*said[1].prefix, *said[1].tokens[:1]],
        [*said[0].prefix, *said[0].tokens[:2]],
        list(said[0].prefix),
    ]
    limits = [encoded.shape[1], 40, 30, 54]
    found = extend(model, shape, encoded, begun, limits, most=5)
    for row, tail in enumerate(found):
        tokens, chances, ended = list(begun[row]), [], False
        while not ended and len(chances) < 5:
            with torch.no_grad():
                hidden = decode_limited(
                    model.model.decoder, torch.tensor([tokens]), encoded[row : row + 1], torch.tensor([limits[row]])
                )
                likely = model.proj_out(hidden[0, -1])[: shape.end + 1].softmax(-1)
            ended = int(likely.argmax()) == shape.end
            if not ended:
                tokens.append(int(likely.argmax()))
                chances.append(float(likely.max()))
        assert (list(tail.tokens), tail.ended) == (tokens[len(begun[row]) :], ended)
        assert tail.probabilities == pytest.approx(chances, rel=1e-4)
    assert len({len(tail.tokens) for tail in found}) > 1, "rows end at different times"
