"""Import Whisper models of other programs (CTranslate2, openai-whisper, whisper.cpp) as Transformers folders.

Files are read as data: no pickle is executed, every size is checked against the file before allocation, and weights are
copied one at a time.
"""

from __future__ import annotations

from linnet.models.importing.detection import Format, detect_format
from linnet.models.importing.importer import ImportReport, import_model

__all__ = ["Format", "ImportReport", "detect_format", "import_model"]
