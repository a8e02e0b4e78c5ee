"""Conversations over several endpoints keep the caches that one endpoint would have, whatever dies in between."""

import asyncio
from decimal import Decimal

from call_box import Box, answer, failure, registry, spread
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.usage.record import Usage
from paymaster.flow.events import Admitted
from paymaster.flow.explaining import explain
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.registry.models import Affinity, Balancing
from paymaster.routing.failures import Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime

NAMES = tuple("abcdefgh")
CONVERSATIONS, TURNS = 16, 15
FIRST_TOKENS, TOKENS_A_TURN = 5_000, 1_000
RATES = Rates(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.3"))
PRICE = Price.from_registry(RATES, writes_cache_unasked=False)


def turn(conversation: int, number: int) -> Request:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "You fix bugs."},
        {"role": "user", "content": f"Bug {conversation}."},
    ]
    for step in range(number):
        messages += [{"role": "assistant", "content": f"step {step}"}, {"role": "user", "content": "output"}]
    return Request(messages=messages)


class Endpoints:
    """Endpoints with a cache each, and two processes that call them in turns."""

    def __init__(self, *names: str, affinity: Affinity = Affinity.CONVERSATION) -> None:
        self.cached: dict[tuple[str, int], int] = {}
        self.read_tokens = self.all_tokens = 0
        self.down: set[str] = set()
        self.conversation = self.turn = 0
        runtime, books = ManualRuntime(), MemoryLedger()
        model = spread("m", *names, affinity=affinity, price=PRICE, balance=Balancing.WEIGHTED)
        self.boxes = [Box(registry(model), {"m": [self._answer]}, runtime=runtime, books=books) for _ in range(2)]

    def _answer(self, call: ProviderCall) -> ProviderReply | Failure:
        if call.model.endpoint in self.down:
            return failure(FailureKind.OVERLOADED, status=503)
        where, prompt = (call.model.endpoint, self.conversation), FIRST_TOKENS + TOKENS_A_TURN * self.turn
        read = min(prompt, self.cached.get(where, 0))
        self.cached[where] = prompt
        self.read_tokens += read
        self.all_tokens += prompt
        return answer(usage=Usage(input_tokens=prompt - read, cache_read_tokens=read, output_tokens=10))

    def ask(self, conversation: int, number: int) -> str:
        """The endpoint that answered; the two processes take turns."""
        self.conversation, self.turn = conversation, number
        box = self.boxes[(conversation + number) % 2]
        asyncio.run(box.runtime.sleep(100))
        return box.ask(turn(conversation, number)).endpoint or ""

    def run(self, every_minute: bool = False) -> float:
        """All turns of all conversations, a turn of each every 10 s; the share of the prompt tokens that caches had."""
        for number in range(TURNS):
            if every_minute and number % 6 == 0:
                self.down = {NAMES[number // 6 % len(NAMES)]}
            for conversation in range(CONVERSATIONS):
                self.ask(conversation, number)
            asyncio.run(self.boxes[0].runtime.sleep(4_000))
        return self.read_tokens / self.all_tokens


def test_caches_over_eight_endpoints_are_hit_as_those_of_one() -> None:
    best, kept = Endpoints("a").run(), Endpoints(*NAMES).run()
    blind = Endpoints(*NAMES, affinity=Affinity.NONE).run()
    assert kept >= 0.95 * best
    assert blind < 0.8 * best


def test_while_endpoints_die_and_return_most_caches_are_hit() -> None:
    assert Endpoints(*NAMES).run(every_minute=True) >= 0.8 * Endpoints("a").run()


def test_a_conversation_that_had_to_leave_stays_where_it_went() -> None:
    endpoints = Endpoints("a", "b")
    home = endpoints.ask(1, 0)
    endpoints.down = {home}
    other = endpoints.ask(1, 1)
    assert other != home
    endpoints.down = set()
    asyncio.run(endpoints.boxes[0].runtime.sleep(2_000))  # so long a process takes for true what it read
    assert [endpoints.ask(1, number) for number in range(2, 6)] == [other] * 4


def test_events_and_explain_say_why() -> None:
    endpoints = Endpoints("a", "b")
    home = endpoints.ask(1, 0)
    endpoints.ask(1, 1)
    chosen = [event.chosen for box in endpoints.boxes for event in box.events if isinstance(event, Admitted)]
    assert f"kept at {home}: 5,000 tokens are cached there" in chosen
    box = endpoints.boxes[0]
    first, *_ = asyncio.run(explain(box.world, turn(1, 2), box.scope))
    assert (first.endpoint, "tokens are cached there" in first.chosen) == (home, True)
