"""Utterances per second of Linnet's training loop beside Transformers' `Trainer` with `group_by_length`.

    python benchmarks/training_speed.py [--train projector lora all] [--width 64] [--words 49152] [--json result.json]

The model is a fusion model of random parts: a HuBERT of 4 layers, a Llama of 4 layers, a projector of two layers. It
pads to the longest sound of a batch (Whisper: all to 30 s, and length grouping would be for nothing). `--train`
says what takes gradients: the projector, low-rank pairs on both sides, or everything. The corpus is noise on disk whose
lengths are distributed as in `batching.py`, from 1 to 20 s, at 3.3 words a second.

Both sides have the same model, files, code that reads and pads, float32, threads, clipping and AdamW
(`--optimizer fused` gives the Trainer its own default, the fused one). Each runs one epoch in its own process, in
turn A B A B, without workers, checkpoints or validation; the clock goes from the begin of training to the end of the
last step. Threads sleep while they wait, so that CPU seconds are work: on a machine that does other things as well,
utterances per CPU second are the figure to trust.

Both have the same memory: the Trainer's batch is the largest that takes no more on top of what the process held when
training began (peak VmHWM less VmRSS then; the longest batch comes first, so two steps tell) than Linnet's whole epoch,
and at least the largest whose longest utterances stay within Linnet's budget of padded seconds. That is found in
their own processes whose freed memory goes back to the system at once; the MB of the table are of the timed ones.
Asked: 1.5 times the utterances per second. On a CPU an utterance takes as long in a small batch as in a large one, so
only padding counts there, and planned batches gain next to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FREEZE = {
    "projector": {},
    "lora": {"encoder": "lora(r=8)", "language_model": "lora(r=8)"},
    "all": {"encoder": "all", "language_model": "all"},
}
RATE = 16_000
LONGEST = 20.0
Result = dict[str, Any]


# --- model and data, made once


def make(folder: Path, options: argparse.Namespace) -> None:
    """Both bases and the corpus."""
    make_bases(folder, options.width, options.words)
    make_corpus(folder, options.utterances, options.words)


def make_bases(folder: Path, width: int, vocabulary: int) -> None:
    """A random HuBERT and a random Llama with a tokenizer of numbered words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        HubertConfig,
        HubertModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
    )

    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 4, "num_attention_heads": 4}
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_conv_pos_embeddings": 32}
    hubert = HubertConfig(**shape, **large, conv_dim=(width // 2,) * 7, num_conv_pos_embedding_groups=16)
    HubertModel(hubert).save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder / "encoder")
    names = ["<unk>", "<s>", "</s>", "<pad>", *(f"w{number}" for number in range(vocabulary))]
    words = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    llama = LlamaConfig(**shape, **tokens, vocab_size=len(names), max_position_embeddings=2048)
    LlamaForCausalLM(llama).save_pretrained(folder / "language_model")
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder / "language_model")


def make_corpus(folder: Path, count: int, vocabulary: int) -> None:
    """`count` utterances of noise, with lengths as in `batching.py`."""
    import numpy as np
    import soundfile
    from batching import corpus

    from linnet.data import Utterance, write_manifest

    random = np.random.default_rng(0)
    lengths = corpus(2 * count, 0.25)
    rows = np.flatnonzero((lengths.durations >= 1) & (lengths.durations <= LONGEST))[:count]
    utterances = []
    for row in rows:
        sound = random.integers(-3000, 3000, round(float(lengths.durations[row]) * RATE), dtype=np.int16)
        soundfile.write(folder / f"{row}.wav", sound, RATE)
        text = " ".join(f"w{word}" for word in random.integers(0, vocabulary, lengths.tokens[row]))
        utterances.append(Utterance(f"{row}.wav", text, len(sound) / RATE, "en"))
    write_manifest(folder / "train.jsonl", utterances)


def recipe(folder: Path, options: argparse.Namespace) -> Any:
    """Linnet's recipe; the Trainer takes model, data and settings from it too."""
    from linnet.settings import build
    from linnet.training.speech.recipe import SpeechRecipe

    batching = {"budget": options.budget, "groups": options.groups}
    never = 10**9
    content = {
        "model": {
            "encoder": str(folder / "encoder"),
            "language_model": str(folder / "language_model"),
            "projector": {"hidden": 2 * options.width},
        },
        "freeze": FREEZE[options.part],
        "data": {"train": [{"path": str(folder / "train.jsonl")}], "batching": batching},
        "run": {"device": "cpu", "workers": 0, "threads": options.threads, "checkpoint_every": never},
    }
    content["run"]["output"] = tempfile.mkdtemp(dir=folder)
    return build(SpeechRecipe, content, "benchmark")


# --- the two sides, each in its own process


class Watch:
    """The clock, and what went by."""

    def __init__(self) -> None:
        self.begin = self.end = self.cpu_begin = self.cpu_end = 0.0
        self.base = 0.0
        self._batches: list[list[float]] = []

    def start(self) -> None:
        """Training begins."""
        self.base = resident("VmRSS")
        self.begin, self.cpu_begin = time.perf_counter(), time.process_time()

    def batch(self, seconds: Iterable[float]) -> None:
        """A batch of utterances of these lengths."""
        self._batches.append(list(seconds))

    def stop(self) -> None:
        """A step has ended."""
        self.end, self.cpu_end = time.perf_counter(), time.process_time()

    def result(self) -> Result:
        """Figures of the epoch; memory in megabytes."""
        count = sum(map(len, self._batches))
        padded = sum(len(batch) * max(batch) for batch in self._batches)
        return {
            "utterances": count,
            "steps": len(self._batches),
            "largest": max(map(len, self._batches)),
            "padding": 1 - sum(map(sum, self._batches)) / padded,
            "seconds": self.end - self.begin,
            "speed": count / (self.end - self.begin),
            "cpu_speed": count / (self.cpu_end - self.cpu_begin),
            "memory": resident("VmHWM") - self.base,
        }


def resident(name: str) -> float:
    """A line of /proc/self/status in megabytes. Unlike `ru_maxrss` it has nothing of the process that started this."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{name}:"))


def linnet_side(folder: Path, options: argparse.Namespace) -> Result:
    """An epoch of Linnet's loop."""
    from linnet.training.loop import train
    from linnet.training.speech.model import load_task
    from linnet.training.speech.run import prepare

    asked = recipe(folder, options)
    trainer, data, _ = prepare(asked, load_task(asked))
    watch, update = Watch(), trainer.update

    def watched(window: Sequence[Any]) -> Any:
        for batch in window:
            watch.batch(batch.seconds)
        step = update(window)
        watch.stop()
        return step

    trainer.update = watched  # type: ignore[method-assign]
    watch.start()
    rows = list(train(trainer, data))
    return {**watch.result(), "loss": rows[-1]["loss"]}


def trainer_side(folder: Path, options: argparse.Namespace) -> Result:
    """An epoch of Transformers' Trainer, or its first two steps, in which its longest batch is."""
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback

    from linnet.training.context import RunContext
    from linnet.training.speech.corpus import AudioBatches
    from linnet.training.speech.model import load_task
    from linnet.training.speech.run import plan

    torch.set_num_threads(options.threads)
    asked = recipe(folder, options)
    task, watch = load_task(asked), Watch()
    planned = plan(asked, task, RunContext(notify=print))
    sounds, lengths, rows = AudioBatches(planned.corpus), planned.corpus.lengths, planned.selection.rows
    table = Dataset.from_dict({"row": rows.tolist(), "length": lengths.durations[rows].tolist()})

    def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = sounds[[item["row"] for item in items]]
        watch.batch(batch.seconds)
        return batch.tensors

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Tells when training begins and each step ends."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Start."""
            watch.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Stop, for now."""
            watch.stop()

    arguments = trainer_arguments(asked, options)
    trainer = Trainer(model=task.model, args=arguments, train_dataset=table, data_collator=collate, callbacks=[Clock()])
    done = trainer.train()
    return {**watch.result(), "loss": done.training_loss}


def trainer_arguments(asked: Any, options: argparse.Namespace) -> Any:
    """What Linnet's loop does, said to the Trainer."""
    from transformers import TrainingArguments

    moves = asked.optimization
    return TrainingArguments(
        output_dir=asked.run.output,
        per_device_train_batch_size=options.batch,
        train_sampling_strategy="group_by_length",
        num_train_epochs=1,
        max_steps=2 if options.probe else -1,
        optim={"plain": "adamw_torch", "fused": "adamw_torch_fused"}[options.optimizer],
        learning_rate=moves.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=moves.warmup,
        weight_decay=moves.weight_decay,
        max_grad_norm=moves.clip,
        remove_unused_columns=False,
        logging_steps=asked.run.log_every,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )


# --- side by side


def child(side: str, folder: Path, options: argparse.Namespace, **changes: Any) -> Result:
    """What one process of a side gives."""
    told = json.dumps({**vars(options), "json": None, **changes})
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--told", told]
    threads = {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    exact = {"MALLOC_MMAP_THRESHOLD_": "65536"} if changes.get("probe") else {}  # what is freed is given back at once
    environment = {**os.environ, **threads, **exact, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) if side != "make" else {}


def largest_batch(folder: Path, part: str, options: argparse.Namespace) -> int:
    """The largest fixed batch that takes no more memory than Linnet's epoch, and at least what its budget holds."""
    room = child("linnet", folder, options, part=part, probe=True)["memory"]

    def taken(batch: int) -> float:
        found: float = child("trainer", folder, options, part=part, batch=batch, probe=True)["memory"]
        print(f"  Trainer, batch of {batch}: {found:.0f} MB; Linnet's epoch: {room:.0f} MB", flush=True)
        return found

    safe = max(1, int(options.budget // (LONGEST + 0.08 * 3.3 * LONGEST)))
    one, two = taken(safe), taken(2 * safe)
    batch = max(safe, int(safe * (1 + (room - one) / (two - one))))  # memory is nearly linear
    while batch > safe and taken(batch) > room:
        batch -= 1
    return batch


def compare(folder: Path, part: str, options: argparse.Namespace) -> Result:
    """Rounds of both sides in turn, as a table."""
    print(f"\ntrained: {part}", flush=True)
    batch = largest_batch(folder, part, options)
    sides: dict[str, list[Result]] = {"linnet": [], "trainer": []}
    heads = ("side", "utt/s", "utt/CPU s", "steps", "mean batch", "largest", "padding", "MB", "loss")
    print("".join(f"{head:>11}" for head in heads))
    for _ in range(options.rounds):
        for side, results in sides.items():
            found = child(side, folder, options, part=part, batch=batch)
            results.append(found)
            cells = (side, f"{found['speed']:.2f}", f"{found['cpu_speed']:.2f}", found["steps"])
            more = (f"{found['utterances'] / found['steps']:.1f}", found["largest"], f"{found['padding']:.1%}")
            last = (f"{found['memory']:.0f}", f"{found['loss']:.3f}")
            print("".join(f"{cell:>11}" for cell in (*cells, *more, *last)), flush=True)
    ratios = {name: ratio(sides, name) for name in ("speed", "cpu_speed")}
    for name, what in (("speed", "second"), ("cpu_speed", "CPU second")):
        told = ", ".join(f"{value:.2f}" for value in ratios[name])
        middle = statistics.median(ratios[name])
        print(f"utterances per {what}, Linnet over Trainer: {middle:.2f} (rounds: {told}; asked: 1.5)", flush=True)
    return {"trained": part, "ratios": ratios, "trainer_batch": batch, **sides}


def ratio(sides: dict[str, list[Result]], name: str) -> list[float]:
    """Linnet's figure over the Trainer's in each round."""
    return [one[name] / other[name] for one, other in zip(sides["linnet"], sides["trainer"], strict=True)]


def main() -> None:
    """Make model and data, then compare; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=600)
    parser.add_argument("--width", type=int, default=32, help="of both base models")
    parser.add_argument("--words", type=int, default=8000, help="vocabulary; SmolLM2 has 49152, SmolLM3 128256")
    parser.add_argument("--budget", type=float, default=200.0, help="of Linnet's batches, in padded seconds")
    parser.add_argument("--groups", type=int, default=30, help="bins of duration")
    parser.add_argument("--train", nargs="+", choices=FREEZE, default=["projector"])
    parser.add_argument("--optimizer", choices=("plain", "fused"), default="plain", help="the Trainer's AdamW")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    for name in ("--side", "--folder", "--told"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        told = argparse.Namespace(**{"probe": False, **json.loads(options.told)})
        side = {"make": make, "linnet": linnet_side, "trainer": trainer_side}[options.side]
        print(json.dumps(side(Path(options.folder), told)))
        return
    with tempfile.TemporaryDirectory() as folder:
        child("make", Path(folder), options)
        found = [compare(Path(folder), part, options) for part in options.train]
    settings = {key: value for key, value in vars(options).items() if key not in ("side", "folder", "told", "json")}
    result = json.dumps({"settings": settings, "results": found}, indent=2)
    if options.json:
        options.json.write_text(result + "\n", encoding="utf-8")
    else:
        print(result)


if __name__ == "__main__":
    main()
