"""The same three utterances in every format that is read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "three one four", "speaker": "anna", "language": "en", "tone": 300.0},
    {"id": "b", "text": "eins fünf neun", "speaker": "ben", "language": "de", "tone": 500.0},
    {"id": "c", "text": "", "speaker": "anna", "language": "en", "tone": 700.0},
]


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def wav(hertz: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(hertz), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def sounds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        (folder / f"{row['id']}.wav").write_bytes(wav(row["tone"]))


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def linnet(folder: Path) -> Path:
    sounds(folder / "wav")
    keys = ("id", "text", "speaker", "language")
    return lines(
        folder / "corpus.jsonl",
        [{"audio": f"wav/{row['id']}.wav", "duration": 0.5, **{key: row[key] for key in keys}} for row in ROWS],
    )


def nemo(folder: Path) -> Path:
    sounds(folder / "wav")
    return lines(
        folder / "train.json",
        [
            {
                "audio_filepath": f"wav/{row['id']}.wav",
                "duration": 0.5,
                "text": row["text"],
                "lang": row["language"],
                "speaker": row["speaker"],
                "id": row["id"],
            }
            for row in ROWS
        ],
    )


def nemo_tarred(folder: Path) -> Path:
    with tarfile.open(folder / "audio_0.tar", "w") as tar:
        for row in ROWS:
            data = wav(row["tone"])
            member = tarfile.TarInfo(f"{row['id']}.wav")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return lines(
        folder / "tarred_audio_manifest.json",
        [
            {
                "audio_filepath": f"{row['id']}.wav",
                "duration": 0.5,
                "text": row["text"],
                "lang": row["language"],
                "speaker": row["speaker"],
                "id": row["id"],
                "shard_id": 0,
            }
            for row in ROWS
        ],
    )


def cut(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A Lhotse cut of a whole file."""
    return {
        "id": row["id"],
        "start": 0.0,
        "duration": 0.5,
        "channel": 0,
        "supervisions": [
            {
                "id": f"{row['id']}-0",
                "recording_id": row["id"],
                "start": 0.0,
                "duration": 0.5,
                "channel": 0,
                "text": row["text"],
                "language": row["language"],
                "speaker": row["speaker"],
            }
        ],
        "recording": {
            "id": row["id"],
            "sources": [{"type": "file", "channels": [0], "source": f"wav/{row['id']}.wav"}],
            "sampling_rate": RATE,
            "num_samples": RATE // 2,
            "duration": 0.5,
            "channel_ids": [0],
        },
        "type": "MonoCut",
        **changes,
    }


def lhotse(folder: Path) -> Path:
    sounds(folder / "wav")
    return lines(folder / "cuts.jsonl.gz", [cut(row) for row in ROWS])


def kaldi(folder: Path) -> Path:
    sounds(folder / "wav")
    tables = {
        "wav.scp": [f"{row['id']} wav/{row['id']}.wav" for row in ROWS],
        "text": [f"{row['id']} {row['text']}" for row in ROWS],
        "utt2spk": [f"{row['id']} {row['speaker']}" for row in ROWS],
        "utt2lang": [f"{row['id']} {row['language']}" for row in ROWS],
        "utt2dur": [f"{row['id']} 0.5" for row in ROWS],
    }
    for name, content in tables.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def common_voice(folder: Path) -> Path:
    sounds(folder / "clips")
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"
    body = [f"{row['speaker']}\t{row['id']}.wav\t{row['text']}\t2\t0\t\t\t\t{row['language']}\t" for row in ROWS]
    path = folder / "test.tsv"
    path.write_text("\n".join([header, *body]) + "\n", encoding="utf-8")
    return path


def columns() -> dict[str, list[Any]]:
    return {
        "id": [row["id"] for row in ROWS],
        "audio": [{"bytes": wav(row["tone"]), "path": f"{row['id']}.wav"} for row in ROWS],
        "text": [row["text"] for row in ROWS],
        "speaker_id": [row["speaker"] for row in ROWS],
        "language": [row["language"] for row in ROWS],
        "duration": [0.5] * len(ROWS),
    }


def parquet(folder: Path, rows_per_group: int = 2) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "test-00000-of-00001.parquet"
    pq.write_table(pa.table(columns()), path, row_group_size=rows_per_group)
    return path


def arrow(folder: Path, *, stream: bool = True) -> Path:
    import pyarrow as pa

    path = folder / "data-00000-of-00001.arrow"
    table = pa.table(columns())
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return folder


def leaderboard(folder: Path) -> Path:
    sounds(folder / "wav")
    return lines(
        folder / "MODEL_some-model_DATASET_x_test.jsonl",
        [
            {
                "audio_filepath": f"wav/{row['id']}.wav",
                "duration": 0.5,
                "time": 0.1,
                "text": row["text"],
                "pred_text": "three one",
                "parent_id": "call",
                "chunk_index": at,
            }
            for at, row in enumerate(ROWS)
        ],
    )


FORMATS = {
    "linnet": linnet,
    "nemo": nemo,
    "nemo-tarred": nemo_tarred,
    "lhotse": lhotse,
    "kaldi": kaldi,
    "common-voice": common_voice,
    "parquet": parquet,
    "arrow": arrow,
}
