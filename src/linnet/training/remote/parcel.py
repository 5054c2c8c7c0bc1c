"""What a run needs of this machine, and how the recipe names it on another one.

There, under one folder:

    venv/               an environment with Linnet, for all runs
    files/HERE/...      files and folders of this machine under their whole paths here, for all runs
    jobs/NAME/          recipe.yaml and manifests of one run, job.sh that starts it, and what it said
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
    """A run as it is sent: its name, its recipe there, manifests by their name, and whole paths of what goes along.

    `size` is that of the files in bytes, `extras` are those of Linnet that the run needs.
    """

    name: str
    recipe: dict[str, Any]
    manifests: dict[str, list[Utterance]]
    paths: list[str]
    size: int
    extras: tuple[str, ...]


def pack(recipe: Recipe, *, skip_bad: bool = False) -> Parcel:
    """Find what a recipe needs of this machine.

    Texts of `model`, `data` and `losses` that are paths here (with a `/` or a `.`) are sent; all else is taken to be on
    the Hub or on the other machine already. Sources of utterances become manifests whose sounds are sent one by one,
    so that manifests with whole paths, and those of other toolkits, work there, too. Of a task in a file the
    Python files beside it are sent.

    Raises:
        OptionError: sounds are missing here (with `skip_bad` they are left out), or a source cannot be read.
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
    """The sources of utterances of a recipe, each with its place in `data`."""
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
    """Those of a source with their sounds where they will be there; adds the files of the sounds to `paths`."""
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
            f"{source.name}: {len(missing)} sounds are missing here: {', '.join(missing[:_NAMED])}{more}. "
            "Mend them, or leave them out with --skip-bad."
        )


def _sent(value: Any, paths: set[str], own: set[str]) -> Any:
    """The value with every path of this machine as it will be there; adds them to `paths`."""
    if isinstance(value, dict):
        return {key: _sent(item, paths, own) for key, item in value.items()}
    if isinstance(value, list):
        return [_sent(item, paths, own) for item in value]
    if not isinstance(value, str) or value in own or not ("/" in value or "." in value):
        return value
    place = Path(value).expanduser()
    if not place.exists():
        return value
    whole = os.path.abspath(place)  # noqa: PTH100  a link is followed by rsync, under its own name
    paths.add(whole)
    return f"{_FILES}{whole}"


def _plain(value: Any) -> Any:
    """Values as YAML reads them: lists for tuples, nothing for what is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _size(path: str) -> int:
    place = Path(path)
    return sum(file.stat().st_size for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file())
