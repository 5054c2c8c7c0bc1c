"""The files that a run needs from this machine, and the recipe with their paths on another one.

On the other machine, under one folder:

    venv/               an environment with Linnet, for all runs
    files/PATH/...      files and folders of this machine under their absolute paths, for all runs
    jobs/NAME/          recipe.yaml and manifests of one run, job.sh that starts it, and its output
    runs/NAME/          the run's folder
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from linnet.data import SourceSpec, Utterance, open_source
from linnet.data.sources import KINDS
from linnet.data.sources.detect import is_hub_id
from linnet.data.sources.embedded import split_address
from linnet.errors import OptionError
from linnet.training.options import Recipe
from linnet.training.speech.recipe import SpeechRecipe, TrainingSource
from linnet.training.task import code_of

_FILES = "../../files"  # from a job's folder, where the training runs
_NAMED = 10


@dataclass(frozen=True)
class Parcel:
    """A run to be sent: name, recipe with remote paths, manifests by name, and absolute paths of files to copy.

    `size` is that of the files in bytes, `extras` are the extras of Linnet that the run needs.
    """

    name: str
    recipe: dict[str, Any]
    manifests: dict[str, list[Utterance]]
    paths: list[str]
    size: int
    extras: tuple[str, ...]


def pack(recipe: Recipe, *, skip_bad: bool = False) -> Parcel:
    """Collect the files that a recipe needs from this machine.

    Strings in `model`, `data` and `losses` that are local paths (with a `/` or a `.`) are sent; all others are taken to
    be on the Hub or on the other machine. Sources become manifests whose audio files are sent one by one, so that
    absolute paths and other toolkits' manifests work too. For a task in a file its Python files are sent.

    Raises:
        OptionError: audio is missing (with `skip_bad` it is skipped), or a source cannot be read.
    """
    content: dict[str, Any] = _plain(asdict(recipe))
    code = code_of(recipe.task)
    paths: set[str] = set(map(str, code))
    if code:
        content["task"] = f"{_FILES}{recipe.task}"
    manifests: dict[str, list[Utterance]] = {}
    tables = False
    for key, spec in _sources(content["data"] if isinstance(recipe, SpeechRecipe) else {}):
        if _local(spec.path):
            name = f"{key}.jsonl"
            manifests[name] = list(_utterances(spec, paths, skip_bad))
            transcribed = getattr(spec, "transcribe_with", "")
            further = {"transcribe_with": transcribed} if transcribed else {}
            _put(content["data"], key, {"path": name, "kind": "linnet", **further})
        else:
            tables = tables or is_hub_id(spec.path) or (spec.kind or "").startswith("hub")
    for section in {"model", "data", "losses"} & content.keys():
        content[section] = _sent(content[section], paths, {*manifests})
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(recipe.run.output).absolute().name).strip("-") or "run"
    content["run"]["output"] = f"../../runs/{name}"
    found = sorted(paths)
    tables = tables or any(path.endswith((".parquet", ".arrow")) for path in found)
    extras = ("train", *(["datasets"] if tables else []), *filter(None, [recipe.run.track]))
    return Parcel(name, content, manifests, found, sum(map(_size, found)), extras)


def _sources(data: dict[str, Any]) -> Iterator[tuple[str, SourceSpec]]:
    """The sources of a recipe, each with its key in `data`."""
    for number, spec in enumerate(data.get("train") or ()):
        if isinstance(spec, dict):
            yield f"train-{number}", TrainingSource(**spec)
    if isinstance(data.get("validation"), dict):
        yield "validation", SourceSpec(**data["validation"])


def _put(data: dict[str, Any], key: str, spec: dict[str, Any]) -> None:
    name, _, number = key.partition("-")
    if number:
        data[name][int(number)] = spec
    else:
        data[name] = spec


def _local(path: str) -> bool:
    head, colon, tail = path.partition(":")
    return Path(tail if colon and head in KINDS else path).exists()


def _utterances(spec: SourceSpec, paths: set[str], skip_bad: bool) -> Iterator[Utterance]:
    """The utterances of a source with remote audio paths; adds the audio files to `paths`."""
    missing: list[str] = []
    source = open_source(spec)
    for utterance in source:
        if "://" in utterance.audio:
            yield utterance
            continue
        file, inside = split_address(utterance.audio) or (utterance.audio, "")
        whole = os.path.abspath(file)  # noqa: PTH100  as the rows name it, links and all
        if whole not in paths and not Path(whole).is_file():
            missing.append(utterance.id)
            continue
        paths.add(whole)
        there = f"{_FILES}{whole}"
        yield replace(utterance, audio=f"{there}::{inside}" if inside else there)
    if missing and not skip_bad:
        more = f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise OptionError(
            f"{source.name}: {len(missing)} audio files are missing: {', '.join(missing[:_NAMED])}{more}. "
            "Fix them, or skip them with --skip-bad."
        )


def _sent(value: Any, paths: set[str], own: set[str]) -> Any:
    """The value with local paths replaced by remote ones; adds them to `paths`."""
    if isinstance(value, dict):
        return {key: _sent(item, paths, own) for key, item in value.items()}
    if isinstance(value, list):
        return [_sent(item, paths, own) for item in value]
    if not isinstance(value, str) or value in own or not ("/" in value or "." in value):
        return value
    place = Path(value).expanduser()
    if not place.exists():
        return value
    whole = os.path.abspath(place)  # noqa: PTH100  rsync follows links under their own names
    paths.add(whole)
    return f"{_FILES}{whole}"


def _plain(value: Any) -> Any:
    """Values for YAML: lists for tuples, without None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _size(path: str) -> int:
    place = Path(path)
    return sum(file.stat().st_size for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file())
