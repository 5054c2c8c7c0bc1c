"""Hypotheses as plain text: sclite's trn, Kaldi's text, and bare lines."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator

from linnet.data.sources.base import Problem
from linnet.data.sources.lines import read_lines
from linnet.errors import OptionError
from linnet.evaluation.hypotheses.rows import check_utf8
from linnet.evaluation.hypotheses.types import HypothesisFile, UtteranceHypothesis

COMMENT = ";;"  # starts a comment in NIST's formats
TRN = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*")

Found = Iterator[UtteranceHypothesis | Problem]


def read_trn(into: HypothesisFile) -> Found:
    """`the text (id)`."""
    for number, line in read_lines(into.path):
        whole = check_utf8(into.path, number, line)
        if whole.startswith(COMMENT):
            continue
        match = TRN.fullmatch(whole)
        if match is None:
            yield Problem(f"line {number}", "does not end in an id in parentheses")
        else:
            yield UtteranceHypothesis(match["id"], match["text"].strip())


def read_kaldi(into: HypothesisFile) -> Found:
    """`id text`; an id alone is an empty hypothesis."""
    for number, line in read_lines(into.path):
        name, *rest = check_utf8(into.path, number, line).split(maxsplit=1)
        yield UtteranceHypothesis(name, rest[0].strip() if rest else "")


def read_lines_in_order(into: HypothesisFile) -> Found:
    """One hypothesis per line; a blank line is an empty one."""
    try:
        data = into.path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise OptionError(f"{into.path}: cannot be read: {error}") from error
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        yield UtteranceHypothesis(str(number), check_utf8(into.path, number, line).strip())
