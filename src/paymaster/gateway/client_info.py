"""The routes by which clients ask about models, their key and their user; knows who asks, and no wire format."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from paymaster.accounting.account_names import read_budget
from paymaster.accounting.accounts import Balance
from paymaster.errors import PaymasterError, RequestInvalid
from paymaster.flow.ports import World
from paymaster.gateway.auth import OWN_NAMES, Caller, shown_secret
from paymaster.gateway.dashboard_auth import reader_for
from paymaster.gateway.dialects.fields import dumps
from paymaster.gateway.endpoint import identify
from paymaster.gateway.http_errors import HttpError, Rejected, http_error_of
from paymaster.gateway.litellm_answers import OwnBudget, group_entry, key_info, model_entry, user_info
from paymaster.gateway.request_body import read_headers
from paymaster.gateway.service import Service
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Model
from paymaster.routing.budgets import account_name

_Answer = Callable[[Caller, World, Request], Awaitable[JsonObject]]


def info_routes(service: Service) -> list[BaseRoute]:
    """LiteLLM's paths, which OpenHands, Roo Code, Cline and plugins of other clients read."""

    async def models(_caller: Caller, world: World, request: Request) -> JsonObject:
        return {"data": [model_entry(model) for model in _asked_for(world, request.query_params.get("litellm_model_id"))]}

    async def groups(_caller: Caller, world: World, request: Request) -> JsonObject:
        return {"data": [group_entry(model) for model in _asked_for(world, request.query_params.get("model_group"))]}

    async def key(caller: Caller, world: World, request: Request) -> JsonObject:
        asked = request.query_params.get("key")
        if asked is not None and asked not in (shown_secret(read_headers(request.scope["headers"])), caller.key and caller.key.id):
            raise Rejected(_forbidden("a key shows nothing of another key", "Leave out `key`, or see `paymaster keys list`."))
        info = key_info(caller.key, list(world.registry.models), await _own_budgets(service, caller, world))
        return {"key": info["key_name"], "info": info}

    async def user(caller: Caller, world: World, request: Request) -> JsonObject:
        own = None if caller.key is None else caller.key.user
        if request.query_params.get("user_id", own) != own:
            raise Rejected(_forbidden("a key shows nothing of another user", "Leave out `user_id`."))
        budgets = await _own_budgets(service, caller, world)
        return user_info(caller.key, key_info(caller.key, list(world.registry.models), budgets), budgets)

    answers: Mapping[str, _Answer] = {
        "/v1/model/info": models,
        "/v1/model_group/info": groups,
        "/v1/key/info": key,
        "/v1/user/info": user,
    }
    return [Route(path, _endpoint(service, answer), methods=["GET"]) for path, answer in answers.items()]


def _endpoint(service: Service, answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        caller = identify(service, read_headers(request.scope["headers"]), request.scope.get("client"))
        try:
            found = await answer(caller, service.active.world_for(caller.key), request)
        except PaymasterError as error:
            raise Rejected(http_error_of(error, ())) from error
        return Response(dumps(found), media_type="application/json")

    return endpoint


def _asked_for(world: World, name: str | None) -> list[Model]:
    """All models that the caller may use, or the one that is named. Raises RequestInvalid for another one."""
    known = world.registry.models
    if name is not None and name not in known:
        raise RequestInvalid(f"there is no model {name!r}", advice=f"Models: {', '.join(known)}.")
    return list(known.values()) if name is None else [known[name]]


async def _own_budgets(service: Service, caller: Caller, world: World) -> list[OwnBudget]:
    """The budgets over all models that count nobody else's calls. Raises LedgerUnavailable."""
    now_ms, reader = world.runtime.now_ms(), reader_for(service, caller.key)
    budgets = [budget for budget in world.registry.policy.budgets if not budget.models and "model" not in budget.per]
    accounts = {account_name(budget, "", caller.scope, now_ms): budget for budget in budgets}
    pinned = caller.key is not None and caller.key.pinned  # nobody else calls under this server's run
    own = {
        account: budget
        for account, budget in accounts.items()
        if (name := read_budget(account)) is not None and (reader.owns(name) or (pinned and not OWN_NAMES.isdisjoint(name.of)))
    }
    balances = await world.books.balances_of(list(own), now_ms)
    states = ((budget, balances.get(account, Balance())) for account, budget in own.items())
    return [OwnBudget(budget, balance.settled + balance.live, balance.held) for budget, balance in states]


def _forbidden(message: str, advice: str) -> HttpError:
    return HttpError(status=403, code="forbidden", message=message, advice=advice)
