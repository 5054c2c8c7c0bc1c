"""Rules against slow twins and against Transformers' logits processors."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from linnet.decoding.options import DecodingOptions
from linnet.decoding.rules import Suppress, SuppressAtBegin, TimestampRules, build_rules
from linnet.models.vocabulary import WhisperVocabulary

WORDS, END, NO_TIMESTAMPS, BEGIN, SIZE = 6, 6, 9, 10, 22  # words 0-5, end 6, specials 7-9, timestamps 10-21
RULES = TimestampRules(begin=BEGIN, end_of_text=END, max_initial_index=4)

histories = st.lists(st.sampled_from([*range(WORDS), *range(BEGIN, SIZE)]), max_size=7)


def allowed(history: list[int], max_initial: int | None) -> set[int]:
    """By the words of the paper: which tokens may follow, before probabilities are looked at."""
    times = [token for token in history if token >= BEGIN]
    words, marks = set(range(END)), set(range(BEGIN, SIZE))
    rest = set(range(SIZE)) - words - marks - {NO_TIMESTAMPS}
    if not history:  # a transcript opens with a timestamp
        return {mark for mark in marks if max_initial is None or mark <= BEGIN + max_initial}
    if history[-1] >= BEGIN:
        if len(history) == 1 or history[-2] >= BEGIN:  # a pair, or the opening one: text follows
            return words | rest
        return {mark for mark in marks if mark >= times[-1]} | rest  # a closing one: its pair or the end
    return words | rest | {mark for mark in marks if not times or mark > times[-1]}


@settings(max_examples=150, deadline=None)
@given(st.lists(histories, min_size=1, max_size=4), st.integers(0, 10_000), st.sampled_from([None, 0, 4]))
def test_timestamp_rules(rows: list[list[int]], seed: int, max_initial: int | None) -> None:
    length = min(map(len, rows))  # rows of one batch are equally long
    rows = [row[:length] for row in rows]
    logits = torch.randn(len(rows), SIZE, generator=torch.Generator().manual_seed(seed)) * 3
    got = logits.clone()
    TimestampRules(begin=BEGIN, end_of_text=END, max_initial_index=max_initial)(got, rows)
    for row, history in enumerate(rows):
        may = sorted(allowed(history, max_initial))
        expected = torch.full((SIZE,), float("-inf"))
        expected[may] = logits[row, may]
        marks, words = expected[BEGIN:], expected[:BEGIN]
        if marks.double().exp().sum() > words.double().exp().max():
            expected[:BEGIN] = float("-inf")
        assert torch.equal(got[row], expected)
    assert torch.equal(got, by_transformers(logits, rows, max_initial))


def by_transformers(logits: Tensor, rows: list[list[int]], max_initial: int | None) -> Tensor:
    config = SimpleNamespace(
        no_timestamps_token_id=NO_TIMESTAMPS,
        eos_token_id=END,
        bos_token_id=END,
        max_initial_timestamp_index=max_initial,
    )
    prefix = [7, 8, 8]
    ids = torch.tensor([prefix + row for row in rows])
    return WhisperTimeStampLogitsProcessor(config, begin_index=3)(ids, logits.clone())


def test_rows_decide_for_themselves() -> None:
    together = torch.zeros(3, SIZE)
    histories = [[10, 1], [10, 15], [3, 12]]
    RULES(together, histories)
    for row, history in enumerate(histories):
        alone = torch.zeros(1, SIZE)
        RULES(alone, [history])
        assert torch.equal(together[row], alone[0])


def test_suppression() -> None:
    logits = torch.zeros(2, 5)
    SuppressAtBegin([0])(logits, [[1], [2]])
    assert not logits.isinf().any()
    SuppressAtBegin([0, 4])(logits, [[], []])
    Suppress([2])(logits, [[], []])
    assert logits[0].isinf().tolist() == [True, False, True, False, True]
    assert torch.equal(logits[0], logits[1])


def vocabulary(**changes: object) -> WhisperVocabulary:
    fields = {
        "tokenizer": None,
        "size": SIZE,
        "start": 7,
        "end": END,
        "no_timestamps": NO_TIMESTAMPS,
        "no_speech": 8,
        "start_of_previous": None,
        "languages": {},
        "tasks": {},
        "suppress": (1,),
        "begin_suppress": (2,),
        "max_initial_timestamp_index": None,
        "seconds_per_timestamp": 0.02,
    }
    return WhisperVocabulary(**{**fields, **changes})  # type: ignore[arg-type]


def forbidden(options: DecodingOptions, **changes: object) -> list[int]:
    logits = torch.zeros(1, SIZE)
    for rule in build_rules(vocabulary(**changes), options):
        rule(logits, [[]])
    return logits[0].isinf().nonzero().flatten().tolist()


def test_the_model_says_which_rules_apply_unless_the_options_do() -> None:
    assert forbidden(DecodingOptions(timestamps=False)) == [1, 2]
    assert forbidden(DecodingOptions(timestamps=False, suppress_tokens=(), begin_suppress_tokens=(4,))) == [4]
    assert forbidden(DecodingOptions()) == list(range(BEGIN))
    assert forbidden(DecodingOptions(), max_initial_timestamp_index=3) == [*range(BEGIN), *range(BEGIN + 4, SIZE)]
    assert forbidden(DecodingOptions(max_initial_timestamp=0.02), max_initial_timestamp_index=3) == [
        *range(BEGIN),
        *range(BEGIN + 2, SIZE),
    ]
