"""What a request makes its provider do, without tools that nobody forced and no hard budget can bound. Pure; knows no single tool."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from paymaster.accounting.prices.price import Price, RequestTerms
from paymaster.dialects.losses import without_places
from paymaster.dialects.responses.hosted_tools import unforced, without
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Model
from paymaster.routing.request_work import request_work, unbounded_tools
from paymaster.routing.requests import Request
from paymaster.routing.server_work import UNPRICED, PricesOf, Setting, Work, dearest
from paymaster.routing.translation import Translation
from paymaster.routing.wire_bodies import counted_body, planned_params


class WorkSizes(NamedTuple):
    """What is known of a request before its hold: its prices, sizes and terms, and which budgets have to bound it."""

    prices: tuple[Price, ...]
    prompt_tokens: int
    output_tokens: int
    choices: int
    at: datetime | None
    terms: RequestTerms
    hard: bool
    counts_tokens: bool


def work_setting(
    model: Model, sizes: WorkSizes, *, prices_of: PricesOf, resolve: Callable[[str], Model | None], prompt_of: Callable[[Model], int]
) -> Setting:
    """The setting of these sizes."""
    return Setting(
        model=model,
        price=dearest(sizes.prices, sizes.at) if sizes.prices else UNPRICED,
        prompt_tokens=sizes.prompt_tokens,
        output_tokens=sizes.output_tokens * sizes.choices,
        choices=sizes.choices,
        at=sizes.at,
        terms=sizes.terms,
        hard=sizes.hard,
        counts_tokens=sizes.counts_tokens,
        prices_of=prices_of,
        resolve=resolve,
        prompt_of=prompt_of,
    )


def bounded_work(request: Request, translation: Translation, setting: Setting) -> tuple[Translation, Work, tuple[str, ...]]:
    """What is sent, the work that it makes, and why a hard budget can't bound that; see `request_work`.

    A client of OpenAI's responses offers tools that it can do without (Codex always offers a search). Those without a bound are left out.
    """
    work, unbounded = request_work(translation.tools, translation.params, setting)
    source = request.source
    if not unbounded or translation.wire is None or source is None or (source.dialect, setting.model.dialect) != (_OWN, _OWN):
        return translation, work, unbounded
    left_out = unbounded_tools(unforced(translation.wire), setting)
    if not left_out:
        return translation, work, unbounded
    fewer = _without(request, translation, left_out, setting.model)
    return fewer, *request_work(fewer.tools, fewer.params, setting)


_OWN = Dialect.RESPONSES


def _without(request: Request, translation: Translation, left_out: Sequence[JsonObject], model: Model) -> Translation:
    written = without(translation.wire or {}, left_out)
    _, tools = counted_body(_OWN, written.body, request)
    dropped = without_places((*translation.dropped, *written.dropped))
    params = {name: value for name, value in translation.params.items() if name in written.body or name not in (translation.wire or {})}
    return replace(
        translation, wire=written.body, tools=tools, params=planned_params(request, model, params, written.body), dropped=dropped
    )
