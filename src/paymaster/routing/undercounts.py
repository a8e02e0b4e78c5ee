"""What is learned where a provider counts more prompt tokens than were held for. Pure; knows no ledger and no vocabulary.

From then on the model is counted by bytes, and where even that is too low, by so many percent of them. The lesson is in the ledger, so that
all processes share it, as an account whose settled amount is the level:

    undercount/M     0: its own tokenizer counts; 100: its bytes; 170: 1.7 times its bytes; 400 at most

An admission looks at it with the level it counted at as the cap. A refusal says what others have learned.
"""

from collections.abc import Sequence

from paymaster.accounting.account_names import UNDERCOUNT, account_of
from paymaster.accounting.accounts import Balance, Change, Charge, Post, Refused
from paymaster.accounting.tokens.families import BYTES, Tokenizer
from paymaster.accounting.usage.record import Usage

BY_BYTES = 100
MOST = 400
"""So far a level goes: a provider that lies about its counts can't make a model too dear to call."""


def level_charge(subject: str, level: int) -> Charge:
    """The look at the level, which refuses if it is higher by now."""
    return Charge(account_of(UNDERCOUNT, subject), 0, level, None)


def higher_level(subject: str, refused: Refused) -> int | None:
    """The level that refused the hold; None if it didn't."""
    account = account_of(UNDERCOUNT, subject)
    return next((each.balance.settled for each in refused.shortfalls if each.charge.account == account), None)


def level_found(subject: str, charges: Sequence[Charge], balances: Sequence[Balance]) -> int | None:
    """The level that an admission found; None if no ledger has the hold."""
    account = account_of(UNDERCOUNT, subject)
    return next((found.settled for charge, found in zip(charges, balances, strict=False) if charge.account == account), None)


def tokenizer_at(level: int, own: Tokenizer) -> Tokenizer:
    """The tokenizer that counts at this level."""
    return own if level <= 0 else BYTES


def tokens_at(level: int, counted: int) -> int:
    """The upper bound of a prompt that was counted by the tokenizer of this level."""
    return -(-counted * (percent_of_bytes(level) or 100) // 100)


def percent_of_bytes(level: int) -> int | None:
    """Of how many percent of its bytes a prompt is taken for, at this level; None if the model's own tokenizer counts."""
    return min(max(level, BY_BYTES), MOST) if level > 0 else None


def level_for(billed_tokens: int, byte_count: int) -> int:
    """The level at which a prompt of this many bytes would have been held for."""
    return min(MOST, max(BY_BYTES, -(-billed_tokens * 100 // max(1, byte_count))))


def has_more_than_the_prompt(usage: Usage) -> bool:
    """Whether what was billed as the prompt has more than what was sent: results of searches, or what other passes read again."""
    return usage.web_search_requests > 0 or len(usage.parts) > 1


def level_post(subject: str, level: int, changes: Sequence[Change]) -> Post | None:
    """What raises the level, after a settlement; None if it is as high already."""
    account = account_of(UNDERCOUNT, subject)
    before = next((change.before for change in changes if change.account == account), 0)
    return Post(account, level - before, None) if level > before else None


def excess_post(subject: str, level: int, changes: Sequence[Change]) -> Post | None:
    """What lowers the level again after `level_post`, where others raised it at the same time: it is the highest, and not the sum."""
    account = account_of(UNDERCOUNT, subject)
    excess = next((change.after - max(change.before, level) for change in changes if change.account == account), 0)
    return Post(account, -excess, None) if excess > 0 else None


def is_news(subject: str, level: int, changes: Sequence[Change]) -> bool:
    """Whether `level_post` raised the level: nobody else had."""
    account = account_of(UNDERCOUNT, subject)
    return all(change.before < level for change in changes if change.account == account)
