"""Make the embedded model `en`: Whisper tiny.en in few bits, packed into one file.

    python -m recipes.english.build --audio calibration.jsonl --size 24500000 --output build/en

The manifest needs no texts: a few dozen recordings of ordinary speech show how the inputs of each layer vary. The
folder is then put in src/linnet/models/embedded/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from string import Template

from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper

from .pack import Settings, compact_tokenizer, matrices, pack_to_size, packed_size, write_folder
from .statistics import gather
from .windows import windows

CARD = Path(__file__).with_name("card.md")


def main() -> None:
    """Write the packed folder and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny.en", help="a Whisper-family model")
    parser.add_argument("--audio", type=Path, required=True, help="a manifest of recordings")
    parser.add_argument("--limit", type=int, default=48, help="how many of them are taken")
    parser.add_argument("--size", type=int, default=24_500_000, help="bytes of the packed file")
    parser.add_argument("--output", type=Path, required=True, help="a folder that is not there yet")
    options = parser.parse_args()
    if options.output.exists():
        raise SystemExit(f"{options.output} already exists: choose another --output")
    model = load_whisper(resolve(options.model).path, name=options.model)
    module = model.module.requires_grad_(True)
    statistics = gather(module, windows(model, options.audio, options.limit))
    weights = {name: tensor.detach() for name, tensor in module.named_parameters()}
    source = resolve(options.model).path
    packed, step = pack_to_size(
        weights, matrices(weights, statistics, Settings()), options.size, compact_tokenizer(source)
    )
    card = Template(CARD.read_text(encoding="utf-8")).safe_substitute(
        windows=statistics.windows, megabytes=f"{packed_size(packed) / 1e6:.1f}"
    )
    write_folder(packed, source, options.output, card)
    print(f"{options.output}: {packed_size(packed):,} bytes, step {step:.3g}, from {statistics.windows} recordings")


if __name__ == "__main__":
    main()
