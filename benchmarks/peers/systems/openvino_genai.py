"""OpenVINO GenAI's WhisperPipeline, from the int8 export of optimum-intel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ["openvino-genai", "openvino", "openvino-tokenizers", "optimum-intel", "transformers", "nncf"]
WINDOW = 30 * 16_000


def convert(checkpoint: str, output: str, compute_type: str) -> None:
    """What its documentation says: `optimum-cli export openvino`."""
    shutil.rmtree(output, ignore_errors=True)
    command = [str(Path(sys.executable).parent / "optimum-cli"), "export", "openvino", "--model", checkpoint]
    command += ["--task", "automatic-speech-recognition-with-past", "--weight-format", compute_type, output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"optimum-cli: {done.stderr.strip().splitlines()[-1]}")


def prepare(model: str, threads: int, beams: int) -> Callable[[Any], list[int]]:
    """Long recordings go window by window; it has no batches."""
    import openvino_genai

    pipeline = openvino_genai.WhisperPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    config = pipeline.get_generation_config()
    config.return_timestamps = False
    if config.is_multilingual:
        config.language, config.task = "<|en|>", "transcribe"
    config.max_new_tokens, config.num_beams = 100_000, beams

    def run(samples: Any) -> list[int]:
        metrics = pipeline.generate(samples, config).perf_metrics
        windows = -(-len(samples) // WINDOW)
        return [metrics.get_num_generated_tokens() // windows - 1] * windows  # it counts the end of each window too

    return run
