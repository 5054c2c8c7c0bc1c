"""The public names are few, pinned, and cost nothing until they are used."""

import subprocess
import sys

import pytest

import linnet
from linnet.audio import load


def test_the_public_names_are_these() -> None:
    assert linnet.__all__ == ["LinnetError", "Recognizer", "TranscribeOptions", "Transcript", "load"]
    assert all(getattr(linnet, name).__name__ == name for name in linnet.__all__)
    assert set(linnet.__all__) <= set(dir(linnet))


def test_the_typed_options_are_those_of_decoding_and_of_the_recording() -> None:
    from collections.abc import Iterable
    from types import UnionType
    from typing import Union, get_args, get_origin, get_type_hints

    from linnet.transcription.options import TranscriptionOptions

    def loosened(hint: object) -> set[object]:
        """The members of a union, with tuples as the iterables that may stand for them."""
        members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        return {Iterable[get_args(one)[0]] if get_origin(one) is tuple else one for one in members}

    typed, fields = get_type_hints(linnet.TranscribeOptions), get_type_hints(TranscriptionOptions)
    assert set(typed) == {*fields, "options", "channel", "track", "sample_rate", "temperature"}
    assert {name: loosened(typed[name]) - {float} for name in fields} == {
        name: loosened(hint) - {float} for name, hint in fields.items()
    }


def test_an_unknown_option_names_the_nearest_one() -> None:
    recognizer = linnet.load("digits", late=True)
    for wrong, nearest in (("beam_sise", "beam_size"), ("chanel", "channel"), ("temperatur", "temperature")):
        with pytest.raises(linnet.LinnetError, match=rf"unknown option '{wrong}' \(did you mean {nearest}\?\)"):
            recognizer.transcribe("examples/digits-en.flac", **{wrong: 1})


def test_several_recordings_take_the_same_keywords_as_one() -> None:
    recognizer, clip = linnet.load("digits"), "examples/digits-en.flac"
    samples = load(clip).samples
    one = recognizer.transcribe(samples, language="en", word_timestamps=True, temperature=0, sample_rate=8000)
    (many,) = recognizer.transcribe_many(
        [samples], language="en", word_timestamps=True, temperature=0, sample_rate=8000
    )
    assert many.transcript is not None
    assert many.transcript.segments == one.segments
    assert many.transcript.options == one.options
    assert many.transcript.duration == one.duration == pytest.approx(2 * len(samples) / 16_000, abs=0.01)
    with pytest.raises(linnet.LinnetError, match=r"unknown option 'vat' \(did you mean vad\?\)"):
        next(recognizer.transcribe_many([clip], vat=False))  # type: ignore[call-arg]


def test_options_of_decoding_alone_are_taken_with_the_rest_at_its_defaults() -> None:
    from linnet.decoding.options import DecodingOptions
    from linnet.transcription.options import TranscriptionOptions

    assert TranscriptionOptions.of(DecodingOptions(beam_size=2)) == TranscriptionOptions(beam_size=2)
    assert TranscriptionOptions.of(None) == TranscriptionOptions()
    own = TranscriptionOptions(vad=False)
    assert TranscriptionOptions.of(own) is own
    with pytest.raises(linnet.LinnetError, match="vad"):
        TranscriptionOptions(vad="no")  # type: ignore[arg-type]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = linnet.laod  # type: ignore[attr-defined]


def test_import_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import resource, sys; before = resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "import linnet; used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before\n"
        "heavy = {'torch', 'transformers', 'numpy', 'typer', 'rich', 'soundfile'} & set(sys.modules)\n"
        "print(used, heavy or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "none"
    assert float(seconds) < 0.5


def test_import_loads_no_feature_and_a_stream_is_asked_for_by_name() -> None:
    code = (
        "import sys, linnet, linnet.transcription.recognizer\n"
        "rooms = ('streaming', 'training', 'evaluation', 'curation', 'compression')\n"
        "print([name for name in sys.modules if name.split('.')[1:2] and name.split('.')[1] in rooms])\n"
        "linnet.load('digits', late=True).stream([])\n"
        "print('linnet.streaming.live' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, linnet.cli\n"
        "try:\n    sys.argv = ['linnet', '--help']; linnet.cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules) or 'none', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "none"
    for verb in ("transcribe", "stream", "evaluate", "train", "models", "doctor"):
        assert verb in done.stdout


def test_a_user_error_is_one_line_and_status_1() -> None:
    command = [sys.executable, "-m", "linnet", "transcribe", "no-such-file.wav", "--model", "digits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no-such-file.wav" in done.stderr
    assert "Traceback" not in done.stderr
