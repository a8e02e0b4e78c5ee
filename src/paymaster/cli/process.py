"""The edge of the process: every error becomes one message and one exit status; knows no command.

0  done        1  the call failed, or an internal error        2  the user's mistake
3  stopped by a budget        130  Ctrl-C
"""

import io
import os
import sys
from collections.abc import Sequence

from paymaster.cli.terminal import accept_any_text, write_error, write_stderr
from paymaster.errors import PaymasterError, RegistryInvalid

INTERRUPTED = 130
DEBUG = "--debug"
PASSED_THROUGH = ("mini", "mini-batch", "exec")
"""Commands whose arguments belong to another program."""


# From Python 3.12 on, an exception that ends the creation of a class has this note.
_NOTE_OF_PYTHON = "Error calling __set_name__"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status. `arguments` does not include the program's name."""
    own, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    charges: list[str] = []
    try:
        _prepare_streams()
        status = _run(own)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        status, charges = INTERRUPTED, _notes(interrupt)
    except BrokenPipeError:
        _silence()
        return 1
    except Exception as error:  # the edge of the process: no caller is left to catch it
        if _was_interrupted(error):
            status, charges = INTERRUPTED, _notes(error)
        elif debug:
            raise
        elif isinstance(error, PaymasterError):
            write_error(_message(error))
            status = error.exit_status
        else:
            write_error(
                f"internal error: {type(error).__name__}: {error}\nRun the same command with `paymaster {DEBUG} …` to see the traceback."
            )
            status = 1
    if status == INTERRUPTED:
        write_error("\n".join(["stopped by Ctrl-C", *charges]))
    return status


def _run(arguments: Sequence[str]) -> int:
    """The exit status of typer. Usage mistakes (an unknown flag, a missing argument) are printed in typer's words, with status 2."""
    from typer import Abort
    from typer.main import get_command

    from paymaster.cli.app import build_app

    try:
        status = get_command(build_app()).main(list(arguments), prog_name="paymaster", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    except Abort:
        write_stderr("Aborted!")
        return 1
    except Exception as error:
        # Typer's usage mistakes have no public class of their own: it is in another module in each version of typer.
        show, exit_status = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or not isinstance(exit_status, int):
            raise
        shown = io.StringIO()
        show(file=shown)
        write_stderr(shown.getvalue().removesuffix("\n"))
        return exit_status
    return status if isinstance(status, int) else 0


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without a `--debug` of ours, and whether there was one."""
    ours = next((index for index, word in enumerate(arguments) if word in PASSED_THROUGH), len(arguments))
    return [word for index, word in enumerate(arguments) if word != DEBUG or index >= ours], DEBUG in arguments[:ours]


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused it: while a class is being created, Python turns a KeyboardInterrupt into a RuntimeError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _notes(error: BaseException | None) -> list[str]:
    """What the calls that it interrupted were charged: the flow notes it on the exception that ends a call."""
    notes: list[str] = []
    while error is not None:
        notes += (note for note in getattr(error, "__notes__", ()) if not note.startswith(_NOTE_OF_PYTHON))
        error = error.__cause__ or error.__context__
    return list(dict.fromkeys(notes))


def _message(error: PaymasterError) -> str:
    """The error's own message; several mistakes are printed one per line, so that editors can read them."""
    count = len(error.problems) if isinstance(error, RegistryInvalid) else 1
    return f"{count} mistakes\n{error}" if count > 1 else str(error)


def _prepare_streams() -> None:
    """Let both streams take any text. A program that was started without them (`>&-`) writes to the null device."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  stays open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  stays open as long as the process
    accept_any_text(sys.stdout)
    accept_any_text(sys.stderr)


def _silence() -> None:
    """Send remaining output to the null device: the interpreter flushes once more when it exits, and would report an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
