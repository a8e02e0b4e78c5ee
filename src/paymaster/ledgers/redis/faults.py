"""What the faults of a Redis server mean to a user, and which of them may pass; knows no account and no script."""

from typing import TypeAlias

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotInTime

from paymaster.errors import LedgerUnavailable, LedgerUnusable, PaymasterError
from paymaster.ledgers.redis.damage import DamagedValue, found_by_script
from paymaster.ledgers.redis.scripts import NotAcknowledged

# Everything that goes wrong between here and a server: the client's errors have two roots.
Fault: TypeAlias = RedisError | RedisClusterException | OSError
FAULTS = (RedisError, RedisClusterException, OSError)

# Error codes of faults that pass by themselves. Errors from within a script have the code somewhere in their text.
PASSING = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM ",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
)
# What a script meets in a cluster while its slot is moved, or while the cluster has no majority.
PASSING_IN_SCRIPTS = ("non local key", "cluster is down")
# Messages for a known user who may not do this: from the server, and from within a script.
NOT_ALLOWED = ("NOPERM", "No permissions", "can't run this command", "can't access at least one of the keys")
# A certificate that is not trusted, and a file of trusted certificates that has none.
CERTIFICATES = ("CERTIFICATE_VERIFY_FAILED", "NO_CERTIFICATE_OR_CRL_FOUND")
# The version of a ledger that an import fills.
IMPORTING = "0"
ANOTHER_NAME = "Name another ledger with ?name=… or another server with --ledger (or PAYMASTER_LEDGER)."


def may_pass(error: Fault) -> bool:
    """Whether another try is worth it: every script may be repeated, and nothing is wrong with the request."""
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)) or any(word in str(error) for word in CERTIFICATES):
        return False
    if damaged_value(error) is not None:  # its name may have any word in it
        return False
    if isinstance(error, MovedError):  # a cluster's client follows it; any other asks a node that does not have the ledger
        return False
    if isinstance(error, (NotAcknowledged, ReadOnlyError, OutOfMemoryError, MasterDownError, TryAgainError, AskError)):
        return True
    if isinstance(error, (NotConnected, NotInTime, OSError, ClusterDownError, ClusterError, RedisClusterException)):
        return not _refuses_access(str(error)) and "Cluster mode is not enabled" not in str(error)
    return isinstance(error, ResponseError) and any(word in str(error) for word in (*PASSING, *PASSING_IN_SCRIPTS))


def damaged_value(error: Fault) -> DamagedValue | None:
    """The damaged value that a script met, if that is what the error is about."""
    return found_by_script(str(error)) if isinstance(error, ResponseError) else None


def is_of_another_type(error: Fault) -> bool:
    """Whether a key of the ledger is of another type than Paymaster makes it."""
    return "WRONGTYPE" in str(error)


def to_error(error: Fault, label: str, *, worked: bool = False) -> PaymasterError:
    """A fault that will not pass by itself, as one clear message. `worked` if the server answered this process before."""
    text = _text(error)
    if isinstance(error, NoPermissionError) or any(words in text for words in NOT_ALLOWED):
        refused = LedgerUnavailable if worked else LedgerUnusable
        return refused(
            f"The user of the ledger's URL may not do on {label} what a ledger needs: {text}.",
            advice="Give it `~{paymaster:NAME}* +@read +@write +@scripting +@connection +time` with ACL SETUSER (NAME: see ?name=).",
        )
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)) or _refuses_access(text):
        refused = LedgerUnavailable if worked else LedgerUnusable
        return refused(
            f"The Redis server {label} refuses the user or the password of the ledger's URL.",
            advice="Write redis://user:password@host:port/db, with special characters percent-encoded, or set PAYMASTER_LEDGER.",
        )
    if isinstance(error, MovedError):
        moved = LedgerUnavailable if worked else LedgerUnusable
        return moved(
            f"The Redis server {label} is a node of a cluster, and another node has the ledger: {text}.",
            advice="Write redis+cluster://host:port,host:port with the cluster's nodes in the ledger's URL.",
        )
    if any(word in text for word in CERTIFICATES):
        return LedgerUnusable(
            f"The certificate of the Redis server {label} can't be verified: {text}.",
            advice="Name the certificate of the authority that signed it in the ledger's URL: ?ca=/path/ca.pem (PEM).",
        )
    if "WAITAOF" in text:
        return LedgerUnusable(
            f"The Redis server {label} can't do what wait_aof asks for: {text}.",
            advice="It needs Redis 7.2 or later, or Valkey, with appendonly yes; or take wait_aof out of the ledger's URL.",
        )
    return LedgerUnusable(f"The Redis server {label} cannot keep a ledger: {text}.", advice=ANOTHER_NAME)


def not_reached(error: Fault, label: str, waited_ms: int) -> LedgerUnavailable:
    """The message for a server that stayed unavailable, or whose replicas did."""
    if isinstance(error, NotAcknowledged):
        return LedgerUnavailable(
            f"The ledger on {label} took it, but {_text(error)}. It was tried for {waited_ms / 1000:.1f} s.",
            advice="Check the server's replicas and its disk, or ask for less in the ledger's URL (wait_replicas, wait_aof, wait_ms).",
        )
    return LedgerUnavailable(
        f"The ledger on {label} did not answer for {waited_ms / 1000:.1f} s: {_text(error)}.",
        advice=f"Check whether the server runs and can be reached from here: {_ping(label)}. What was sent stays recorded.",
    )


def not_up_to_date(name: str, label: str, waited_ms: int) -> LedgerUnavailable:
    """The message for a ledger that another client is bringing up to date."""
    return LedgerUnavailable(
        f"The ledger {name!r} on {label} is being brought up to date by another process; it was not ready after {waited_ms / 1000:.1f} s.",
        advice="Try again when that is done. If that process has ended, the next call after a minute does its work.",
    )


def of_another_version(version: str, newest: int, name: str, label: str) -> LedgerUnusable:
    """The message for a ledger that no script of today works with."""
    if version == IMPORTING:
        return LedgerUnusable(
            f"An import into the ledger {name!r} on {label} has not finished.",
            advice="Let it finish. If it was stopped, import the same file again: it starts over, and nothing is counted twice.",
        )
    return LedgerUnusable(
        f"The ledger {name!r} on {label} was written by a later Paymaster (schema version {version}; this one knows up to {newest}).",
        advice="Upgrade with `pip install --upgrade paymaster`. " + ANOTHER_NAME,
    )


def _ping(label: str) -> str:
    """A command that shows whether the server, or the first of several, answers; redis-cli takes redis:// and rediss:// only."""
    scheme, _, location = label.partition("://")
    if scheme == "unix":
        return f"redis-cli -s {location} ping"
    return f"redis-cli -u {scheme.partition('+')[0]}://{location.partition('/')[0].partition(',')[0]} ping"


def _text(error: Fault) -> str:
    """The error's text, without the client's own objects, which are in the text for a missing master."""
    return " ".join(str(error).partition(" : <")[0].split()).rstrip(".") or type(error).__name__


def _refuses_access(text: str) -> bool:
    """Whether the text has a server's refusal: Sentinels and clusters wrap it into errors of their own."""
    return any(word in text for word in ("WRONGPASS", "NOAUTH", "NOPERM", "invalid username-password", "invalid password"))
