"""Utterances and their sources: manifests, formats of other toolkits, and suites of test sets."""

from linnet.data.manifest import Utterance, read_manifest, write_manifest
from linnet.data.sources import AudioInputs, Source, SourceSpec, open_source

__all__ = ["AudioInputs", "Source", "SourceSpec", "Utterance", "open_source", "read_manifest", "write_manifest"]
