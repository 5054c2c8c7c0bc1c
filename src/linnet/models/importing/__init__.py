"""Whisper in other programs' formats becomes a Transformers folder: CTranslate2, openai-whisper, whisper.cpp.

Files are read as data: no pickle is executed, every size is checked against the file before anything is allocated, and
weights go from the source to the new file one at a time.
"""

from __future__ import annotations

from linnet.models.importing.detection import Format, detect_format
from linnet.models.importing.importer import ImportReport, import_model

__all__ = ["Format", "ImportReport", "detect_format", "import_model"]
