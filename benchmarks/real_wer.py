"""Word error rates of real Whisper weights on real speech: by compute type, and beside other systems.

    python benchmarks/real_wer.py --models ~/weights/tiny.en ~/weights/base --speech ../shared/data/speech --quick
    python benchmarks/real_wer.py --models ~/weights/tiny.en --systems --ctranslate2 ~/weights/ct2

Every system is scored as `linnet evaluate` does on one manifest of all sets (its own default search; each row's
language is told), and compared with f32, or with --systems with Linnet's default, by the paired bootstrap of `linnet
evaluate compare`. The rows stay in --output, so that a second run goes on where the first ended: remove that folder
after a change of the code, of which the rows know nothing. English models hear the English sets only. ja, ko and zh
count characters without spaces, all else words. w8a8 needs `linnet models quantize MODEL AUDIO...` first, on recordings
of no test set (libri_speakers_notext); a compute type that cannot be run is said and left out.
Asked: int8 and bf16 within 0.3 points of f32, w8a8 within 0.5; no worse than the best other system.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from linnet.data.manifest import read_manifest
from linnet.errors import LinnetError
from linnet.evaluation.compare import CompareOptions, compare
from linnet.evaluation.log import RowLog, ScoredRow
from linnet.evaluation.providers import ProviderOptions, ProviderRecognizer, names_provider, open_provider
from linnet.evaluation.run import EvaluationOptions, RecognizesLanguages, evaluate_rows, select, still_open
from linnet.models.spelling import find_spelling
from linnet.scoring.scores import WordErrors, count_characters, total
from linnet.text.normalizers import Normalizers
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.recognizer import load

SETS = ("libri_other", "vctk", "en_misc", "phone_conv", "accents", "multilingual")
COMPUTE_TYPES = ("f32", "bf16", "int8", "w8a8")
BY_CHARACTERS = ("ja", "ko", "zh")
QUICK = 3  # every so many-th clip of a set
Rows = Sequence[ScoredRow]


@dataclass(frozen=True)
class System:
    """One column of the table. `fields` go to another system's own transcribe function."""

    name: str
    model: str  # as `linnet evaluate --model` takes it
    compute_type: str = "auto"
    fields: Mapping[str, Any] = field(default_factory=dict)


def say(text: str) -> None:
    """Where we are."""
    print(text, file=sys.stderr, flush=True)


def clips(speech: Path, name: str, every: int) -> Iterator[dict[str, Any]]:
    """Every so many-th clip of a set that has a text, as a row of a manifest; its id begins with the set's name."""
    lines = (speech / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    told = [row for row in map(json.loads, lines) if row.get("text")]
    for row in told[::every]:
        path = (speech / name / row["audio"]).resolve()
        kept = {key: row[key] for key in ("text", "language", "speaker", "duration") if row.get(key) is not None}
        yield {"id": f"{name}/{path.name}", "audio": str(path), **kept}


def write_manifest(path: Path, speech: Path, sets: Sequence[str], every: int) -> None:
    """All sets in one manifest, so that a model is opened once."""
    rows = [row for name in sets for row in clips(speech, name, every)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def compute_types(model: Path, names: Sequence[str]) -> list[System]:
    """Linnet in each precision; the others are compared with the first."""
    return [System(name, str(model), name) for name in names]


def other_systems(model: Path, converted: Path | None, pt: Path | None) -> list[System]:
    """Linnet's default first, then what others make of the same weights, greedy and by their own defaults."""
    found = [System("Linnet", str(model))]
    if converted is not None:
        spec = f"faster-whisper:{converted / model.name}"
        found += [
            System(f"faster-whisper {kind}{called}, beam {beam}", spec, number, {"beam_size": beam, **more})
            for kind, number in (("f32", "float32"), ("int8", "int8"))
            for called, more in (("", {}), (" batched", {"batch_size": 8}))
            for beam in (5, 1)
        ]
    if pt is not None:
        found.append(System("openai-whisper", f"openai-whisper:{pt / (model.name + '.pt')}"))
    one: dict[str, Any] = {"generate_kwargs": {"num_beams": 1}}
    found.append(System("Transformers", f"transformers:{model}", "float32"))
    return [*found, System("Transformers, beam 1", f"transformers:{model}", "float32", one)]


def open_system(system: System) -> RecognizesLanguages:
    """A model of Linnet, or another system's provider. What cannot be opened raises `LinnetError`."""
    if not names_provider(system.model):
        return load(system.model, compute_type=system.compute_type)
    options = ProviderOptions(fields=system.fields, compute_type=system.compute_type, device="cpu")
    return ProviderRecognizer(open_provider(system.model, options, cache=False))


def evaluate(system: System, manifest: Path, output: Path, normalizers: Normalizers) -> Rows | None:
    """The system's rows, made where they are not there yet; None where it cannot be run, which is said."""
    wanted, _ = select(read_manifest(manifest))
    try:
        recognizer = open_system(system)
        options = EvaluationOptions(TranscriptionOptions(), normalizers)
        header = options.header(recognizer)
        with RowLog.open(output, header, {"python": sys.version.split()[0]}) as log:
            for row in evaluate_rows(recognizer, still_open(wanted, log.rows), options):
                log.add(row)
            rows = [log.rows[row.row] for row in wanted]
    except LinnetError as error:
        say(f"{system.name}: left out: {error}")
        return None
    failed = [row for row in rows if row.error is not None]
    if failed:
        say(f"{system.name}: {len(failed)} clips not scored, such as {failed[0].id}: {failed[0].error}")
    return [by_characters(row) for row in rows if row.error is None]


def by_characters(row: ScoredRow) -> ScoredRow:
    """The row counted by characters where its language is written without spaces between words, else as it is.

    >>> row = ScoredRow(0, "a", "a.wav", "", "ja", normalized_text="今日は", normalized_hypothesis="今日わ")
    >>> by_characters(row).normalized_text, by_characters(row).words, by_characters(row).substitutions
    ('今 日 は', 3, 1)
    """
    if row.language not in BY_CHARACTERS:
        return row
    said, heard = ("".join((text or "").split()) for text in (row.normalized_text, row.normalized_hypothesis))
    counts = count_characters(said, heard)
    return replace(
        row,
        normalized_text=" ".join(said),
        normalized_hypothesis=" ".join(heard),
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
    )


def parts(rows: Rows) -> dict[str, list[ScoredRow]]:
    """The rows by set, characters apart from words, and all English sets together."""
    found: dict[str, list[ScoredRow]] = {}
    for row in rows:
        name = row.id.split("/")[0]
        if name != "multilingual":
            found.setdefault("English", []).append(row)
        found.setdefault(f"{name}, characters" if row.language in BY_CHARACTERS else name, []).append(row)
    return found


def cell(rows: Rows, base: Rows, first: bool) -> str:
    """The error rate; for all but the first system its difference to the first, with the 95 % interval, in points."""
    errors: WordErrors = total(row.counts for row in rows)
    if errors.rate is None:
        return "no words"
    text = f"{errors.rate:.2%}"
    if first:
        return f"{text} of {errors.words}"
    gap = compare(rows, base, options=CompareOptions(fields=())).difference
    if gap is None:
        return f"{text} (no interval)"
    low, high = 100 * gap.interval.low, 100 * gap.interval.high
    return f"{text} ({100 * gap.value:+.2f}; {low:+.2f} to {high:+.2f})"


def table(results: Mapping[str, Rows]) -> list[str]:
    """A Markdown table: a line for each set, a column for each system; the others are compared with the first."""
    split = {name: parts(rows) for name, rows in results.items()}
    base = next(iter(split.values()))
    lines = ["| set | clips | " + " | ".join(split) + " |", "|---" * (len(split) + 2) + "|"]
    for name, rows in base.items():
        cells = [cell(found.get(name, []), rows, found is base) for found in split.values()]
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return lines


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="Transformers folders")
    parser.add_argument("--speech", type=Path, default=Path("../shared/data/speech"))
    parser.add_argument("--output", type=Path, default=Path("build/real_wer"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--compute-types", nargs="+", default=COMPUTE_TYPES, help="the first is compared with")
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK}rd clip")
    parser.add_argument("--systems", action="store_true", help="other systems, instead of compute types")
    parser.add_argument("--ctranslate2", type=Path, help="a folder of CTranslate2 folders named as the models")
    parser.add_argument("--pt", type=Path, help="a folder of MODEL.pt files for openai-whisper")
    parser.add_argument("--only", nargs="+", help="of the other systems those whose names begin so; Linnet always")
    return parser.parse_args()


def main() -> None:
    """Evaluate, then print a table for each model."""
    asked = parse()
    every = QUICK if asked.quick else 1
    for model in asked.models:
        sets = [name for name in asked.sets if name != "multilingual" or not model.name.endswith(".en")]
        folder = asked.output / f"{model.name}-{'quick' if asked.quick else 'full'}"
        manifest = folder / "manifest.jsonl"
        write_manifest(manifest, asked.speech, sets, every)
        systems = compute_types(model, asked.compute_types)
        if asked.systems:
            wanted = ("Linnet", *(asked.only or [""]))
            found = other_systems(model, asked.ctranslate2, asked.pt)
            systems = [system for system in found if system.name.startswith(wanted)]
        results = {}
        normalizers = Normalizers(spelling=find_spelling(str(model)))  # one for all systems
        for system in systems:
            say(f"{model.name}: {system.name}")
            file = folder / f"{system.name.replace(', ', '-').replace(' ', '-')}.jsonl"
            rows = evaluate(system, manifest, file, normalizers)
            if rows:
                results[system.name] = rows
        print(f"\n{model.name}, every {every}. clip\n", *table(results), sep="\n", flush=True)


if __name__ == "__main__":
    main()
