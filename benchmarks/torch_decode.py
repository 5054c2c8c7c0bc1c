"""The torch engine beside Transformers' `generate`: one 30 s window, forced tokens, greedy, random weights.

    python benchmarks/torch_decode.py [--shape tiny|small] [--tokens 100] [--batch 1] [--beams 1] [--dtype float32]

Both sides start from the same log-mel features and run turn by turn in one process; the ratio is the median over the
turns of (time of `generate` / time of Linnet). Both must give the same tokens. On a busy machine run it with
OMP_NUM_THREADS=1 and read the ratio of CPU times, which waiting does not count in.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.torch import TorchEngine
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import WhisperModel

SHAPES = {  # width, encoder layers, decoder layers, heads, mel bins
    "tiny": (384, 4, 4, 6, 80),
    "small": (768, 12, 12, 12, 80),
    "large-v3-turbo": (1280, 32, 4, 20, 128),
}
END, START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS = 50257, 50258, 50259, 50359, 50363


class NoText:
    """Stands where a tokenizer would: only tokens are compared here."""

    def decode(self, _tokens: Any, **_: Any) -> str:
        """No text."""
        return ""


def random_model(shape: str) -> Any:
    """A Whisper of this shape with random weights, enlarged so that its tokens vary."""
    width, encoder_layers, decoder_layers, heads, mels = SHAPES[shape]
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        num_mel_bins=mels,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        decoder_start_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval().requires_grad_(False)
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        for parameter in layer.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    model.model.decoder.embed_positions.weight.normal_(std=0.3)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        no_timestamps_token_id=NO_TIMESTAMPS,
        is_multilingual=True,
        lang_to_id={"<|en|>": ENGLISH},
        task_to_id={"transcribe": TRANSCRIBE},
        suppress_tokens=[END],
        max_length=448,
    )
    return model


def vocabulary(size: int, no_speech: int | None = None) -> WhisperVocabulary:
    """Whisper's special tokens; the end is forbidden."""
    return WhisperVocabulary(
        tokenizer=NoText(),
        size=size,
        start=START,
        end=END,
        no_timestamps=NO_TIMESTAMPS,
        no_speech=no_speech,
        start_of_previous=None,
        languages={"en": ENGLISH},
        tasks={"transcribe": TRANSCRIBE},
        suppress=(END,),
        begin_suppress=(),
        max_initial_timestamp_index=None,
        seconds_per_timestamp=0.02,
    )


def linnet_side(module: Any, features: Tensor, tokens: int, beams: int) -> Callable[[], list[tuple[int, ...]]]:
    """A function that decodes the features with Linnet."""
    words = vocabulary(module.config.vocab_size, NO_TIMESTAMPS - 1)
    mels = module.config.num_mel_bins
    model = WhisperModel(module, words, "random", n_mels=mels, window_samples=480000, max_length=448)
    engine = TorchEngine(model)
    decoder = Decoder(engine, words, model.max_length)
    options = DecodingOptions(
        language="en", timestamps=False, beam_size=beams, max_new_tokens=tokens, temperatures=(0.0,)
    )
    return lambda: [decoded.tokens for decoded in decoder.decode(engine.encode(features), options)]


def generate_side(module: Any, features: Tensor, tokens: int, beams: int) -> Callable[[], list[tuple[int, ...]]]:
    """A function that decodes the features with Transformers."""
    bands_first = features.transpose(1, 2).contiguous().to(module.dtype)

    def run() -> list[tuple[int, ...]]:
        result = module.generate(
            bands_first,
            language="en",
            task="transcribe",
            max_new_tokens=tokens,
            num_beams=beams,
            force_unique_generate_call=True,
            return_dict_in_generate=True,
        )
        return [tuple(row) for row in result.sequences[:, -tokens:].tolist()]

    return run


def timed(run: Callable[[], list[tuple[int, ...]]]) -> tuple[float, float, list[tuple[int, ...]]]:
    """Seconds of one call, CPU seconds of it, and what it gave (tokens on the host, so nothing is still running)."""
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - start, time.process_time() - cpu, result


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    module = random_model(args.shape).to(args.device, getattr(torch, args.dtype))
    bands = module.config.num_mel_bins
    features = torch.randn(args.batch, 3000, bands, generator=torch.Generator().manual_seed(0)).to(args.device)
    sides = (
        linnet_side(module, features, args.tokens, args.beams),
        generate_side(module, features, args.tokens, args.beams),
    )
    print(f"{platform.machine()} {os.cpu_count()} cores, torch {torch.__version__} ({torch.get_num_threads()} threads)")
    print(f"transformers {transformers.__version__}; {vars(args)}")
    same = timed(sides[0])[2] == timed(sides[1])[2]  # also warms up
    ratios, cpu_ratios = [], []
    for pair in range(args.pairs):
        order = sides if pair % 2 == 0 else sides[::-1]
        seconds = {side: timed(side)[:2] for side in order}
        (ours, ours_cpu), (theirs, theirs_cpu) = seconds[sides[0]], seconds[sides[1]]
        ratios.append(theirs / ours)
        cpu_ratios.append(theirs_cpu / ours_cpu)
        print(f"pair {pair + 1}: linnet {ours:.3f} s, generate {theirs:.3f} s, ratio {ratios[-1]:.2f}", end=" ")
        print(f"(CPU {ours_cpu:.3f} s, {theirs_cpu:.3f} s, ratio {cpu_ratios[-1]:.2f})")
    print(f"median ratio {statistics.median(ratios):.2f} (CPU time {statistics.median(cpu_ratios):.2f}); same: {same}")
    if not same and args.dtype == "float32":
        raise SystemExit("the two sides gave different tokens")


if __name__ == "__main__":
    main()
