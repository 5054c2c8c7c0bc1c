"""Healing comes nearer to the dense model where there is something to heal, and changes nothing where it does harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from linnet.compression.heal import HealOptions, heal
from linnet.compression.job import Compressed, CompressOptions, Study, compress
from linnet.compression.windows import Lessons
from linnet.errors import OptionError
from tests.support.tiny_subjects import audio_of, whisper_subject


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    subject = whisper_subject(tmp_path_factory.mktemp("w") / "w", double=False)
    return Study(subject, audio_of(subject), CompressOptions(budget=0.5, step=4))


@pytest.fixture(scope="module")
def made(study: Study) -> Compressed:
    return compress(study, CompressOptions(budget=0.5, step=4))


def descend(rate: float, steps: int) -> Callable[..., int]:
    """A loop of the caller's own: plain Adam for some steps."""

    def fit(parameters: Sequence[nn.Parameter], loss: Callable[[int], Tensor], goes_on: Callable[[int], bool]) -> int:
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for step in range(steps):
            goes_on(step)
            optimizer.zero_grad()
            loss(step).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return steps

    return fit


def test_healing_comes_nearer_and_leaves_the_dense_model_alone(study: Study, made: Compressed) -> None:
    before = {name: value.clone() for name, value in study.subject.model.state_dict().items()}
    given = {name: value.clone() for layer in made.layers.values() for name, value in layer.state_dict().items()}
    healed = heal(
        study.subject, made.layers, study.audio.teaching, study.held_out, HealOptions(), fit=descend(3e-3, 60)
    )
    assert healed.kept
    assert healed.divergence < healed.before == pytest.approx(made.divergence, rel=1e-4)
    after = study.subject.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert given.keys() == {name for layer in made.layers.values() for name in layer.state_dict()}
    assert all(not value.requires_grad for layer in healed.layers.values() for value in layer.parameters())


def test_what_does_harm_is_not_kept(study: Study, made: Compressed) -> None:
    healed = heal(study.subject, made.layers, study.audio.teaching, study.held_out, fit=descend(5.0, 3))
    assert not healed.kept
    assert healed.divergence == healed.before == min(healed.course)
    assert all(healed.layers[name] is layer for name, layer in made.layers.items())


def test_our_own_loop_ends_with_the_time(study: Study, made: Compressed) -> None:
    healed = heal(study.subject, made.layers, study.audio.teaching, study.held_out, HealOptions(minutes=0.05))
    assert healed.steps > 0
    assert len(healed.course) >= 2
    assert healed.divergence <= healed.before


def test_windows_that_were_transcribed_are_not_transcribed_again(
    study: Study, made: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons, heard = Lessons(study.audio), []
    assert len(lessons) == len(study.audio.teaching)
    assert [one.tokens is not None for one in lessons] == [True] * len(lessons)  # 64 windows are, and here are fewer
    transcribed = study.subject.transcribed
    monkeypatch.setattr(study.subject, "transcribed", lambda one: heard.append(1) or transcribed(one))  # type: ignore[func-returns-value]
    found = [
        heal(study.subject, made.layers, examples, study.held_out, HealOptions(minutes=5), fit=descend(1e-4, 3))
        for examples in (lessons, study.audio.teaching)
    ]
    assert len(heard) == 3  # of the second
    assert found[0].course == found[1].course


def test_settings_without_sense_are_refused(study: Study) -> None:
    with pytest.raises(OptionError, match="minutes and a rate, both above 0"):
        HealOptions(minutes=0)
    with pytest.raises(OptionError, match="nothing to heal"):
        heal(study.subject, {}, study.audio.teaching, study.held_out)
