"""How large a figure an account on a server may have; knows no script."""

from collections.abc import Sequence

from paymaster.accounting.accounts import Hold, Post, Settlement
from paymaster.errors import LedgerUnusable

# What one account counts at most: 9 million dollars in nano-dollars. The scripts count in doubles, which are exact to 2**53.
LARGEST_FIGURE = 9 * 10**15


def check_size(account: str, figure: int) -> None:
    """Raise LedgerUnusable for a figure that is too large."""
    if figure > LARGEST_FIGURE:
        raise too_large(account)


def check_hold_size(hold: Hold) -> None:
    """Raise LedgerUnusable for an amount or a cap that is too large."""
    for charge in hold.charges:
        check_size(charge.account, max(charge.amount, charge.cap or 0))


def check_settlement_size(settlement: Settlement) -> None:
    """Raise LedgerUnusable for an amount, held, actual or posted, that is too large."""
    for charge, amount in zip(settlement.hold.charges, settlement.amounts, strict=True):
        check_size(charge.account, max(charge.amount, amount))
    check_posts_size(settlement.posts)


def check_posts_size(posts: Sequence[Post]) -> None:
    """Raise LedgerUnusable for a post that is too large."""
    for post in posts:
        check_size(post.account, abs(post.amount))


def too_large(account: str) -> LedgerUnusable:
    """The message for more than one account counts here."""
    return LedgerUnusable(
        f"A ledger on Redis counts to {LARGEST_FIGURE:,} in one account (9 million dollars in nano-dollars); {account!r} would need more.",
        advice="Lower the cap, or split the budget by a shorter period; a ledger in a file (sqlite:) counts to 2**62.",
    )
