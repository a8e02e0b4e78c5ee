"""How much a provider may bill for what a request makes it do by itself, or what would bound it. Pure; knows no wire format of a tool.

A use costs its fee. After it the model reads everything once more, with the results, unless they came with the prompt; a pass reads no more
than the model takes. Another model that is asked reads the same, at its own price.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from paymaster.accounting.decimals import multiplied
from paymaster.accounting.money import usd_to_nanousd
from paymaster.accounting.prices.price import Price, RequestTerms, worst_case_nanousd
from paymaster.registry.models import Model, ServerTool
from paymaster.routing.server_tools import Fee, Task

ASSUMED_USES = 10
"""What a soft budget holds where nothing bounds the uses: it refuses nothing."""

DESCRIPTION_TOKENS = 4_096
"""A provider describes each of its tools to the model in words of its own, which are billed as input and which no request shows."""

PricesOf: TypeAlias = Callable[[Model], Sequence[Price]]
_NOTHING_STATED = ServerTool()
_MAY_WRITE_CACHE = RequestTerms(caching_possible=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """A model that may answer instead, by the request's own list: a price that it may have, and the prompt in its tokens."""

    model_id: str
    price: Price
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a provider may bill beside one pass of the model.

    `reads_tokens` is the input beyond the prompt, over all passes, `others_tokens` what other models read and write that are asked, and
    what summaries have, and `web_searches` the searches at the price's own rate;
    `fixed_nanousd` is everything else: fees, summaries, other models that are asked. `uncounted_nanousd` are the fees of which no usage
    says how often they were due, `uncounted_searches` whether searches are among them. `others` may answer instead of the model.
    `lowered_by` names the fields and keys that would lower the hold.
    """

    reads_tokens: int = 0
    others_tokens: int = 0
    web_searches: int = 0
    fixed_nanousd: int = 0
    uncounted_nanousd: int = 0
    uncounted_searches: bool = False
    others: tuple[OtherModel, ...] = ()
    lowered_by: tuple[str, ...] = ()


NO_WORK = Work()

UNPRICED = Price.free("unpriced")
"""Stands for the price of a model without one, of which tokens alone are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What bounds the work of one request: the model and its price, the prompt, the largest output of all choices, the moment, the terms.

    `resolve` finds the registry's model by a name in the request, `prices_of` has the prices that it may have when the request is sent, and
    `prompt_of` counts the prompt for it. One pass reads at most `window_tokens` (None: unknown). With `hard`, what nothing bounds is
    refused. `counts_tokens`: a budget counts the tokens, so that those of a free model are bounded, too.
    """

    model: Model
    price: Price
    prompt_tokens: int
    output_tokens: int
    choices: int
    at: datetime | None
    terms: RequestTerms
    hard: bool
    counts_tokens: bool
    prices_of: PricesOf
    resolve: Callable[[str], Model | None]
    prompt_of: Callable[[Model], int]
    window_tokens: int | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing is billed in dollars: a router bills searches and other models beside a free one."""
        return self.price.is_free and not self.model.takes_max_price


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounded:
    """A task with its bounds: the uses, the tokens and the fee of each, and the cost of a model that is asked; `missing` has none."""

    task: Task
    uses: int
    tokens: int
    usd_per_use: Decimal = Decimal(0)
    by_price: bool = False
    asked: Model | None = None
    missing: tuple[str, ...] = ()


def dearest(prices: Sequence[Price], at: datetime | None) -> Price:
    """The dearest of the prices that may apply: they are one list price times the factors of places and times."""
    return prices[0] if len(prices) == 1 else max(prices, key=lambda price: worst_case_nanousd(price, 100_000, 10_000, at=at))


def bound_work(tasks: Sequence[Task], setting: Setting) -> tuple[Work, tuple[str, ...]]:
    """The work, and a sentence for each task that nothing bounds, with what would bound it; none under a soft budget."""
    used = [_bounded(task, setting) for task in tasks if not task.summarises]
    passes = sum(each.uses for each in used if not each.task.before)
    described = len(used) * DESCRIPTION_TOKENS
    longest = _at_most(setting.prompt_tokens + described + sum(each.uses * each.tokens for each in used) + setting.output_tokens, setting)
    summaries = [_bounded_summary(task, setting, passes, longest) for task in tasks if task.summarises]
    first = _at_most(setting.prompt_tokens + described + sum(each.uses * each.tokens for each in used if each.task.before), setting)
    again = _passes_tokens(used, first + setting.output_tokens, setting) + sum(each.uses for each in summaries) * longest
    fees_nanousd = sum(usd_to_nanousd(multiplied(each.usd_per_use, Decimal(each.uses))) for each in used)
    asked_nanousd, asked_tokens = _asked(used, longest, setting)
    work = Work(
        others_tokens=(asked_tokens + sum(each.uses * each.tokens for each in summaries)) * setting.choices,
        reads_tokens=first - setting.prompt_tokens + again * setting.choices,
        web_searches=sum(each.uses for each in used if each.by_price) * setting.choices,
        fixed_nanousd=(fees_nanousd + asked_nanousd + _written_nanousd(summaries, setting)) * setting.choices,
        uncounted_nanousd=fees_nanousd * setting.choices,
        uncounted_searches=any(each.by_price and not each.task.counted for each in used),
        lowered_by=tuple(dict.fromkeys(name for each in used for name in _lowering(each, setting))),
    )
    return work, tuple(_sentence(each, setting) for each in (*used, *summaries) if each.missing) if setting.hard else ()


def _bounded(task: Task, setting: Setting) -> _Bounded:
    """The bounds of a task: the request's own, else the registry's, else the model's window for what one use may add."""
    tool, missing = setting.model.server_tools.get(task.key, _NOTHING_STATED), list[str]()
    uses = tool.max_uses if task.uses is None else task.uses
    if uses is None:
        missing.append("max_uses")
    asked = setting.resolve(task.asks) if task.asks is not None and tool.usd_per_use is None else None
    written = task.asks_tokens or (None if asked is None else asked.max_output_tokens)
    tokens = next((each for each in (tool.tokens_per_use, task.tokens_per_use, written) if each is not None), None)
    if tokens is None:
        tokens = (setting.window_tokens if setting.hard else None) or 0
        if setting.window_tokens is None:
            missing.append("tokens_per_use")
    by_price = task.fee is Fee.SEARCH and (tool.usd_per_use is not None or _search_rate(setting.price) > 0 or not setting.hard)
    usd = tool.usd_per_use if tool.usd_per_use is not None else Decimal(0) if task.fee is Fee.NONE else task.usd_per_use
    is_priced = asked is not None and (setting.is_free or bool(setting.prices_of(asked)))
    if task.asks is not None and tool.usd_per_use is None and (not is_priced or written is None):
        missing.append("max_tokens" if is_priced else "model")
    if usd is None and not by_price and not setting.is_free:
        missing.append("usd_per_use")
    return _Bounded(
        task=task,
        uses=ASSUMED_USES if uses is None else uses,
        tokens=tokens,
        usd_per_use=Decimal(0) if by_price or usd is None else usd,
        by_price=by_price,
        asked=asked,
        missing=tuple(missing),
    )


def _bounded_summary(task: Task, setting: Setting, passes: int, longest: int) -> _Bounded:
    """A compaction may happen before every pass that is long enough; the output limit does not bound its summary."""
    if longest < task.from_tokens:
        return _Bounded(task=task, uses=0, tokens=0)
    tool = setting.model.server_tools.get(task.key, _NOTHING_STATED)
    tokens = tool.tokens_per_use or setting.model.max_output_tokens
    missing = ("tokens_per_use",) if tokens is None else ()
    return _Bounded(task=task, uses=tool.max_uses or 1 + passes, tokens=tokens or 0, missing=missing)


def _search_rate(price: Price) -> Decimal:
    return min(tier.rates.web_search for tier in price.table.tiers)


def _at_most(tokens: int, setting: Setting) -> int:
    """What a pass reads of these tokens; the prompt itself is always read."""
    return tokens if setting.window_tokens is None else max(setting.prompt_tokens, min(tokens, setting.window_tokens))


def _passes_tokens(used: Sequence[_Bounded], start: int, setting: Setting) -> int:
    """The input of the passes after uses: each reads what was there, and the results so far. The largest results come first."""
    read = 0
    for each in sorted((each for each in used if not each.task.before), key=lambda each: -each.tokens):
        growing = each.uses
        if setting.window_tokens is not None and each.tokens:
            growing = max(0, min(each.uses, (setting.window_tokens - start) // each.tokens))
        read += growing * start + each.tokens * growing * (growing + 1) // 2
        start += growing * each.tokens
        read += (each.uses - growing) * _at_most(start + each.tokens, setting)
    return read


def _asked(used: Sequence[_Bounded], longest: int, setting: Setting) -> tuple[int, int]:
    """The most that the models that are asked cost, and the most tokens that they read and write."""
    nanousd = tokens = 0
    for each in used:
        if each.asked is None:
            continue
        window = each.asked.max_input_tokens or each.asked.context_window
        reads = max(longest - setting.prompt_tokens, 0) + setting.prompt_of(each.asked)
        written = each.task.asks_tokens or each.asked.max_output_tokens or 0
        each_reads = reads if window is None else min(reads, window)
        tokens += each.uses * (each_reads + written)
        if not (prices := setting.prices_of(each.asked)):
            continue
        price = dearest(prices, setting.at)
        nanousd += worst_case_nanousd(price, each.uses * each_reads, each.uses * written, at=setting.at, terms=_MAY_WRITE_CACHE)
    return nanousd, tokens


def _written_nanousd(summaries: Sequence[_Bounded], setting: Setting) -> int:
    """The most that the summaries cost; what is read for them counts with the other passes."""
    written = sum(each.uses * each.tokens for each in summaries)
    if not written:
        return 0
    with_output, without = (
        worst_case_nanousd(setting.price, setting.window_tokens or setting.prompt_tokens, tokens, at=setting.at, terms=setting.terms)
        for tokens in (written, 0)
    )
    return with_output - without


def _lowering(each: _Bounded, setting: Setting) -> tuple[str, ...]:
    tool = setting.model.server_tools.get(each.task.key, _NOTHING_STATED)
    field = (f"{each.task.uses_field} of {each.task.where}",) if each.task.uses_field else ()
    return (*field, *(() if tool.tokens_per_use else (f"server_tools.{each.task.key}.tokens_per_use",)))


def _sentence(each: _Bounded, setting: Setting) -> str:
    """Why a task has no bound, and the field or key that would bound it."""
    task, name, keys = each.task, setting.model.name, [key for key in each.missing if key not in ("model", "max_tokens")]
    fixes = [f"{task.uses_field} in the request"] if "max_uses" in each.missing and task.uses_field else []
    if "max_tokens" in each.missing:
        fixes.append("max_tokens of the tool in the request")
    if "model" in each.missing:
        fixes.append(f"the model {task.asks!r} with its price to the registry")
    if keys:
        inner = ", ".join(f"{key}: …" for key in keys)
        fixes.append(f"under {name} in the registry `server_tools: {{{task.key}: {{{inner}}}}}`")
    return f"{task.where} runs at the provider, and nothing bounds what it may cost; add {', or '.join(fixes)}"
