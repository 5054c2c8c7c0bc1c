"""A verb with its own verbs: `linnet evaluate corpus.jsonl` beside `linnet evaluate compare a.jsonl b.jsonl`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class WithDefault(TyperGroup):
    """A group that runs its command `run` if the first argument is not a command, and includes the help of `run`."""

    default = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the name of the default, except before a command's name or a help option."""
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
