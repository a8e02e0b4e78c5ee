"""An instance after a fallback: it stays where it is, or is never answered by two models, whatever else happens."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from call_box import Box, Limits, Outcome, answer, failure, model, per_run, registry
from fleet import SOURCE, LoopbackProvider, Seen, registry_file
from paymaster import Client
from paymaster.errors import BudgetExceeded, MixRefused, NoModelAvailable, NoModelFits, PaymasterError, RequestRefused
from paymaster.flow import events
from paymaster.flow.explaining import explain
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Budget, Stay
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime

Messages = Sequence[Mapping[str, object]]

TASK: Messages = ({"role": "system", "content": "You fix bugs."}, {"role": "user", "content": "Fix the parser."})
STEP: Messages = (*TASK, {"role": "assistant", "content": "ls"}, {"role": "user", "content": "parser.py"})
SUBAGENT: Messages = ({"role": "user", "content": "Which tests are there?"},)
DOWN = failure(FailureKind.OVERLOADED, status=503)
ONE = Scope(run="r1", instance="task-1")


class Instances:
    """Boxes of several processes on one ledger: each has its own memory, and all have one provider's moods."""

    def __init__(self, names: str = "abc", **policy: object) -> None:
        self.down: set[str] = set()
        self.runtime, self.books = ManualRuntime(), MemoryLedger()
        self.names, self.policy = names, {"retries_per_model": 0, "max_wait_ms": 1_000, "breaker_failures": 1_000, **policy}
        self.fields: dict[str, dict[str, object]] = {}

    def process(self) -> Box:
        """Another process."""
        models = [model(name, **self.fields.get(name, {})) for name in self.names]

        def outcome(name: str) -> list[Outcome]:
            return [lambda _: DOWN if name in self.down else answer()]

        outcomes = {name: outcome(name) for name in self.names}
        return Box(registry(*models, **self.policy), outcomes, runtime=self.runtime, books=self.books, scope=ONE)

    def after(self, seconds: int) -> None:
        """Let time pass."""
        asyncio.run(self.runtime.sleep(seconds * 1_000))


def ask(box: Box, messages: Messages, **fields: object) -> str:
    """The model that answered."""
    return box.ask(Request(messages=messages, **fields)).model  # type: ignore[arg-type]  # a test names any field


def stays(**settings: object) -> Instances:
    return Instances(stay=Stay.INSTANCE, **settings)


def test_an_instance_goes_on_with_the_model_that_answered_last_until_its_time_has_passed() -> None:
    instances = stays(stay_ms=600_000)
    box = instances.process()
    assert ask(box, TASK) == "a"
    instances.down = {"a"}
    assert ask(box, STEP) == "b"
    instances.down = set()
    for _ in range(3):
        assert ask(box, STEP) == "b"
        instances.after(400)
    instances.after(201)
    assert ask(box, STEP) == "a"
    assert box.called() == ["a", "a", "b", "b", "b", "b", "a"]


def test_without_stay_each_call_begins_with_the_first_model() -> None:
    instances = Instances()
    box = instances.process()
    instances.down = {"a"}
    assert ask(box, STEP) == "b"
    instances.down = set()
    assert ask(box, STEP) == "a"
    assert not [name for name in asyncio.run(instances.books.balances("", 0)) if name.startswith("stays")]


def test_an_instance_that_never_fell_back_leaves_nothing_in_the_ledger() -> None:
    instances = stays()
    assert [ask(instances.process(), messages) for messages in (TASK, STEP, STEP)] == ["a", "a", "a"]
    assert not [name for name in asyncio.run(instances.books.balances("", 0)) if name.startswith("stays")]


def test_where_its_model_fails_an_instance_moves_on_and_stays_there() -> None:
    instances = stays()
    box = instances.process()
    instances.down = {"a"}
    assert ask(box, STEP) == "b"
    instances.down = {"a", "b"}
    assert ask(box, STEP) == "c"
    instances.down = {"c"}
    assert ask(box, STEP) == "a"  # behind the model that it stays with comes the chain
    instances.down = set()
    assert ask(box, STEP) == "a"


def test_every_process_knows_where_an_instance_is() -> None:
    instances = stays()
    first, second, third = instances.process(), instances.process(), instances.process()
    assert ask(third, STEP) == "a"
    instances.down = {"a"}
    assert ask(first, STEP) == "b"
    instances.down = set()
    assert ask(second, STEP) == "b"
    instances.after(2)  # what a process has read is taken for true so long
    assert ask(third, STEP) == "b"


@pytest.mark.parametrize(
    "other",
    [
        Scope(run="r1", instance="task-2"),
        Scope(run="r1"),
        Scope(run="r2", instance="task-1"),
        replace(ONE, user="ann", own_names=frozenset({"instance"})),
    ],
    ids=["another instance", "no instance", "the same in another run", "an instance of one user's own"],
)
def test_other_instances_begin_with_the_first_model(other: Scope) -> None:
    instances = stays()
    box = instances.process()
    instances.down = {"a"}
    assert ask(box, STEP) == "b"
    instances.down = set()
    box.scope = other
    assert ask(box, STEP) == "a"


def test_another_model_that_is_asked_for_has_a_chain_of_its_own() -> None:
    instances = stays()
    box = instances.process()
    instances.down = {"a"}
    assert ask(box, STEP) == "b"
    instances.down = set()
    assert ask(box, STEP, model="c") == "c"
    assert ask(box, STEP) == "b"


@pytest.mark.parametrize("policy", [{"stay": Stay.INSTANCE}, {"never_mix": True}])
def test_the_same_first_call_once_more_begins_anew(policy: dict[str, object]) -> None:
    """A failed instance is run again, under the same name: its first call may be answered by any model."""
    instances = Instances(**policy)
    instances.down = {"a"}
    assert [ask(instances.process(), messages) for messages in (TASK, STEP)] == ["b", "b"]
    instances.down = {"b"}
    assert [ask(instances.process(), messages) for messages in (TASK, STEP)] == ["a", "a"]
    instances.down = set()
    assert ask(instances.process(), STEP) == "a"


def test_another_first_call_in_the_instance_follows_it() -> None:
    """An agent's subagent, or a history that was summed up."""
    instances = stays()
    instances.down = {"a"}
    assert ask(instances.process(), TASK) == "b"
    instances.down = set()
    assert [ask(instances.process(), messages) for messages in (SUBAGENT, STEP)] == ["b", "b"]


# ------------------------------------------------------------------------------------------------------------ never_mix


def never_mixes(**settings: object) -> Instances:
    return Instances(never_mix=True, **settings)


def test_a_switch_in_mid_instance_is_refused_and_says_what_to_do() -> None:
    instances = never_mixes()
    box = instances.process()
    assert ask(box, TASK) == "a"
    instances.down = {"a"}
    with pytest.raises(MixRefused) as caught:
        ask(box, STEP)
    error = caught.value
    assert (error.instance, error.model, error.failure, error.http_status) == ("task-1", "a", "overloaded", 422)
    assert dict(error.reasons)["b"] == "a has answered this instance, and never_mix allows no other model"
    assert "task-1" in error.message
    assert "Run the instance again" in error.advice
    assert box.called().count("b") == box.called().count("c") == 0
    skipped = [(event.model, event.cause) for event in box.events if isinstance(event, events.ModelSkipped)]
    assert skipped == [("b", SkipCause.MIXED), ("c", SkipCause.MIXED)]
    assert [event.error for event in box.events if isinstance(event, events.CallGivenUp)] == ["MixRefused"]


def test_what_counts_is_the_model_that_answered_the_first_call() -> None:
    instances = never_mixes()
    instances.down = {"a"}
    assert ask(instances.process(), TASK) == "b"
    instances.down = set()
    assert [ask(instances.process(), messages) for messages in (STEP, SUBAGENT, STEP)] == ["b", "b", "b"]
    instances.down = {"b"}
    for messages in (STEP, SUBAGENT):
        with pytest.raises(MixRefused):
            ask(instances.process(), messages)


def test_an_instance_is_never_mixed_while_stay_s_is_short() -> None:
    instances = never_mixes(stay_ms=1_000)
    assert ask(instances.process(), TASK) == "a"
    instances.after(3_600)
    instances.down = {"a"}
    with pytest.raises(MixRefused):
        ask(instances.process(), STEP)


def test_the_instance_waits_for_its_model_as_long_as_a_call_without_a_fallback_does() -> None:
    instances = never_mixes(max_wait_ms=60_000, patience_ms=100, retries_per_model=None)
    box = instances.process()
    assert ask(box, TASK) == "a"
    instances.down = {"a"}
    before_ms = instances.runtime.now_ms()
    with pytest.raises(MixRefused):
        ask(box, STEP)
    assert instances.runtime.now_ms() - before_ms > 30_000


@pytest.mark.parametrize(
    ("settings", "raised"),
    [
        ({"budgets": (per_run("0.0000001"),), "hard_stop_on_budget": True}, BudgetExceeded),
        ({"budgets": (Budget(cap=100, per=("model",), models=("a",)),), "hard_stop_on_budget": True}, MixRefused),
    ],
    ids=["a budget over all models", "a budget of the instance's model"],
)
def test_a_budget_is_named_where_no_fallback_would_have_helped(settings: dict[str, object], raised: type[PaymasterError]) -> None:
    instances = never_mixes()
    assert ask(instances.process(), TASK) == "a"
    instances.policy |= settings
    with pytest.raises(raised):
        ask(instances.process(), STEP)


@pytest.mark.parametrize(
    ("outcome", "fields", "raised"),
    [
        (failure(FailureKind.BAD_REQUEST, status=400), {}, RequestRefused),
        (failure(FailureKind.CONTENT_POLICY, status=400), {}, RequestRefused),
        (answer(), {"limits": Limits(input_tpm=1)}, NoModelFits),
        (failure(FailureKind.AUTHENTICATION, status=401), {}, MixRefused),
        (failure(FailureKind.THROTTLED, status=429, retry_after_ms=3_600_000), {}, MixRefused),
        (failure(FailureKind.CONTEXT_TOO_LONG, status=400), {}, NoModelAvailable),
    ],
    ids=["bad request", "content policy", "above a limit", "wrong key", "throttled", "too long"],
)
def test_what_a_rerun_does_not_help_with_stays_what_it_is(
    outcome: Outcome, fields: dict[str, object], raised: type[PaymasterError]
) -> None:
    instances = never_mixes()
    assert ask(instances.process(), TASK) == "a"
    instances.fields["a"] = fields
    box = instances.process()
    box.outcomes["a"][:] = [outcome]
    with pytest.raises(raised):
        ask(box, STEP)


def test_two_first_calls_at_once_go_to_one_model() -> None:
    """The second begins while the first is under way at the other model: it waits, and follows."""
    instances = never_mixes(max_wait_ms=60_000)
    first, second = instances.process(), instances.process()
    instances.down = {"a"}
    answered: list[str] = []

    async def scenario() -> None:
        inside, free = asyncio.Event(), asyncio.Event()
        original = first.provider.send

        async def send(call: object) -> object:
            if call.model.name == "b":  # type: ignore[attr-defined]  # the very call
                inside.set()
                await free.wait()
            return await original(call)  # type: ignore[arg-type]  # the same

        first.provider.send = send  # type: ignore[assignment,method-assign]  # held at the provider
        running = asyncio.create_task(first.items(Request(messages=TASK)))
        await inside.wait()
        instances.down = set()
        other = asyncio.create_task(second.items(Request(messages=SUBAGENT)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert "a" not in second.called()  # while `b` may answer the instance
        free.set()
        answered.extend([(await task)[-1].model for task in (running, other)])  # type: ignore[union-attr]  # each ends with a reply

    asyncio.run(scenario())
    assert answered == ["b", "b"]


def test_explain_says_that_an_instance_stays() -> None:
    for policy, barred in (({"stay": Stay.INSTANCE}, False), ({"never_mix": True}, True)):
        instances = Instances(**policy)
        instances.down = {"a"}
        box = instances.process()
        assert ask(box, TASK) == "b"
        first, *others = asyncio.run(explain(box.world, Request(messages=STEP), ONE))
        assert (first.model, first.serves, "the instance stays with it" in first.why) == ("b", True, True)
        assert ["has answered this instance" in other.why for other in others] == [barred, barred]


# ---------------------------------------------------------------------------------------------- processes on one ledger


@contextlib.contextmanager
def two_models(folder: Path, policies: str) -> Iterator[tuple[Path, LoopbackProvider, LoopbackProvider, set[str]]]:
    """A registry with the chain [a, b], each at a provider of its own, and the names of those that are down."""
    down: set[str] = set()

    def behave(name: str, seen: Seen) -> tuple[int, dict[str, str]]:
        return (503, {}) if name in down or f"{name}:{seen.who}" in down else (200, {})

    with LoopbackProvider(lambda seen: behave("a", seen)) as a, LoopbackProvider(lambda seen: behave("b", seen)) as b:
        path = registry_file(folder, a, policies=f", retries_per_model: 0, breaker_failures: 1000, max_wait_s: 1{policies}")
        text = path.read_text().replace("fallback_chain: [a]", "fallback_chain: [a, b]")
        line = next(line for line in text.splitlines() if line.startswith("    a:"))
        path.write_text(text.replace(line, line + "\n" + line.replace("a:", "b:", 1).replace(a.base_url, b.base_url)))
        yield path, a, b, down


def client_of(path: Path, ledger: str, state: Path) -> Client:
    return Client(path, ledger=ledger, state_dir=state, run="r", environ={})


def test_sixty_four_instances_of_two_processes_are_each_answered_by_one_model(tmp_path: Path, shared_ledger: str) -> None:
    """Model `a` refuses every second instance's first call, and later a call of every third one: none is mixed."""
    with two_models(tmp_path, ", never_mix: true") as (path, _, _, down):
        down.update(f"a:task-{number}-0" for number in range(0, 64, 2))
        down.update(f"a:task-{number}-2" for number in range(0, 64, 3))
        models: dict[int, list[str]] = {}
        with client_of(path, shared_ledger, tmp_path / "1") as one, client_of(path, shared_ledger, tmp_path / "2") as two:

            def run(number: int) -> None:
                models[number] = []
                for step in range(4):
                    client = (one, two)[(number + step) % 2]
                    try:
                        with client.scope(instance=f"task-{number}"):
                            reply = client.complete(list(STEP if step else TASK), user=f"task-{number}-{step}")
                    except MixRefused as error:
                        models[number].append(type(error).__name__)
                        return
                    models[number].append(reply.model)

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(run, range(64)))

    def expected(number: int) -> list[str]:
        if number % 2 == 0:
            return ["b"] * 4
        return ["a", "a", "MixRefused"] if number % 3 == 0 else ["a"] * 4

    assert models == {number: expected(number) for number in range(64)}


WORKER = """
import sys
from paymaster import Client
registry, ledger, state = sys.argv[1:]
client = Client(registry, ledger=ledger, state_dir=state, run="r", environ={})
task = [{"role": "user", "content": "Fix the parser."}]
with client.scope(instance="killed"):
    for messages in (task, [*task, {"role": "assistant", "content": "ls"}, {"role": "user", "content": "parser.py"}]):
        client.complete(messages)
"""


@pytest.mark.parametrize("policy", ["never_mix: true", "stay: instance"])
def test_what_a_killed_process_began_is_followed_by_the_next_one(tmp_path: Path, shared_ledger: str, policy: str) -> None:
    """Killed in its second call: the first one's answer counts, and the open hold is in nobody's way."""
    asked, free = threading.Event(), threading.Event()
    with two_models(tmp_path, f", {policy}") as (path, a, b, down):
        down.add("a")
        original = b.behave

        def behave(seen: Seen) -> tuple[int, dict[str, str]]:
            if len(b.seen) == 2:
                asked.set()
                free.wait(60)
            return original(seen)

        b.behave = behave
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
        command = [sys.executable, "-c", WORKER, str(path), shared_ledger, str(tmp_path / "killed")]
        with subprocess.Popen(command, env=environment) as worker:
            try:
                assert asked.wait(60)
            finally:
                worker.kill()
        free.set()
        down.clear()
        with client_of(path, shared_ledger, tmp_path / "next") as client, client.scope(instance="killed"):
            assert client.complete(list(STEP)).model == "b"
        assert len(a.answered(200)) == 0
