"""The command `linnet`: one file per verb, each parses, calls the library and prints."""

from __future__ import annotations

from importlib import import_module

import typer

from linnet.cli.console import notice
from linnet.cli.processes import tells
from linnet.errors import LinnetError

# verb -> "module:attribute"; an attribute that is a typer app has verbs of its own
_VERBS = {
    "transcribe": "linnet.cli.transcribe:transcribe",
    "evaluate": "linnet.cli.evaluate:app",
    "train": "linnet.cli.train:train",
    "models": "linnet.cli.models:app",
    "bench": "linnet.cli.bench:bench",
    "doctor": "linnet.cli.doctor:doctor",
}


def build_app() -> typer.Typer:
    """The whole command line; verbs import what is heavy only when they run."""
    app = typer.Typer(
        name="linnet",
        help="Speech recognition made efficient, from data to desk.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes cut the names of options and variables short at 80 columns
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for verb, home in _VERBS.items():
        module, attribute = home.split(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)
    app.callback(invoke_without_command=True)(_root)
    return app


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True),
) -> None:
    """Speech recognition made efficient, from data to desk."""
    if version:
        from linnet import __version__

        print(f"linnet {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line: a `LinnetError` becomes one line on stderr and exit status 1; Ctrl-C gives 130.

    Of processes that torchrun has started the first tells.
    """
    try:
        build_app()()
    except LinnetError as error:
        if tells():
            notice(str(error))
        raise SystemExit(1) from None
