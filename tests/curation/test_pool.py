"""The passes' shards are read as one pool, and what is not whole is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnet.curation.budget import BudgetOptions
from linnet.curation.pool import Labels, Pool, read_pool
from linnet.curation.select import SelectOptions, select
from linnet.errors import OptionError

pa = pytest.importorskip("pyarrow", reason="the extra 'curate' is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra 'curate' is not installed")

TEXTS = ["one two", None, "", "नमस्ते"]


def measured(rows: list[int]) -> Any:
    """Four recordings, the second of which cannot be read."""
    fine = [row != 1 for row in rows]

    def lists(of: Any) -> list[Any]:
        return [of(row) if row != 1 else [] for row in rows]

    return pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            "id": [f"r{row}" for row in rows],
            "text": pa.array([TEXTS[row] for row in rows], pa.string()),
            "language": [("en", "und", "en", "hi")[row] for row in rows],
            "speaker": pa.array([("b", None, "a", "b")[row] for row in rows], pa.string()),
            "domain": pa.array([None] * len(rows), pa.string()),
            "source": pa.array([("y", None, "x", "x")[row] for row in rows], pa.string()),
            "error": pa.array([None if ok else "r1.wav: no such file" for ok in fine], pa.string()),
            "duration": pa.array([2.0 if ok else 0.0 for ok in fine], pa.float64()),
            "frames": pa.array([100 if ok else 0 for ok in fine], pa.int32()),
            "speech_frames": pa.array([90 if ok else 0 for ok in fine], pa.int32()),
            "snr_db": pa.array([20.0 if ok else None for ok in fine], pa.float32()),
            "clipped": pa.array([0.0 if ok else None for ok in fine], pa.float32()),
            "units": pa.array(lists(lambda row: [row, 7]), pa.list_(pa.uint16())),
            "pcm_hash": pa.array([bytes([row] * 16) if row != 1 else None for row in rows], pa.binary(16)),
            "sketch": pa.array(lists(lambda row: [row] * 64), pa.list_(pa.uint32())),
        }
    )


def spoken() -> Any:
    return pa.table(
        {
            "row": pa.array(range(4), pa.int64()),
            "words": pa.array([[1, 2], None, [], [3]], pa.list_(pa.uint32())),
            "characters": pa.array([7, 0, 0, 6], pa.int32()),
            "phones": pa.array([[1, 2, 3], None, [], [4]], pa.list_(pa.uint16())),
            "backend": pa.array(["espeak", None, None, "epitran"], pa.string()),
            "script": pa.array(["Latn", None, "Zyyy", "Deva"], pa.string()),
            "script_share": pa.array([1.0, None, 0.0, 1.0], pa.float32()),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(measured([0, 1]), tmp_path / "measured-00000.parquet")
    pq.write_table(measured([2, 3]), tmp_path / "measured-00001.parquet")
    pq.write_table(spoken(), tmp_path / "spoken-00000.parquet")
    scores = pa.table({"row": pa.array(range(4), pa.int64()), "mi": pa.array([0.1, None, 0.2, 0.3], pa.float32())})
    pq.write_table(scores, tmp_path / "scores-00000.parquet")
    return tmp_path


def test_shards_are_one_pool(folder: Path) -> None:
    pool = read_pool(folder)
    assert pool.ids.tolist() == ["r0", "r1", "r2", "r3"]
    assert pool.texts.tolist() == TEXTS
    assert [pool.labels["language"][row] for row in range(4)] == ["en", "und", "en", "hi"]
    assert pool.labels["language"].names == ("en", "hi", "und")
    assert [pool.speakers[row] for row in range(4)] == ["y/b", None, "x/a", "x/b"]
    assert [pool.labels["script"][row] for row in range(4)] == ["Latn", None, "Zyyy", "Deva"]
    assert [one.tolist() for one in pool.units] == [[0, 7], [], [2, 7], [3, 7]]
    assert [one.tolist() for one in pool.phones] == [[1, 2, 3], [], [], [4]]
    assert pool.hashed.tolist() == pool.sketched.tolist() == [True, False, True, True]
    assert pool.hashes[3].tobytes() == bytes([3] * 16)
    assert pool.score("mi")[[0, 2, 3]] == pytest.approx([0.1, 0.2, 0.3])
    assert np.isnan([pool.score("mi")[1], pool.numbers["snr_db"][1], pool.numbers["bandwidth_hz"][0]]).all()
    assert pool.row_of("r2") == 2


def test_a_pool_of_a_pool(folder: Path) -> None:
    pool = read_pool(folder)
    part = pool.part(1, 3)
    assert part.ids.tolist() == ["r1", "r2"]
    assert [one.tolist() for one in part.units] == [[], [2, 7]]
    assert part.speakers[1] == "x/a"


def test_what_is_read_can_be_chosen_from(folder: Path) -> None:
    found = select(read_pool(folder))
    names = [found.fates[row] for row in range(4)]
    assert names[1:3] == ["unreadable", "no-text"]
    assert found.reasons[1] == "not usable: r1.wav: no such file"


def test_measured_alone_is_enough(folder: Path) -> None:
    (folder / "spoken-00000.parquet").unlink()
    (folder / "scores-00000.parquet").unlink()
    pool = read_pool(folder)
    assert len(pool.words) == 4
    assert select(pool, SelectOptions(budget=BudgetOptions(keep=1.0))).kept.tolist() == [True, False, False, True]
    with pytest.raises(OptionError, match="no score column 'mi': there are none"):
        pool.score("mi")


def test_what_is_not_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no shards measured"):
        read_pool(tmp_path / "none")
    pool: Pool = read_pool(folder)
    with pytest.raises(OptionError, match="no recording has the id 'r9'"):
        pool.row_of("r9")
    (folder / "measured-00000.parquet").unlink()
    with pytest.raises(OptionError, match="row 0 is missing"):
        read_pool(folder)
    (folder / "measured-00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(OptionError, match="cannot be read"):
        read_pool(folder)


def test_sums_of_labels() -> None:
    labels = Labels.of(["b", None, "a", "b"])
    assert labels.sums(np.array([1, 10, 100, 1000])).tolist() == [100.0, 1001.0]
    assert [labels[row] for row in range(4)] == ["b", None, "a", "b"]
