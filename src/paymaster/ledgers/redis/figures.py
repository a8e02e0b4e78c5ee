"""How large a figure an account on a server may have; knows no script."""

from paymaster.errors import LedgerUnusable

# What one account counts at most: 9 million dollars in nano-dollars. The scripts count in doubles, which are exact to 2**53.
LARGEST_FIGURE = 9 * 10**15


def check_size(account: str, figure: int) -> None:
    """Raise LedgerUnusable for a figure that is too large."""
    if figure > LARGEST_FIGURE:
        raise too_large(account)


def too_large(account: str) -> LedgerUnusable:
    """The message for more than one account counts here."""
    return LedgerUnusable(
        f"A ledger on Redis counts to {LARGEST_FIGURE:,} in one account (9 million dollars in nano-dollars); {account!r} would need more.",
        advice="Lower the cap, or split the budget by a shorter period; a ledger in a file (sqlite:) counts to 2**62.",
    )
