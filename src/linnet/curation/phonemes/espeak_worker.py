"""Phones by espeak-ng in a process of its own: a JSON request on each line of stdin, an answer on each of stdout.

espeak-ng is GPL-3.0, so nothing of Linnet is loaded here and nothing here is imported by Linnet: the two exchange
lines through pipes.

    {"voice": "de", "words": ["drei", "vier"]}

is answered by ``{"phones": ["d_r_ˈaɪ", "f_ˈiːɾ"]}``, IPA with ``_`` between phones; a voice that is not there by
``{"error": "..."}``.
"""

from __future__ import annotations

import ctypes
import json
import sys

_SYNCHRONOUS, _UTF8 = 2, 1
_IPA, _SEPARATOR = 0x02, ord("_") << 8  # of speak_lib.h, espeak_TextToPhonemes


def start() -> ctypes.CDLL:
    """The espeak-ng library of the wheel ``espeakng-loader``, ready to use."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0) <= 0:
        raise SystemExit(f"espeak-ng did not start with the data at {data.decode()}.")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    return library


def phones(library: ctypes.CDLL, word: str) -> str:
    """The phones of one word, those of its clauses with a space between them."""
    text = ctypes.create_string_buffer(word.encode())
    place, clauses = ctypes.c_void_p(ctypes.addressof(text)), []
    while place.value:  # it moves on clause by clause, and is null at the end
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
