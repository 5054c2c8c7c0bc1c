"""Gates: checks for usable recordings, each with a limit, the failing value, and a reason.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.cuts import CutSound, CutText
from linnet.curation.gating import Gate, Verdict
from linnet.curation.outliers import beside_speakers, length_groups, of_learned, robust_scores
from linnet.curation.pool import FRAME, Flags, Numbers, Pool
from linnet.curation.textfit import ForeignText
from linnet.settings import NOT_NEGATIVE, SHARE, require
from linnet.text.scripts import NONE, text_script
from linnet.text.words import bears_sound


@dataclass(frozen=True)
class GateOptions:
    """The limits; `None` takes a gate out.

    `rate_outlier` and `match_outlier` are robust standard deviations from what is usual in the language (and, for the
    match, the length); languages with less than 30 recordings are not judged by them. `foreign_text` is in bits a
    letter. `cut_outlier` is for sounds or texts of which the end is missing, by several signs together: see
    `linnet.curation.cuts`. `min_snr_db` is low, as noise is what a recognizer has to live with.
    """

    min_seconds: float = 0.1
    max_seconds: float | None = 40.0
    min_speech_seconds: float | None = 0.06
    max_clipped: float | None = 0.02
    min_snr_db: float | None = 3.0
    min_bandwidth_hz: float | None = None
    max_edge_level: float | None = None
    max_characters_per_second: float | None = 45.0
    min_characters_per_second: float | None = 0.3
    max_characters_per_frame: float | None = 1.0
    rate_outlier: float | None = 4.0
    min_script_share: float | None = 0.5
    foreign_script: bool = True
    foreign_text: float | None = 0.5
    match_outlier: float | None = 2.5
    cut_outlier: float | None = 2.5

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "min_seconds")
        for name in ("max_clipped", "min_script_share"):
            if getattr(self, name) is not None:
                require(self, SHARE, name)
        for name in ("max_seconds", "rate_outlier", "match_outlier", "cut_outlier"):
            if getattr(self, name) is not None:
                require(self, NOT_NEGATIVE, name)


def gates_of(options: GateOptions) -> list[Gate]:
    """The gates of the options, in the order of application: simple ones first."""
    gates: list[Gate | None] = [
        Unreadable(),
        Between("duration", "duration", "lasts {value:.2f} s", options.min_seconds, options.max_seconds),
        _between("no-speech", "speech_seconds", "{value:.2f} s of it are speech", options.min_speech_seconds),
        WithoutText(),
        _between("clipped", "clipped", "{value:.1%} of its samples are clipped", highest=options.max_clipped),
        _between("noisy", "snr_db", "its signal-to-noise ratio is {value:.1f} dB", options.min_snr_db),
        _between("narrow", "bandwidth_hz", "its sound ends at {value:.0f} Hz", options.min_bandwidth_hz),
        _between("cut", "edge_level", "its first or last sound is at {value:.1f} dB", highest=options.max_edge_level),
        _between(
            "rate",
            "characters_per_second",
            "{value:.1f} characters a second",
            options.min_characters_per_second,
            options.max_characters_per_second,
        ),
        _between(
            "too-long-text",
            "characters_per_frame",
            "{value:.2f} characters a frame of 20 ms",
            highest=options.max_characters_per_frame,
        ),
        None if options.rate_outlier is None else UnusualRate(options.rate_outlier),
        None if options.min_script_share is None else MixedScripts(options.min_script_share),
        ForeignScript() if options.foreign_script else None,
        None if options.foreign_text is None else ForeignText(options.foreign_text),
        None if options.match_outlier is None else Mismatch(options.match_outlier),
        None if options.match_outlier is None else Mismatch(options.match_outlier, *UNSPOKEN),
        None if options.cut_outlier is None else CutSound(options.cut_outlier),
        None if options.cut_outlier is None else CutText(options.cut_outlier),
    ]
    return [gate for gate in gates if gate is not None]


def _between(
    name: str, column: str, says: str, lowest: float | None = None, highest: float | None = None
) -> Between | None:
    return None if lowest is None and highest is None else Between(name, column, says, lowest, highest)


# --- the gates


@dataclass(frozen=True)
class Unreadable:
    """Recordings that could not be decoded; the error is recorded separately."""

    name = "unreadable"

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """Fail those with an error."""
        failed = np.array([error is not None for error in pool.errors], np.bool_)
        return Verdict(failed, np.full(len(pool), np.nan))

    def reason(self, value: float) -> str:  # noqa: ARG002  a Gate's
        """There is no value."""
        return "it cannot be read"


@dataclass(frozen=True)
class Between:
    """Recordings with a value below `lowest` or above `highest`; missing values pass.

    The length is an exception: without a valid one there is no audio.
    """

    name: str
    column: str
    says: str
    lowest: float | None = None
    highest: float | None = None

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """Fail values outside the limits."""
        values = np.asarray(_COLUMNS.get(self.column, _measured(self.column))(pool), np.float64)
        failed = ~np.isfinite(values) if self.column == "duration" else np.zeros(len(values), np.bool_)
        if self.lowest is not None:
            failed |= values < self.lowest
        if self.highest is not None:
            failed |= values > self.highest
        return Verdict(failed, values)

    def reason(self, value: float) -> str:
        """The value and the limit."""
        if self.lowest is not None and not value >= self.lowest:
            return f"{self.says.format(value=value)}, less than {self.lowest:g}"
        return f"{self.says.format(value=value)}, more than {self.highest:g}"


@dataclass(frozen=True)
class WithoutText:
    """Recordings without a transcript, or with a transcript without words."""

    name = "no-text"

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """Fail missing or empty texts, and texts of punctuation only."""
        failed = np.array([text is None or not bears_sound(text) for text in pool.texts], np.bool_)
        return Verdict(failed, np.full(len(pool), np.nan))

    def reason(self, value: float) -> str:  # noqa: ARG002  a Gate's
        """There is no value."""
        return "it has no transcript, or an empty one"


@dataclass(frozen=True)
class UnusualRate:
    """Recordings with a much higher or lower speaking rate than others of their language, which indicates a wrong
    text."""

    limit: float
    name = "unusual-rate"

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Check the logarithm of characters per second of speech."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.log(_characters_per_second(pool))
        groups = pool.labels["language"].codes.astype(np.int64) + 1
        scores = robust_scores(rates, groups, usable, least_spread=0.1)
        return Verdict(np.abs(scores) > self.limit, scores)

    def reason(self, value: float) -> str:
        """The reason, with direction and deviation."""
        return (
            f"its text is {'long' if value > 0 else 'short'} for its sound: {abs(value):.1f} standard deviations from "
            f"what is usual in its language, more than {self.limit:g}"
        )


@dataclass(frozen=True)
class MixedScripts:
    """Recordings whose text mixes several scripts without a dominant one."""

    limit: float
    name = "mixed-scripts"

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """Check the share of letters of the main script; a text without letters passes."""
        known = pool.numbers.get("script_share")
        if known is None or np.isnan(known).all():
            known = np.array([_main_share(text) for text in pool.texts])
        shares = np.where(_without_script(pool), np.nan, known)
        return Verdict(shares < self.limit, shares)

    def reason(self, value: float) -> str:
        """The share and the limit."""
        return f"{value:.0%} of its letters are of its main script, less than {self.limit:.0%}"


@dataclass(frozen=True)
class ForeignScript:
    """Recordings whose text is in an unusual script of their language in this pool.

    A script is usual if a twentieth of the language's recordings have it.
    """

    share: float = 0.05
    name = "foreign-script"

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Check the share of the language's recordings with the same script; languages with fewer than 30 pass."""
        script, language = pool.labels["script"], pool.labels["language"]
        width = len(script.names) + 1
        both = (language.codes.astype(np.int64) + 1) * width + script.codes + 1
        written = ~_without_script(pool) & (script.codes >= 0)
        known = usable & written & (language.codes >= 0)
        of_both = np.bincount(both[known], minlength=width * (len(language.names) + 1))
        of_language = np.bincount(language.codes[known] + 1, minlength=len(language.names) + 1)[language.codes + 1]
        shares = of_both[both] / np.maximum(of_language, 1)
        shares[~written | (of_language < 30)] = np.nan
        return Verdict(shares < self.share, shares)

    def reason(self, value: float) -> str:
        """The share and the limit."""
        return f"its text is in the script of {value:.1%} of its language's recordings, less than {self.share:.0%}"


@dataclass(frozen=True)
class Mismatch:
    """Recordings whose sounds do not match their words, by their share of the corpus's mutual information.

    This is far below the usual value for language, length and speaker if the text is wrong. `columns` name the scores,
    the first existing one is used: `mi` is low if spoken words are not in the transcript, `mi_tokens` if words of the
    transcript are not spoken. Without scores nothing fails, nor in a language with fewer than 100 recordings, which are
    too few to learn how its words sound.
    """

    limit: float
    columns: tuple[str, ...] = ("mi_raw", "mi")
    name: str = "mismatch"
    says: str = "its sounds do not go with its words"

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """Check robust standard deviations below the median."""
        column = next((one for one in self.columns if one in pool.scores), None)
        if column is None:
            return Verdict(np.zeros(len(pool), np.bool_), np.full(len(pool), np.nan))
        languages = pool.labels["language"].codes
        groups = length_groups(languages, pool.seconds, usable)
        found = robust_scores(pool.scores[column], groups, usable, "upper")
        found = beside_speakers(found, pool.speakers.codes, usable)
        scores, judged = of_learned(found, languages, usable)
        scores = np.where(judged, scores, np.nan)
        return Verdict(scores < -self.limit, scores)

    def reason(self, value: float) -> str:
        """The reason, with the deviation."""
        return f"{self.says}: {-value:.1f} standard deviations below what is usual, more than {self.limit:g}"


UNSPOKEN = (("mi_tokens_raw", "mi_tokens"), "unspoken", "some of its words are not heard in it")


# --- checked values


def _measured(column: str) -> Callable[[Pool], NDArray[Any]]:
    return lambda pool: pool.numbers[column]


def _characters_per_second(pool: Pool) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(pool.characters, np.float64) / pool.speech_seconds


def _characters_per_frame(pool: Pool) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(pool.characters, np.float64) * FRAME / pool.seconds


_COLUMNS: dict[str, Callable[[Pool], NDArray[Any]]] = {
    "speech_seconds": lambda pool: pool.speech_seconds,
    "characters_per_second": _characters_per_second,
    "characters_per_frame": _characters_per_frame,
}


def _without_script(pool: Pool) -> Flags:
    """Which texts have no letters [N]: script Zyyy in ISO 15924."""
    script = pool.labels["script"]
    code = script.names.index(NONE) if NONE in script.names else -2
    return np.asarray(script.codes == code, np.bool_)


def _main_share(text: str | None) -> float:
    """The share of letters that are of the main script; 1 where there are none."""
    if text is None or text.isascii():
        return 1.0
    script, share = text_script(text)
    return 1.0 if script == NONE else share
