"""The classes of commands: their help names arguments as the usage line does, and Ctrl-C keeps its notes; knows no command."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Commands(TyperGroup):
    """All commands. Typer would turn a KeyboardInterrupt into a bare exit status; it has notes of what the call was charged."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  its types are in another module in each version of typer
        """Run the command that was typed. Raises RuntimeError, from the KeyboardInterrupt, for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise RuntimeError("stopped by Ctrl-C") from interrupt


class Command(TyperCommand):
    """A command whose help lists arguments by name alone: typer adds the Python type, `FILE <str>`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  their types are in another module in each version of typer
        """Write the arguments and the options, each as a list of names and what they mean."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "argument":
                sections["Arguments"].append((parameter.metavar or parameter.name, record[1]))
            elif record is not None:
                sections["Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
