"""Utterances and where they come from: manifests, the sources of other toolkits, and suites of sets."""

from linnet.data.manifest import Utterance, read_manifest, write_manifest
from linnet.data.sources import AudioInputs, Source, SourceSpec, open_source

__all__ = ["AudioInputs", "Source", "SourceSpec", "Utterance", "open_source", "read_manifest", "write_manifest"]
