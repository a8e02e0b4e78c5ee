"""`paymaster status`: shows budgets, limits, pauses and open calls now, from the ledger's balances."""

from typing import TYPE_CHECKING

from paymaster.cli.flags import BUDGETS, LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.registry.models import Registry

HELP = """Show budgets, limits and pauses now.

Reads the ledger's balances: what is spent, what open calls hold, how full each limit is, which models are paused, and how many calls wait
in the queue. With a registry it also shows caps and what is left. Settlements that wait on disk because the ledger was unavailable are not
in these figures; they are listed separately.

\b
Example:
  paymaster status --model-registry registry.yaml
  paymaster status --run-id exp-42 --json
"""


@with_flags("model_registry", *BUDGETS, "rpm_limit", "tpm_limit", "run_id", *LEDGER)
def status(flags: Flags, as_json: AsJson = False) -> None:
    """See `HELP`."""
    from paymaster.cli.backlog_tables import (
        backlog_json,
        backlog_sentences,
        backlog_table,
        other_backlog_sentences,
        other_backlogs_json,
    )
    from paymaster.cli.ledger_access import open_reader
    from paymaster.cli.ledger_tables import clock_sentences
    from paymaster.cli.status_tables import count_sentences, ended_sentences, status_json, status_tables
    from paymaster.cli.terminal import write, write_json, write_note, write_tables, write_warnings
    from paymaster.views.ledger_status import StatusBuilder

    with open_reader(flags, as_json=as_json) as reader:
        now_ms, location = reader.now_ms(), reader.location
        ledger = reader.status(StatusBuilder(reader.identified(registry_named(flags)), run=flags.run_id), now_ms, flags.run_id)
        backlog, others, warnings = reader.backlog(), reader.other_backlogs(), reader.known_warnings()
        clocks = reader.clocks_ahead()
    if as_json:
        waiting = {"waiting": backlog_json(backlog), "waiting_elsewhere": other_backlogs_json(others)}
        clocks_json = [each._asdict() for each in clocks]
        write_json({**status_json(ledger, now_ms, location), "clocks_ahead": clocks_json, "replaced": list(warnings), **waiting})
        return
    tables = [*status_tables(ledger, now_ms), backlog_table(backlog)]
    write_tables(tables)
    for sentence in (
        *ended_sentences(ledger, now_ms),
        *count_sentences(ledger),
        *clock_sentences(clocks),
        *backlog_sentences(backlog),
        *other_backlog_sentences(others),
    ):
        write_note(sentence)
    write_warnings(warnings)
    if not any(table.rows for table in tables):
        of = f" of run {flags.run_id}" if flags.run_id else ""
        write(f"Nothing is spent or held{of} in {location}.")


def registry_named(flags: Flags) -> "Registry | None":
    """The registry that has the caps; None if none is named."""
    from paymaster.options import configure

    name = flags.model_registry or flags.overrides().model_registry
    return configure(name, flags.settings()).registry if name else None
