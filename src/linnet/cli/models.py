"""`linnet models`: the models on this disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from linnet.models.catalogue import Entry, ModelInfo

app = typer.Typer(help="List, describe, fetch and remove models.", no_args_is_help=True)

_NAME = typer.Argument(help="An embedded name, a folder, a short Whisper name (small) or a Hub id (owner/name).")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_OFFLINE = typer.Option(False, "--offline", envvar="LINNET_OFFLINE", help="Never use the network.")


@app.command("list")
def list_(
    as_json: bool = _JSON,
    everything: bool = typer.Option(False, "--all", help="Also what is no speech recognition model."),
) -> None:
    """List embedded models and those in the Hugging Face cache."""
    from linnet.models.catalogue import list_models

    found = list_models()
    shown = [entry for entry in found if everything or entry.kind != "other"]
    if as_json:
        _print_json([asdict(entry) for entry in shown])
    else:
        _print_table(shown)
    hidden = len(found) - len(shown)
    if hidden:
        print(f"{hidden} more in the cache that are not for speech recognition: --all shows them", file=sys.stderr)


@app.command()
def info(name: str = _NAME, as_json: bool = _JSON) -> None:
    """Describe a model on this disk: size, languages, abilities, licence."""
    from linnet.models.catalogue import info

    found = info(name)
    if as_json:
        _print_json(asdict(found))
    else:
        _print_columns(_described(found))


@app.command()
def pull(
    name: str = _NAME,
    revision: str | None = typer.Option(None, help="A branch, tag or commit; the newest state if not given."),
    offline: bool = _OFFLINE,
) -> None:
    """Fetch a model from the Hugging Face Hub, or renew one; from then on it needs no network."""
    from linnet.models.catalogue import folder_size, pull

    ref = pull(name, revision=revision, offline=offline)
    if ref.origin != "hub":
        print(f"{name} is on this disk already ({ref.origin}): nothing to fetch", file=sys.stderr)
    _print_columns([("model", ref.name), ("revision", ref.revision), ("size", size_text(folder_size(ref.path)))])


@app.command()
def rm(names: list[str] = typer.Argument(help="Hub ids or short Whisper names.")) -> None:
    """Remove models from the Hugging Face cache."""
    from linnet.models.catalogue import remove

    for name in names:
        print(f"removed {name}: {size_text(remove(name))} freed")


@app.command()
def path(name: str = _NAME) -> None:
    """Print the folder of a model on this disk."""
    from linnet.models.catalogue import path

    print(path(name))


@app.command("align-heads")
def align_heads(
    name: str = _NAME,
    manifest: Path = typer.Argument(
        help='JSON lines: {"audio": "a.wav", "words": [{"word": "one", "start": 0.3, "end": 0.7}, ...]}.'
    ),
    offline: bool = _OFFLINE,
) -> None:
    """Find the heads that word times are best taken from, on utterances with known word times, and keep them."""
    import torch

    from linnet.engines.torch import TorchEngine
    from linnet.errors import OptionError
    from linnet.models.alignment_heads import save_alignment_heads
    from linnet.models.resolve import family, resolve
    from linnet.models.whisper import load_whisper
    from linnet.transcription.align_heads import choose_heads, read_known_words, score_heads

    utterances = list(read_known_words(manifest))
    ref = resolve(name, offline=offline)
    if family(ref.path) != "whisper":
        raise OptionError(f"model {name} has no alignment heads: only Whisper-family models have")
    model = load_whisper(ref.path, name=ref.name, device="cpu", dtype=torch.float32)
    scores = score_heads(model, TorchEngine(model), utterances, skipped=lambda said: print(said, file=sys.stderr))
    chosen = choose_heads(scores)
    path = save_alignment_heads(ref.path, scores, chosen=chosen, shared=ref.origin != "folder")
    print("layer  head  inside the word")
    for layer, head in chosen:
        print(f"{layer:>5}  {head:>4}  {100 * scores[layer, head]:.1f} %")
    print(f"{len(chosen)} of {len(scores)} heads kept in {path}", file=sys.stderr)


def size_text(size: int) -> str:
    """Bytes for a person, in units of 1000.

    >>> size_text(7_340_000)
    '7.3 MB'
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _described(found: ModelInfo) -> list[tuple[str, str]]:
    shown, more = found.languages[:12], len(found.languages) - 12
    languages = " ".join(shown) + (f" and {more} more" if more > 0 else "")
    abilities = {
        "takes a language": found.takes_language,
        "translates to English": found.translates,
        "takes a prompt": found.takes_prompt,
    }
    dtypes = f" ({', '.join(found.weight_dtypes)})" if found.weight_dtypes else ""
    return [
        ("model", found.name),
        ("origin", found.origin),
        ("revision", found.revision),
        ("path", str(found.path)),
        ("family", f"{found.family} ({found.architecture})"),
        ("parameters", "unknown" if found.parameters is None else f"{found.parameters:,}{dtypes}"),
        ("size", size_text(found.size)),
        ("sound", f"{found.sampling_rate} Hz, windows of at most {found.window:g} s"),
        ("languages", languages or "not told"),
        ("abilities", ", ".join(what for what, able in abilities.items() if able) or "transcribes"),
        ("timestamps", "of phrases" if found.timestamps == "phrases" else "of windows"),
        ("licence", found.licence or "not told by a card"),
    ]


def _print_table(entries: Sequence[Entry]) -> None:
    rows = [("NAME", "KIND", "SIZE", "REVISION", "ORIGIN")]
    rows += [(e.name, e.kind, size_text(e.size), e.revision[:12], e.origin) for e in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_columns(rows: Iterable[tuple[str, str]]) -> None:
    for key, value in rows:
        print(f"{key:<12}{value}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")
