"""A user's pronunciation lexicon: one word and its phones per line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from linnet.curation.phonemes.base import Phones, interned
from linnet.curation.phonemes.graphemes import clusters
from linnet.errors import OptionError
from linnet.text.marks import keep_marks


class Lexicon:
    """Phones by word; missing words are composed of the longest entries.

    This is only done for scripts without spaces (`joined`), since in other scripts a part of a word tells little about
    its pronunciation.

    >>> Lexicon({"你": ("n", "i"), "好": ("x", "au")}, joined=True).phones(["你好", "你们"])
    [('n', 'i', 'x', 'au'), None]
    """

    def __init__(self, entries: Mapping[str, Phones], *, joined: bool = False) -> None:
        self._entries = dict(entries)
        self._longest = max(map(len, self._entries), default=0) if joined else 0
        content = "\n".join(f"{word} {' '.join(phones)}" for word, phones in sorted(self._entries.items()))
        self.name = f"lexicon:{hashlib.sha256(content.encode(errors='backslashreplace')).hexdigest()[:8]}"

    @classmethod
    def read(cls, path: Path, language: str | None = None, *, joined: bool = False) -> Self:
        """Read lines of a word, a tab or spaces, and its phones separated by spaces (CMUdict, MFA, Kaldi).

        Of several pronunciations of a word, also `word(2)`, the first is used. `;;;` and `#` begin comments. Words are
        normalized as texts: lower case, without punctuation. Raises `OptionError` for an unreadable file, or a line
        without phones, which it names.
        """
        entries: dict[str, Phones] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{path}: cannot read the lexicon: {error}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith((";;;", "#")):
                continue
            written, *phones = line.split("\t", 1) if "\t" in line else line.split(None, 1)
            found = interned(phones[0].split()) if phones else None
            if found is None:
                raise OptionError(f"{path}, line {number}: expected a word and its phones, got {line.strip()!r}")
            word = keep_marks(written.partition("(")[0], language)
            if word:
                entries.setdefault(word, found)
        if not entries:
            raise OptionError(f"{path}: the lexicon has no words: expected a word and its phones on each line")
        return cls(entries, joined=joined)

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The phones of each word; None for missing words."""
        return [self._entries.get(word) or self._joined(word) for word in words]

    def _joined(self, word: str) -> Phones | None:
        if not self._longest:
            return None
        letters, found, begin = clusters(word), list[str](), 0
        while begin < len(letters):
            for end in range(min(len(letters), begin + self._longest), begin, -1):
                if phones := self._entries.get("".join(letters[begin:end])):
                    found += phones
                    begin = end
                    break
            else:
                return None
        return tuple(found) or None
