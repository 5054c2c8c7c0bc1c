"""The error rate by which training selects its best checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linnet.errors import OptionError
from linnet.notices import Notify
from linnet.scoring.corpus import Pair, Scorer
from linnet.text.normalizers import Normalizers


@dataclass(frozen=True)
class ValidationScore:
    """Computes the corpus word error rate (0.05 for 5 %) of references, hypotheses and languages when called.

    `notify` receives a warning above 100 %. Raises `OptionError` if the references have no words.
    """

    normalizer: str
    notify: Notify

    def __call__(self, references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str | None]) -> float:
        """The error rate."""
        pairs = [Pair(*texts) for texts in zip(references, hypotheses, languages, strict=True)]
        rate = _rate(self.normalizer, pairs)
        if rate is None:
            raise OptionError("data: the validation set has no reference words, so its error rate is undefined")
        if rate > 1:
            self.notify(self._warning(rate, pairs))
        return rate

    def _warning(self, rate: float, pairs: Sequence[Pair]) -> str:
        warning = (
            f"the validation set's word error rate is {rate:.0%}: more errors than reference words, and the best "
            f"checkpoint is selected by it (run: normalizer: {self.normalizer})"
        )
        by_digit = _rate("digits", pairs)
        if by_digit is None or by_digit >= rate:
            return warning
        return f"{warning}; with  normalizer: digits,  which compares numbers digit by digit, it is {by_digit:.1%}"


def _rate(normalizer: str, pairs: Sequence[Pair]) -> float | None:
    return Scorer(normalizers=Normalizers(normalizer)).score(pairs).score.wer
