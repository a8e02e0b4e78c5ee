"""The dashboard's routes: who may see it, what is read for it, and how often; knows HTTP and the ledger, and no markup."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from paymaster.errors import LedgerUnavailable
from paymaster.gateway.dashboard_auth import BASIC_CHALLENGE, reader_of
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.service import Service
from paymaster.gateway.status_readings import StatusReadings
from paymaster.pages.dashboard import DEFAULT_RANGE, RANGES_MS, Dashboard, dashboard
from paymaster.pages.rendering import Pages, asset
from paymaster.telemetry.jsonlines import default_path
from paymaster.views.journal_tail import JournalTail
from paymaster.views.recent_calls import RecentCalls, read_call_notes
from paymaster.views.spending import CHARTED, Spending
from paymaster.views.visibility import Reader
from paymaster.views.words import duration

_CACHE_MS = 1_000
"""Many viewers at once cost the ledger as much as one."""
_LOOK_BACK_MS = max(RANGES_MS.values())
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


class DashboardData:
    """The recent calls and spending of one user, or of all; read from the first request on, because many gateways have no viewer."""

    def __init__(self, service: Service, readings: StatusReadings, user: str | None) -> None:
        self._service = service
        self._readings = readings
        books = service.active.world.books
        self._runtime = service.active.world.runtime
        self._spending, self._recent_calls = Spending(only_user=user), RecentCalls(only_user=user)
        self._journal_tail = JournalTail(books, (self._spending, self._recent_calls), self._runtime.now_ms() - _LOOK_BACK_MS)
        self._lock = asyncio.Lock()
        self._views: dict[tuple[str, Reader], tuple[int, Dashboard]] = {}

    async def view(self, range_name: str, reader: Reader) -> Dashboard:
        """The dashboard of this instant, or one that was made at most a second ago. `reader` is this user, with one of the user's keys.

        Raises LedgerUnavailable.
        """
        async with self._lock:
            now_ms = self._runtime.now_ms()
            self._views = {shown: known for shown, known in self._views.items() if 0 <= now_ms - known[0] < _CACHE_MS}
            if (known := self._views.get((range_name, reader))) is not None:
                return known[1]
            world, options = self._service.active.world, self._service.active.resources.options
            await self._journal_tail.catch_up(partial(asyncio.sleep, 0))
            notes = await asyncio.to_thread(read_call_notes, [options.events or default_path(options.state_dir, options.scope.run)])
            read = await self._readings.status(reader)
            now_ms = max(now_ms, read.at_ms)  # what was due when it was read is due on the page
            timelines = [self._spending.timeline(by, now_ms - RANGES_MS[range_name], now_ms + 1) for by in CHARTED]
            view = dashboard(reader, read.status, world.registry, timelines, self._recent_calls.calls(notes), now_ms, range_name)
            self._views[range_name, reader] = self._runtime.now_ms(), view
            return view


class DashboardPages:
    """The dashboard of one gateway."""

    def __init__(self, service: Service, readings: StatusReadings) -> None:
        self._service = service
        self._readings = readings
        self._data: dict[str | None, DashboardData] = {}
        self._drawing = asyncio.Lock()
        self._drawn: tuple[Dashboard, str] | None = None
        self._pages = Pages(duration=duration, clock=_clock, iso=_iso, ranges=tuple(RANGES_MS))

    def routes(self) -> list[BaseRoute]:
        """`/` and what the page loads."""
        return [
            Route("/", self._guarded(self._page), methods=["GET"]),
            Route("/dashboard/live", self._guarded(self._live), methods=["GET"]),
            *(Route(f"/dashboard/{name}", _file(name, media_type), methods=["GET"]) for name, media_type in _ASSETS.items()),
        ]

    def _guarded(self, show: Callable[[Request, Reader], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Check the viewer's key first; a browser without one gets a password prompt."""

        async def endpoint(request: Request) -> Response:
            try:
                reader = reader_of(self._service, request.scope)
            except Rejected as rejected:
                error = rejected.error
                challenge = {"www-authenticate": BASIC_CHALLENGE} if error.status == 401 else {}
                return Response(f"{error.text}\n", error.status, {**_HEADERS, **challenge}, "text/plain")
            try:
                return await show(request, reader)
            except LedgerUnavailable as unavailable:
                return Response(f"{unavailable}\n", unavailable.http_status, _HEADERS, "text/plain")

        return endpoint

    async def _page(self, request: Request, reader: Reader) -> Response:
        view = await self._view(request, reader)
        subtitle = "All calls and budgets" if reader.user is None else f"The calls and budgets of {reader.user}"
        async with self._drawing:
            text = await asyncio.to_thread(self._pages.render, "dashboard.html", view=view, subtitle=subtitle)
        return Response(text, headers=_HEADERS, media_type="text/html")

    async def _live(self, request: Request, reader: Reader) -> Response:
        view = await self._view(request, reader)
        text = await self._draw(view)
        return Response(text, headers={**_HEADERS, "x-paymaster-clock": _clock(view.now_ms)}, media_type="text/html")

    async def _draw(self, view: Dashboard) -> str:
        """The live part, drawn once for all who see the same.

        Charts take tens of milliseconds to draw: open calls must not wait for them. Nor for many threads that take turns, so one draws.
        """
        async with self._drawing:
            if self._drawn is None or self._drawn[0] is not view:
                self._drawn = view, await asyncio.to_thread(self._pages.render, "live.html", view=view)
            return self._drawn[1]

    async def _view(self, request: Request, reader: Reader) -> Dashboard:
        range_name = request.query_params.get("range", DEFAULT_RANGE)
        data = self._data.get(reader.user)
        if data is None:
            data = self._data[reader.user] = DashboardData(self._service, self._readings, reader.user)
        return await data.view(range_name if range_name in RANGES_MS else DEFAULT_RANGE, reader)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """A static file of the page; it needs no key."""
    text = asset(name)

    async def endpoint(_: Request) -> Response:
        return Response(text, headers=_HEADERS, media_type=media_type)

    return endpoint


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
