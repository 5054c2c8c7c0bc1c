"""A verb with its own verbs: `linnet evaluate corpus.jsonl` beside `linnet evaluate compare a.jsonl b.jsonl`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class WithDefault(TyperGroup):
    """Runs the command `run` where the first argument is none of its commands, and shows its help as its own."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default's name in front, except before a command's name and a call for help."""
        if not args or args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        """The default's help, then the list of commands."""
        command = self.commands[self.default]
        own = type(ctx)(command, info_name=ctx.info_name, parent=ctx.parent)
        formatter = ctx.make_formatter()
        self.format_commands(ctx, formatter)
        return f"{command.get_help(own)}\n\n{formatter.getvalue().rstrip()}"
