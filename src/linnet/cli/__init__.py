"""The command `linnet`: one file per verb, which parses arguments, calls the library and prints."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its other threads cost 0.1 s and are useless here

from linnet.cli.console import notice
from linnet.cli.processes import reports_errors
from linnet.errors import LinnetError

# verb -> "module:attribute"; an attribute that is a typer app has its own verbs
_VERBS = {
    "transcribe": "linnet.cli.transcribe:transcribe",
    "stream": "linnet.cli.stream:stream",
    "evaluate": "linnet.cli.evaluate:app",
    "train": "linnet.cli.train:train",
    "curate": "linnet.cli.curate:app",
    "data": "linnet.cli.data:app",
    "compress": "linnet.cli.compress:compress",
    "models": "linnet.cli.models:app",
    "bench": "linnet.cli.bench:bench",
    "doctor": "linnet.cli.doctor:doctor",
}


def build_app(verb: str | None = None) -> typer.Typer:
    """Build the command line, only for one verb if it is known: the options of all take a tenth of a second."""
    app = typer.Typer(
        name="linnet",
        help="Speech recognition made efficient, from data to desk.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes truncate the names of options and variables at 80 columns
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, home in _VERBS.items():
        if verb not in _VERBS or name == verb:
            module, attribute = home.split(":")
            command = getattr(import_module(module), attribute)
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name)
            else:
                app.command(name)(command)
    app.callback(invoke_without_command=True)(_root)
    return app


def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
) -> None:
    """Speech recognition made efficient, from data to desk."""
    if version:
        from linnet import __version__

        print(f"linnet {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line: a `LinnetError` becomes one line on stderr and exit status 1; Ctrl-C gives 130.

    Of several processes started by torchrun, the first one reports.
    """
    try:
        build_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except LinnetError as error:
        if reports_errors():
            notice(str(error))
        raise SystemExit(1) from None
