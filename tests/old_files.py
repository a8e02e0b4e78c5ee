"""Knows the files that Paymaster wrote at bca1a69: copies for a test, a server's keys put back, what the command line says of them.

How a command's JSON is spelled is said here alone, so that a new name is changed in one place.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import shutil
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from paymaster.accounting.account_names import read_endpoint_subject
from paymaster.accounting.accounts import Charge, Held, Hold
from paymaster.cli import main
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).parent / "fixtures" / "bca1a69"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
REGISTRY = FOLDER / "registry.yaml"
READY = {"state": "ready", "until_ms": None, "failures": 0, "open_calls": 0}


@dataclass(frozen=True)
class OldLedger:
    """A ledger that was written at bca1a69, wherever it lies now. Its time stands still unless it is moved."""

    url: str

    def command(self, *words: object) -> bytes:
        """What a command says about it. It has to end well."""
        return command(*words, "--ledger", self.url)

    def shown(self, *words: object) -> dict:
        """The same as JSON."""
        return json.loads(self.command(*words, "--json"))

    def move_to(self, at_ms: int) -> None:
        """Take it to a later moment, as the next call there would."""
        with self._opened() as ledger:
            run(ledger.sweep(at_ms))

    def fits(self, account: str, amount: int, cap: int) -> bool:
        """Whether a call of so much would be admitted."""
        hold = Hold("to be withdrawn", (Charge(account, amount, cap),), 60_000)
        with self._opened() as ledger:
            outcome = run(ledger.reserve(hold, 0))
            run(ledger.withdraw(hold.id))
            return isinstance(outcome, Held)

    @contextmanager
    def _opened(self) -> Iterator[RedisLedger | SqliteLedger]:
        pause = BlockingRuntime().sleep
        if self.url.startswith("redis:"):  # whose clock would be the server's
            ledger = RedisLedger(read_address(self.url), pause, blocking=True, server_clock=False)
        else:
            ledger = SqliteLedger(Path(self.url.removeprefix("sqlite:")), pause)  # which follows its callers
        yield ledger
        run(ledger.close())

    def clock_ms(self) -> int:
        """Its own time."""
        return self.shown("ledger", "status")["clock_ms"]

    def lines(self) -> list[bytes]:
        """Its export, line by line."""
        return self.command("ledger", "export", "-").splitlines(keepends=True)

    def verified(self) -> dict:
        """Whether it adds up, and how many records, open holds and openings there are."""
        shown = self.shown("ledger", "verify")
        return {name: shown[name] for name in ("adds_up", "differences", "records", "open_holds", "openings")}

    def budgets(self) -> dict:
        """What is spent and held of each budget."""
        names = ("spent_nanousd", "held_nanousd")
        return {each["account"]: {name: each[name] for name in names} for each in self.shown("status")["budgets"]}

    def limits(self) -> list:
        """How full each rate limit is."""
        return [[each["model"], each["limit"], each["used"]] for each in self.shown("status")["limits"]]

    def models(self) -> dict:
        """What each model is at that is not simply ready."""
        shown = self.shown("status")
        ahead_ms = self.clock_ms() - shown["at_ms"]  # times are shown by the clock of the reader
        found: dict[str, dict] = {}
        for each in shown["models"]:
            if each["model"].startswith("key/"):
                continue
            closed_until_ms, endpoint = _closed_until_ms(each), read_endpoint_subject(each["subject"])
            name = each["model"] if endpoint is None else endpoint.model_id  # what it calls, from the first call of today on
            state = {
                "state": "paused" if closed_until_ms else "one at a time" if each["half_open"] else "ready",
                "until_ms": _moment(None if closed_until_ms is None else closed_until_ms + ahead_ms),
                "failures": each["failures"],
                "open_calls": each["open_calls"],
            }
            if name not in found or state != READY:
                found[name] = state
        return found

    def model(self, name: str) -> dict:
        """What one model is at."""
        return self.models().get(name, READY)

    def waiting(self) -> list:
        """The queue: model, how many callers, since when."""
        shown = self.shown("status")
        return [[each["model"], each["calls"], each["since_ms"] + self.clock_ms() - shown["at_ms"]] for each in shown["queued"]]

    def report(self, *words: object) -> dict:
        """Where the money went, by model, in the figures that `expected.json` has."""
        report = self.shown("report", "--by", "model", *words)
        assert report["ledger_agrees"], report["differences"]
        return {
            "total": {name: report["total"][name] for name in EXPECTED["ledger"]["report"]["total"]},
            "cost_nanousd_by_model": {row["model"]: row["cost_nanousd"] for row in report["rows"]},
            "corrections": [[each["account"], each["amount"], each["reason"], each["user"]] for each in report["corrections"]],
        }


def _moments(value: object) -> set[int]:
    """The whole numbers that are times, anywhere in what is expected."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(_moments, value))
    return {value} if isinstance(value, int) and value > 2_000_000_000_000 else set()


MOMENTS = _moments({name: EXPECTED[name] for name in EXPECTED})


def _moment(at_ms: int | None) -> int | None:
    """The expected moment, if the time is one but for what the ledger's clock went on during the test."""
    if at_ms is None:
        return None
    return min((moment for moment in MOMENTS if abs(moment - at_ms) < 1_500), key=lambda moment: abs(moment - at_ms), default=at_ms)


def _closed_until_ms(model: dict) -> int | None:
    """Until when nobody calls a model: its provider asked to wait, or its circuit is open."""
    return max((until_ms for until_ms in (model["paused_until_ms"], model["open_until_ms"]) if until_ms), default=None)


def command(*words: object) -> bytes:
    """What `paymaster …` writes to standard output. It has to end well."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with _own_log(), redirect_stdout(out), redirect_stderr(err):
        status = main([str(word) for word in words])
    assert status == 0, f"{words} ended with {status}: {err.getvalue()}"
    return out.buffer.getvalue()


@contextmanager
def _own_log() -> Iterator[None]:
    """A command sets up the log for its process, which is this one."""
    log = logging.getLogger("paymaster")
    before = (log.handlers[:], log.level, log.propagate)
    try:
        yield
    finally:
        log.handlers[:], log.level, log.propagate = before


def file_ledger(name: str, folder: Path) -> OldLedger:
    """A copy of `ledger<name>.sqlite`, which a test may write to."""
    return OldLedger(f"sqlite:{shutil.copy(FOLDER / f'ledger{name}.sqlite', folder / f'ledger{name}.sqlite')}")


def server_ledger(name: str, url: str) -> OldLedger:
    """The keys of `redis<name>.json`, put back under the name that the URL has."""
    prefix = read_address(url).state_key.removesuffix("state")
    with redis.Redis.from_url(url.partition("?")[0]) as client:
        for key, value in json.loads((FOLDER / f"redis{name}.json").read_text(encoding="utf-8")).items():
            _put_back(client, prefix + key, value)
    return OldLedger(url)


def imported_ledger(name: str, url: str) -> OldLedger:
    """`export<name>.jsonl`, imported."""
    command("ledger", "import", FOLDER / f"export{name}.jsonl", "--ledger", url)
    return OldLedger(url)


def _put_back(client: redis.Redis, key: str, kept: Mapping[str, object]) -> None:
    value = kept["value"]
    match kept["type"]:
        case "string":
            client.set(key, _bytes(value))
        case "hash":
            client.hset(key, mapping={_bytes(name): _bytes(text) for name, text in value})
        case "zset":
            client.zadd(key, {_bytes(member): score for member, score in value})
        case "stream":
            for place, parts in value:
                pairs = [_bytes(part) for part in parts]
                client.xadd(key, dict(zip(pairs[::2], pairs[1::2], strict=True)), id=place)
            client.execute_command("XSETID", key, kept["last_id"])


def _bytes(kept: str | Mapping[str, str]) -> bytes:
    return kept.encode() if isinstance(kept, str) else base64.b64decode(kept["base64"])
