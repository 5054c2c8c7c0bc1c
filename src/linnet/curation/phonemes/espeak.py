"""espeak-ng in a separate process: voices for languages, and their phones.

The library is GPL-3.0, so it is an extra, and it runs in a process that shares only two pipes with this one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from linnet.closing import Closing
from linnet.curation.phonemes.base import Kept, Phones, interned
from linnet.errors import MissingExtra
from linnet.text.language_codes import canonical
from linnet.text.scripts import script_group, scripts_of

BATCH: Final = 4096  # words per request
LATIN: Final = "Latn"

# Voices of espeak-ng 1.52 for natural languages. Excluded: chr, hak and ja, which name letters of their
# language's script in English ("Chinese letter"), and fictional languages.
_VOICES = """
af am an ar as az ba be bg bn bpy bs ca cmn cs cv cy da de el en-us en-029 eo es es-419 et eu fa fi fo fr fr-be fr-ch ga
gd gn grc gu haw he hi hr ht hu hy hyw ia id io is it jbo ka kaa kk kl kn ko kok ku ky la lb lfn lt ltg lv mi mk ml
mr ms mt my nb ne nl nog om or pa pap pl pt pt-br quc qu ro ru sd shn si sk sl smj sq sr sv sw ta te th ti tk tn tr tt
ug uk ur uz vi yue
"""
_KEYS = {"en-us": "en", "cmn": "zh"}  # the language of a voice, if its name does not tell
_ALSO = {"no": "nb", "en-gb": "en", "en-ie": "en", "en-au": "en", "en-nz": "en"}  # the voice `en` is British
_MORE_SCRIPTS = {"sr": ("Latn",), "bs": ("Cyrl",), "uz": ("Cyrl",)}
_OTHER_SCRIPTS = {("fa", "Latn"): "fa-latn"}  # voices for a language in another script than its own
_TONAL = frozenset({"cmn", "yue", "th", "vi", "my", "shn"})  # where "ɜ" stands for tone 3

_SWITCH = re.compile(r"\([a-z-]+\)")  # "(en)": switch to another language
_UNSPOKEN = re.compile(r"[ˈˌ˥˦˧˨˩0-9|-]")  # stress and tones


def is_installed() -> bool:
    """Whether the library's wheel is installed, without loading it."""
    return find_spec("espeakng_loader") is not None


@cache
def voices() -> dict[tuple[str, str], str]:
    """The voice for each language (canonical, with a region where it has its own) in each script (group)."""
    from langcodes import Language

    found = dict(_OTHER_SCRIPTS)
    for voice in _VOICES.split():
        code = canonical(_KEYS.get(voice, voice))
        for script in (Language.get(code).maximize().script or LATIN, *_MORE_SCRIPTS.get(voice, ())):
            found.setdefault((code, script_group(script)), voice)
    return found | {(code, LATIN): voice for code, voice in _ALSO.items()}


class EspeakProcess(Closing):
    """The process of espeak-ng; it is started for the first word and ended by `close`.

    A word that crashes it is unknown, and a new process continues with the next word. `command` is the command to
    start. Raises `MissingExtra` if espeak-ng is not installed.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.ended = 0  # number of words that crashed it

    def ask(self, voice: str, words: Sequence[str]) -> list[str | None]:
        """The phones of each word separated by `_`; None for a word that crashed the process, or if the installed
        espeak-ng lacks the voice.
        """
        found: list[str | None] = []
        for begin in range(0, len(words), BATCH):
            found += self._batch(voice, words[begin : begin + BATCH])
        return found

    def _batch(self, voice: str, words: Sequence[str]) -> list[str | None]:
        answer = self._exchange({"voice": voice, "words": list(words)})
        if answer is None:
            self.close()
            if len(words) == 1:
                self.ended += 1
                return [None]
            half = len(words) // 2
            return self._batch(voice, words[:half]) + self._batch(voice, words[half:])
        if "error" in answer:
            return [None] * len(words)
        return list(answer["phones"])

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None if the process ended."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def _start(self) -> subprocess.Popen[bytes]:
        if self._command is None and not is_installed():
            raise MissingExtra("phones by espeak-ng", extra="espeak")
        command = self._command or [sys.executable, "-P", str(Path(__file__).with_name("espeak_worker.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            with suppress(OSError):  # it already ended, and pending requests have no reader
                process.stdin.close()
            process.wait()
            process.stdout.close()


class Espeak:
    """The phones of words by one voice: IPA without stress and tones, with numbers spelled out.

    A word with letters of another script than the voice's is unknown, since espeak-ng would name them ("Chinese
    letter"); voices of other scripts read Latin words in English, as speakers do.
    """

    def __init__(self, process: EspeakProcess, voice: str, script: str) -> None:
        self.name = f"espeak-ng:{voice}"
        self._process = process
        self._voice = voice
        self._scripts = {script_group(script), LATIN}
        self._dropped = "ɜ" if voice in _TONAL else ""
        self._kept = Kept(self.name, self._speak)

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The phones of each word."""
        return self._kept.phones(words)

    def _speak(self, words: Sequence[str]) -> list[Phones | None]:
        known = [word for word in words if scripts_of([word]) <= self._scripts]
        said = dict(zip(known, self._process.ask(self._voice, known), strict=True))
        return [None if (told := said.get(word)) is None else self._split(told) for word in words]

    def _split(self, told: str) -> Phones | None:
        text = _UNSPOKEN.sub("", _SWITCH.sub("_", told)).replace(" ", "_")
        if self._dropped:
            text = text.replace(self._dropped, "")
        return interned(phone for phone in text.split("_") if phone)
