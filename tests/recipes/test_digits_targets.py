"""What is written down for a recording, token by token."""

import numpy as np
import pytest
import torch

from recipes.digits.compose import CONTEXT, Recording, Word, context_targets, frame_targets
from recipes.digits.losses import context_loss, guidance
from recipes.digits.targets import IGNORED, NOWHERE, Style, build_target
from recipes.digits.tokens import Vocabulary, control_tokens, make_tokenizer, merges
from recipes.digits.words import DIGITS

V = Vocabulary.build()
SOT, EOT = V.special("startoftranscript"), V.special("endoftext")


def recording(words: list[tuple[int, float, float]], language: str = "en", cut: float | None = None) -> Recording:
    spoken = [Word(digit, start, end) for digit, start, end in words]
    return Recording(np.zeros(160_000, np.float32), language, spoken, cut)


TWO_PHRASES = [(3, 0.4, 0.8), (1, 0.9, 1.3), (4, 1.5, 2.1), (5, 3.0, 3.4)]


def test_words_only() -> None:
    target = build_target(recording(TWO_PHRASES), Style(timestamps=False), V)
    words = [V.word(word) for word in ("three", "one", "four", "five")]
    head = [SOT, V.special("en"), V.special("transcribe"), V.special("notimestamps")]
    assert target.inputs == head + words
    assert target.labels == head[1:] + words + [EOT]


def test_times_stand_around_phrases() -> None:
    target = build_target(recording(TWO_PHRASES), Style(timestamps=True), V)
    three, one, four, five = (V.word(word) for word in ("three", "one", "four", "five"))
    body = [V.time(0.4), three, one, four, V.time(2.1), V.time(3.0), five, V.time(3.4)]
    assert target.labels[2:] == [*body, EOT]


def test_a_word_that_the_window_cuts_off_leaves_its_start() -> None:
    target = build_target(recording([(5, 8.6, 9.1)], cut=9.62), Style(timestamps=True), V)
    assert target.labels[2:] == [V.time(8.6), V.word("five"), V.time(9.1), V.time(9.62), EOT]
    plain = build_target(recording([(5, 8.6, 9.1)], cut=9.62), Style(timestamps=False), V)
    assert plain.labels[3:] == [V.word("five"), EOT]


@pytest.mark.parametrize("timestamps", [False, True])
def test_nothing_said_is_no_speech_and_an_empty_text(timestamps: bool) -> None:
    target = build_target(recording([], "fr"), Style(timestamps), V)
    assert target.labels[0] == V.special("nospeech")
    assert target.inputs[1] == V.special("fr")
    assert target.labels[2:] == ([V.time(0.0), EOT] if timestamps else [V.special("notimestamps"), EOT])


def test_translation_is_in_english() -> None:
    target = build_target(recording([(4, 0.0, 0.5)], "de"), Style(timestamps=False, translate=True), V)
    assert target.inputs == [
        SOT,
        V.special("de"),
        V.special("translate"),
        V.special("notimestamps"),
        V.word("four"),
    ]


def test_a_prompt_is_read_but_not_scored() -> None:
    prompt = (V.word("two"), V.word("six"))
    target = build_target(recording([(4, 0.0, 0.5)]), Style(timestamps=False, prompt=prompt), V)
    assert target.inputs[:4] == [V.special("startofprev"), *prompt, SOT]
    assert target.labels[:3] == [IGNORED] * 3
    assert target.labels[3] == V.special("en")


def test_spans_say_where_each_answer_is_heard() -> None:
    words = [Word(3, 0.4, 0.8), Word(1, 0.8, 1.2, exact=False)]
    spoken = Recording(np.zeros(32_000, np.float32), "en", words)
    timed = build_target(spoken, Style(timestamps=True, prompt=(V.word("two"),)), V)
    assert len(timed.spans) == len(timed.labels) == len(timed.inputs)
    known = {V.time(0.4): (0.3, 0.5), V.word("three"): (0.4, 0.8), V.time(1.2): (1.1, 1.3)}
    for label, span in zip(timed.labels, timed.spans, strict=True):
        assert span == pytest.approx(known.get(label, NOWHERE))
    plain = build_target(spoken, Style(timestamps=False), V)
    assert [span != NOWHERE for span in plain.spans] == [False, False, False, True, False, False]


def test_guidance_is_the_mean_surprise_of_looking_inside_the_span() -> None:
    attention = torch.tensor([[[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], [[0.0, 0.0, 0.0, 1.0]] * 2]])
    spans = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])
    assert float(guidance(attention, spans)) == pytest.approx(-np.log(0.2 + 0.3))
    assert float(guidance(attention, torch.zeros(1, 2, 2))) == 0.0


def test_the_context_loss_is_the_sum_over_its_columns_of_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    heard = torch.randn(2, 5, sum(CONTEXT), generator=generator)
    context = torch.full((2, 5, 3), -100)
    context[0, 1] = torch.tensor([2, 10, 4])
    context[1, 4] = torch.tensor([15, 0, 10])
    expected, first = 0.0, 0
    for column, size in enumerate(CONTEXT):
        surprises = []
        for row, place in ((0, 1), (1, 4)):
            scores = heard[row, place, first : first + size].double().numpy()
            surprises.append(np.log(np.exp(scores).sum()) - scores[int(context[row, place, column])])
        expected += float(np.mean(surprises))
        first += size
    assert float(context_loss(heard, context)) == pytest.approx(expected, rel=1e-5)
    assert float(context_loss(heard, torch.full((2, 5, 3), -100))) == 0.0


def test_context_tells_how_many_words_came_before_and_which() -> None:
    words = [Word(3, 0.1, 0.2), Word(4, 0.3, 0.4, exact=False), Word(7, 0.5, 0.6), Word(7, 0.7, 0.8)]
    context = context_targets(Recording(np.zeros(16_000, np.float32), "en", words), 50)
    assert context[5:10].tolist() == [[0, 10, 10]] * 5
    assert context[25:30].tolist() == [[2, 4, 3]] * 5
    assert context[35:40].tolist() == [[3, 7, 4]] * 5
    known = np.zeros(50, bool)
    known[[*range(5, 10), *range(25, 30), *range(35, 40)]] = True
    assert (context[~known] == -100).all()


def test_context_counts_no_further_than_it_has_classes() -> None:
    words = [Word(1, 0.2 * n, 0.2 * n + 0.1) for n in range(20)]
    context = context_targets(Recording(np.zeros(64_000, np.float32), "en", words), 200)
    assert context[:, 0].max() == CONTEXT[0] - 1
    assert all(context[:, column].max() < size for column, size in enumerate(CONTEXT))


def test_frames_name_what_is_heard_and_leave_out_what_is_not_known() -> None:
    spoken = Recording(np.zeros(16_000, np.float32), "en", [Word(3, 0.1, 0.2), Word(4, 0.3, 0.4, exact=False)], 0.8)
    frames = frame_targets(spoken, 60, 11)
    assert frames[:5].tolist() == [0] * 5
    assert frames[5:10].tolist() == [14] * 5
    assert frames[15:20].tolist() == [-100] * 5
    assert frames[40:50].tolist() == [-100] * 10
    assert frames[50:].tolist() == [0] * 10


def test_every_byte_and_every_digit_word_has_a_token() -> None:
    tokenizer = make_tokenizer()
    assert len(tokenizer) == len(V)
    for words in DIGITS.values():
        for word in words:
            assert tokenizer(" " + word, add_special_tokens=False).input_ids == [V.word(word)]
    text = " any þrompt, ¿with? 日本 \n\t three"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_control_tokens_stand_in_whispers_order() -> None:
    tokenizer = make_tokenizer()
    names = control_tokens()
    assert tokenizer.convert_tokens_to_ids(names) == [V.control[name] for name in names]
    assert V.special("nospeech") == V.special("notimestamps") - 1
    assert tokenizer.convert_tokens_to_ids("<|0.00|>") == V.special("notimestamps") + 1 == V.time(0.0)
    assert tokenizer.convert_tokens_to_ids("<|10.00|>") == len(V) - 1 == V.time(10.0)
    assert tokenizer.all_special_ids[-1] == V.special("notimestamps")


def test_merges_all_start_at_the_space() -> None:
    assert all(left.startswith("Ġ") and len(right) == 1 for left, right in merges())
