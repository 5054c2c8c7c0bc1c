"""Phones by espeak-ng in a separate process: one JSON request per line of stdin, one answer per line of stdout.

espeak-ng is GPL-3.0, so nothing of Linnet is loaded here and nothing here is imported by Linnet: the two exchange
lines through pipes.

    {"voice": "de", "words": ["drei", "vier"]}

is answered by ``{"phones": ["d_r_ˈaɪ", "f_ˈiːɾ"]}``, IPA with ``_`` between phones; a missing voice by ``{"error":
"..."}``.
"""

from __future__ import annotations

import ctypes
import json
import sys

_SYNCHRONOUS, _UTF8 = 2, 1
_IPA, _SEPARATOR = 0x02, ord("_") << 8  # from speak_lib.h, for espeak_TextToPhonemes


def start() -> ctypes.CDLL:
    """Load and initialize the espeak-ng library of the wheel ``espeakng-loader``."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0) <= 0:
        raise SystemExit(f"espeak-ng did not start with the data at {data.decode()}.")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    return library


def phones(library: ctypes.CDLL, word: str) -> str:
    """The phones of one word, with clauses separated by spaces."""
    text = ctypes.create_string_buffer(word.encode())
    place, clauses = ctypes.c_void_p(ctypes.addressof(text)), []
    while place.value:  # advances clause by clause, and is null at the end
        clauses.append(library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _IPA | _SEPARATOR).decode())
    return " ".join(clauses)


def main() -> None:
    """Answer requests until stdin closes."""
    library = start()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            answer: dict[str, object] = {"error": f"no voice {request['voice']}"}
        else:
            answer = {"phones": [phones(library, word) for word in request["words"]]}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
