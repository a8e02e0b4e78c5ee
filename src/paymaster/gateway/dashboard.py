"""The dashboard's addresses: who may look, what is read for it, and how often; knows HTTP and the books, and no markup."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from paymaster.errors import LedgerUnavailable
from paymaster.gateway.dashboard_auth import ASK, viewer_of
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.service import Service
from paymaster.pages.dashboard import RANGES_MS, USUAL_RANGE, Dashboard, dashboard, seen_by
from paymaster.pages.rendering import Pages, asset
from paymaster.telemetry.jsonlines import default_path
from paymaster.views.journal_tail import JournalTail
from paymaster.views.ledger_status import ledger_status
from paymaster.views.recent_calls import RecentCalls, read_call_notes
from paymaster.views.spending import KEYS, Spending
from paymaster.views.words import duration

_FRESH_MS = 1_000
"""Many who look at once cost the ledger as much as one."""
_LONGEST_MS = max(RANGES_MS.values())
_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_ASSETS = {"style.css": "text/css", "live.js": "text/javascript"}


class Journal:
    """What one user, or everybody, did in the last days; read from the first look on, as a gateway that nobody looks at need not."""

    def __init__(self, service: Service, user: str | None) -> None:
        self._service = service
        self._user = user
        books = service.active.world.books
        self._runtime = service.active.world.runtime
        self._spending, self._recent_calls = Spending(only_user=user), RecentCalls(only_user=user)
        self._journal_tail = JournalTail(books, (self._spending, self._recent_calls), self._runtime.now_ms() - _LONGEST_MS)
        self._turn = asyncio.Lock()
        self._views: dict[str, tuple[int, Dashboard]] = {}

    async def view(self, range_name: str) -> Dashboard:
        """The dashboard of this instant, or of a second ago. Raises LedgerUnavailable."""
        async with self._turn:
            now_ms = self._runtime.now_ms()
            made_ms, made = self._views.get(range_name, (-_FRESH_MS, None))
            if made is not None and 0 <= now_ms - made_ms < _FRESH_MS:
                return made
            world, options = self._service.active.world, self._service.active.resources.options
            await self._journal_tail.catch_up(partial(asyncio.sleep, 0))
            balances, queue = await world.books.balances("", now_ms), await world.books.waiting(now_ms)
            told = await asyncio.to_thread(read_call_notes, [options.events or default_path(options.state_dir, options.scope.run)])
            lines = [self._spending.timeline(key, now_ms - RANGES_MS[range_name], now_ms + 1) for key in KEYS]
            now = seen_by(ledger_status(balances, world.registry, queue=queue), self._user)
            made = dashboard(now, world.registry, lines, self._recent_calls.calls(told), now_ms, range_name)
            self._views[range_name] = now_ms, made
            return made


class DashboardPages:
    """The dashboard of one gateway."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._journals: dict[str | None, Journal] = {}
        self._pages = Pages(duration=duration, clock=_clock, iso=_iso, ranges=tuple(RANGES_MS))

    def routes(self) -> list[BaseRoute]:
        """`/` and what the page asks for."""
        return [
            Route("/", self._guarded(self._page), methods=["GET"]),
            Route("/dashboard/live", self._guarded(self._live), methods=["GET"]),
            *(Route(f"/dashboard/{name}", _file(name, kind), methods=["GET"]) for name, kind in _ASSETS.items()),
        ]

    def _guarded(self, show: Callable[[Request, str | None], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Only for those who may look; a browser is told how to ask for a key."""

        async def endpoint(request: Request) -> Response:
            try:
                viewer = viewer_of(self._service, request.scope)
            except Rejected as error:
                ask = {"www-authenticate": ASK} if error.refusal.status == 401 else {}
                return Response(f"{error.refusal.text}\n", error.refusal.status, {**_HEADERS, **ask}, "text/plain")
            try:
                return await show(request, viewer.user)
            except LedgerUnavailable as error:
                return Response(f"{error}\n", error.http_status, _HEADERS, "text/plain")

        return endpoint

    async def _page(self, request: Request, user: str | None) -> Response:
        view = await self._view(request, user)
        whose = "Every call and every budget" if user is None else f"The calls and budgets of {user}"
        text = await asyncio.to_thread(self._pages.render, "dashboard.html", view=view, said=whose)
        return Response(text, headers=_HEADERS, media_type="text/html")

    async def _live(self, request: Request, user: str | None) -> Response:
        view = await self._view(request, user)
        # Charts take tens of milliseconds to draw: calls under way are not to wait for them.
        text = await asyncio.to_thread(self._pages.render, "live.html", view=view)
        return Response(text, headers={**_HEADERS, "x-paymaster-clock": _clock(view.now_ms)}, media_type="text/html")

    async def _view(self, request: Request, user: str | None) -> Dashboard:
        wanted = request.query_params.get("range", USUAL_RANGE)
        journal = self._journals.get(user)
        if journal is None:
            journal = self._journals[user] = Journal(self._service, user)
        return await journal.view(wanted if wanted in RANGES_MS else USUAL_RANGE)


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    """A file of the page; it tells nothing that a key would have to guard."""
    text = asset(name)

    async def endpoint(_: Request) -> Response:
        return Response(text, headers=_HEADERS, media_type=kind)

    return endpoint


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
