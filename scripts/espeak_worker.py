"""Speak with espeak-ng in a process of its own: JSON requests on stdin, PCM answers on stdout.

espeak-ng is GPL-3.0, so nothing of Linnet is loaded here and nothing here is imported by Linnet: the two
exchange text and samples through pipes. One request per line:

    {"voice": "en-us+f1", "rate": 160, "pitch": 50, "range": 50, "gap": 0, "text": "three one"}

One answer each: a JSON header line ``{"samples": N, "rate": 22050, "words": [first sample of each word]}``
(``{"error": "..."}`` where the voice is not there), then 2 N bytes of mono little-endian 16-bit PCM.

    {"voice": "en-us", "phonemes": "three, one"}

is answered by ``{"samples": 0, "phonemes": ["θɹˈiː", "wˈʌn"]}``: IPA, clause by clause.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

WORD_EVENT, END_EVENT = 1, 0
RATE, PITCH, RANGE, GAP = 1, 3, 4, 7
AUDIO_OUTPUT_SYNCHRONOUS, CHARS_UTF8, IPA = 2, 1, 2


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Speaker:
    """The espeak-ng library of the wheel ``espeakng-loader``."""

    def __init__(self) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.rate = self.library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
        if self.rate <= 0:
            raise SystemExit(f"espeak-ng did not start with the data at {data.decode()}.")
        self.pcm = bytearray()
        self.words: list[int] = []
        self._callback = CALLBACK(self._receive)  # kept: the library holds only a pointer
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        index = 0
        while events[index].type != END_EVENT:
            if events[index].type == WORD_EVENT:
                self.words.append(events[index].sample)
            index += 1
        if wave and count:
            self.pcm += ctypes.string_at(wave, 2 * count)
        return 0

    def speak(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The answer to one request: its header and its samples."""
        if self.library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            return {"error": f"no voice {request['voice']}"}, b""
        for parameter, key in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range"), (GAP, "gap")):
            self.library.espeak_SetParameter(parameter, int(request[key]), 0)
        self.pcm, self.words = bytearray(), []
        text = request["text"].encode() + b"\0"
        self.library.espeak_Synth(text, len(text), 0, 1, 0, CHARS_UTF8, None, None)
        self.library.espeak_Synchronize()
        header = {"samples": len(self.pcm) // 2, "rate": self.rate, "words": self.words}
        return header, bytes(self.pcm)

    def phonemes(self, request: dict[str, Any]) -> dict[str, Any]:
        """The IPA of a text, clause by clause."""
        if self.library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            return {"error": f"no voice {request['voice']}"}
        convert = self.library.espeak_TextToPhonemes
        convert.restype, convert.argtypes = (
            ctypes.c_char_p,
            [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int],
        )
        text = ctypes.create_string_buffer(request["phonemes"].encode())
        place, clauses = ctypes.c_void_p(ctypes.addressof(text)), []
        while place.value:  # it moves on clause by clause, and is null at the end
            clauses.append(convert(ctypes.byref(place), CHARS_UTF8, IPA).decode())
        return {"samples": 0, "phonemes": [clause for clause in clauses if clause]}


def main() -> None:
    """Answer requests until stdin closes."""
    speaker = Speaker()
    for line in sys.stdin:
        request = json.loads(line)
        header, pcm = (speaker.phonemes(request), b"") if "phonemes" in request else speaker.speak(request)
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + pcm)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
