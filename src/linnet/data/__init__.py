"""Utterances and where they come from: manifests, the sources of other toolkits, and suites of sets."""

from linnet.data.manifest import Utterance, read_manifest, write_manifest
from linnet.data.sources import Sounds, Source, SourceSpec, open_source

__all__ = ["Sounds", "Source", "SourceSpec", "Utterance", "open_source", "read_manifest", "write_manifest"]
