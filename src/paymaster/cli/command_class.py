"""The class of a command: its help names arguments as the usage line does; knows no command."""

from typing import Any

from typer.core import TyperCommand


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
