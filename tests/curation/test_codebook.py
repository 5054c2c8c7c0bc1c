"""Codebooks: k-means against brute force, the same for the same data, frozen in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation.codebook import Codebook, CodebookOptions, RecordingFrames, collapse, k_means, learn, nearest
from linnet.curation.mfcc import analyze, cepstra, find_speech, smooth
from linnet.errors import ModelError, OutputError
from tests.support.syllables import speechlike

OPTIONS = CodebookOptions(units=16, frames=2000)


def speech_features(samples: np.ndarray) -> np.ndarray:
    spectrum = analyze(samples)
    return smooth(cepstra(spectrum.bands))[find_speech(spectrum)]


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    return [speech_features(speechlike(seed)) for seed in range(8)]


@pytest.fixture(scope="module")
def codebook(recordings: list[np.ndarray]) -> Codebook:
    return learn([RecordingFrames.of(one, 100) for one in recordings], OPTIONS)


def test_the_nearest_unit_is_that_of_brute_force() -> None:
    generator = np.random.default_rng(0)
    points, centroids = (generator.standard_normal((count, 5)).astype(np.float32) for count in (5000, 9))
    distances = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(axis=2)
    assert np.array_equal(nearest(points, centroids), distances.argmin(axis=1))


def test_k_means_finds_clusters_that_stand_apart() -> None:
    generator = np.random.default_rng(0)
    centers = 100 * generator.standard_normal((7, 3))
    points = np.repeat(centers, 50, axis=0) + generator.standard_normal((350, 3))
    found = k_means(points.astype(np.float32), 7, seed=1)
    wanted = points.reshape(7, 50, 3).mean(axis=1)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], wanted[np.argsort(wanted[:, 0])], rtol=1e-4, atol=1e-3)


def test_where_there_are_fewer_frames_than_units_each_is_a_unit() -> None:
    points = np.repeat(np.arange(6, dtype=np.float32).reshape(3, 2), 4, axis=0)
    assert sorted(k_means(points, 50, seed=0).tolist()) == [[0, 1], [2, 3], [4, 5]]


def test_the_same_recordings_give_the_same_codebook_and_another_seed_another(recordings: list[np.ndarray]) -> None:
    frames = [RecordingFrames.of(one, 100) for one in recordings]
    one, again = (learn(frames, OPTIONS) for _ in range(2))
    other = learn(frames, CodebookOptions(units=16, frames=2000, seed=1))
    assert one.digest == again.digest != other.digest
    assert len(one) == 16


def test_units_do_not_depend_on_gain(codebook: Codebook) -> None:
    samples = speechlike(30)
    loud, quiet = (codebook.encode(speech_features(samples * np.float32(gain)))[0] for gain in (1.0, 0.02))
    assert len(loud) > 20
    assert np.array_equal(loud, quiet)


def test_runs_add_up_to_the_frames(codebook: Codebook, recordings: list[np.ndarray]) -> None:
    units, runs = codebook.encode(recordings[0])
    assert runs.sum() == len(recordings[0])
    assert (units[1:] != units[:-1]).all()
    assert units.max() < len(codebook)
    empty = codebook.encode(recordings[0][:0])
    assert [len(part) for part in empty] == [0, 0]


@given(st.lists(st.integers(0, 3)))
@settings(max_examples=50, deadline=None)
def test_collapsing_loses_nothing(values: list[int]) -> None:
    units, runs = collapse(np.array(values, np.uint16))
    assert np.repeat(units, runs).tolist() == values
    assert (units[1:] != units[:-1]).all()


def test_a_run_that_is_too_long_is_several() -> None:
    values = np.concatenate([np.full(140_000, 3), [5], np.full(65_535, 3)]).astype(np.uint16)
    units, runs = collapse(values)
    assert units.tolist() == [3, 3, 3, 5, 3]
    assert runs.tolist() == [65_535, 65_535, 8_930, 1, 65_535]


def test_without_speech_there_is_one_unit() -> None:
    silent = RecordingFrames.of(np.zeros((0, 13), np.float32), 10)
    codebook = learn([silent])
    assert len(codebook) == 1
    assert codebook.encode(np.ones((4, 13), np.float32))[0].tolist() == [0]


def test_a_file_gives_the_same_codebook_with_its_note(codebook: Codebook, tmp_path: Path) -> None:
    codebook.save(tmp_path / "c.safetensors", key="k")
    read, note = Codebook.load(tmp_path / "c.safetensors")
    assert (read.digest, note) == (codebook.digest, {"key": "k"})
    with pytest.raises(OutputError, match="folder is missing"):
        codebook.save(tmp_path / "none" / "c.safetensors")


def test_other_files_are_no_codebooks(tmp_path: Path, codebook: Codebook) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "c.safetensors"
    with pytest.raises(ModelError, match=r"c\.safetensors: cannot be read"):
        Codebook.load(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(ModelError, match="not a codebook of this version"):
        Codebook.load(path)
    codebook.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        Codebook.load(path)
