"""`paymaster status`: budgets, limits, pauses and open calls at this moment, from the ledger's balances."""

from typing import TYPE_CHECKING

from paymaster.cli.flags import LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.registry.models import Registry

HELP = """Budgets, limits and pauses now.

Reads the ledger's balances: what is spent, what open calls hold, how full each limit is, which models nobody calls for the moment, and
how many calls wait in line.
With a registry it also says what is left. What waits on disk for a ledger that was away is in none of these figures, and is listed by
itself.

\b
Example:
  paymaster status --model-registry registry.yaml
  paymaster status --run-id exp-42 --json
"""


@with_flags("model_registry", "budget_usd", "rpm_limit", "tpm_limit", "run_id", *LEDGER)
def status(flags: Flags, as_json: AsJson = False) -> None:
    """See `HELP`."""
    from paymaster.cli.backlog_tables import backlog_json, backlog_table, other_sentences, others_json, sentences
    from paymaster.cli.ledger_access import open_books
    from paymaster.cli.status_tables import as_json as to_json
    from paymaster.cli.status_tables import tables
    from paymaster.cli.terminal import write, write_json, write_note, write_tables
    from paymaster.views.ledger_status import ledger_status

    with open_books(flags, as_json=as_json) as books:
        balances, queue, now_ms, path = books.balances(), books.queue(), books.now_ms(), books.place
        waiting, others = books.backlog(), books.backlogs_beside()
    now = ledger_status(balances, registry_named(flags), run=flags.run_id, queue=queue)
    if as_json:
        write_json({**to_json(now, now_ms, path), "waiting": backlog_json(waiting), "waiting_elsewhere": others_json(others)})
        return
    shown = [*tables(now, now_ms), backlog_table(waiting)]
    write_tables(shown)
    for sentence in (*sentences(waiting), *other_sentences(others)):
        write_note(sentence)
    if not any(table.rows for table in shown):
        of = f" of run {flags.run_id}" if flags.run_id else ""
        write(f"Nothing is spent or held{of} in {path}.")


def registry_named(flags: Flags) -> "Registry | None":
    """The registry that tells the caps, where one is named."""
    from paymaster.options import configure

    named = flags.model_registry or flags.overrides().model_registry
    return configure(named, flags.settings()).registry if named else None
