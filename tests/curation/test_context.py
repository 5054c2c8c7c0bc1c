"""Domains of texts, against naive Bayes with dictionaries."""

from __future__ import annotations

from collections import Counter
from math import exp, log, log2

import numpy as np
import pytest

from linnet.curation.context import UNLABELED, DomainCounts, DomainModel, Topics
from linnet.curation.markov import Sequences
from linnet.curation.ragged import Ragged

D = 3


def pool(rows=30, seed=0):
    rng = np.random.default_rng(seed)
    domains = rng.choice([0, 1, 2, UNLABELED], rows)
    texts = [(rng.integers(0, 8, rng.integers(0, 14)) + 4 * (domain % 4)).tolist() for domain in domains]
    return texts, domains.astype(np.int64), rng.integers(0, 2, rows)


def model_of(texts, domains, groups):
    words = Sequences(Ragged.from_lists(texts, np.uint32), 32)
    counts = DomainCounts()
    counts.add(words, groups, domains)
    return words, DomainModel.of(counts, 2, D)


def chances(texts, domains, members, at):
    others = [index for index in members if index != at]
    rows = Counter(domains[index] for index in others)
    known = {domains[index] for index in members} - {UNLABELED}
    prior = {d: (rows[d] + 0.5) for d in known}
    prior = {d: value / sum(prior.values()) for d, value in prior.items()}
    everywhere = Counter(word for index in others for word in texts[index])
    logs = {}
    for d in known:
        words = Counter(word for index in others if domains[index] == d for word in texts[index])
        ratios = []
        for word in texts[at]:
            p = (everywhere[word] + 0.5) / (everywhere.total() + 1)
            ratios.append(log((words[word] + 64 * p) / (words.total() + 64) / p) if everywhere[word] else 0.0)
        logs[d] = log(prior[d]) + min(len(ratios), 8) / len(ratios) * sum(ratios)
    total = sum(exp(value) for value in logs.values())
    return prior, {d: exp(value) / total for d, value in logs.items()}


def test_information_gain_is_its_definition_without_the_row_itself():
    texts, domains, groups = pool()
    words, model = model_of(texts, domains, groups)
    gain, entropy = (getattr(model, name)(words, groups, domains) for name in ("information_gain", "posterior_entropy"))
    for at in range(len(texts)):
        if not texts[at]:
            assert np.isnan(gain[at])
            continue
        members = [index for index in range(len(texts)) if groups[index] == groups[at]]
        prior, posterior = chances(texts, domains, members, at)
        assert gain[at] == pytest.approx(sum(p * log2(p / prior[d]) for d, p in posterior.items()), abs=1e-9)
        assert entropy[at] == pytest.approx(-sum(p * log2(p) for p in posterior.values()), abs=1e-9)


def test_a_text_that_could_be_from_anywhere_says_nothing():
    rng = np.random.default_rng(1)
    domains = np.repeat(np.arange(3), 40)
    texts = [[*rng.integers(0, 5, 6).tolist(), *([100 + d] * 3)] for d in domains]
    texts += [rng.integers(0, 5, 9).tolist() for _ in range(6)]
    domains = np.append(domains, [UNLABELED] * 6)
    words, model = model_of(texts, domains, np.zeros(len(texts), np.int64))
    gain = model.information_gain(words, np.zeros(len(texts), np.int64), domains)
    assert gain[:120].min() > 0.8
    assert gain[120:].max() < 0.1


def test_no_domains_no_information():
    texts, _, groups = pool()
    for domains in (np.full(30, UNLABELED), np.zeros(30, np.int64)):
        words, model = model_of(texts, domains, groups)
        assert np.isnan(model.information_gain(words, groups, domains)).all()
    words, model = model_of([[], []], np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert np.isnan(model.posterior_entropy(words, np.zeros(2, np.int64), np.zeros(2, np.int64))).all()


def test_topics_find_the_heaps_that_texts_come_from():
    rng = np.random.default_rng(2)
    heaps = rng.integers(0, 3, 300)
    texts = Ragged.from_lists([rng.integers(0, 40, 12) + 1000 * heap for heap in heaps] + [[]], np.uint32)
    topics = Topics.fit(texts, topics=6, seed=1)
    labels = topics.assign(texts)
    pure = sum(
        Counter(heaps[labels[:-1] == label].tolist()).most_common(1)[0][1] for label in set(labels[:-1].tolist())
    )
    assert pure > 290
    assert labels[-1] == UNLABELED
    assert topics.assign(texts.select([5, 3])).tolist() == labels[[5, 3]].tolist()
    assert Topics.fit(Ragged.from_lists([[]], np.uint32)).assign(texts).tolist() == [UNLABELED] * 301
