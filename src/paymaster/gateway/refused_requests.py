"""Which requests for a model a gateway refused, and why the last one; knows no dialect beyond the place of an error's message."""

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NO_KEY = 401
_PASSES = frozenset({402, 408, 429})
"""What ends by itself, or is reported elsewhere: a budget, a slow request, a limit."""


class RefusedRequests:
    """Wraps an application: counts the requests (POST) that it answers with an error, and keeps the last message.

    Those with another key are not among them. `wrong` counts those that would be refused again; `last_wrong` has why the last
    of them was.
    """

    def __init__(self) -> None:
        self.count = self.wrong = 0
        self.last = self.last_wrong = ""

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            status = 0

            async def watch(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                elif status >= 400 and status != _NO_KEY:
                    self.count += 1
                    self.last = json.loads(message["body"])["error"]["message"]
                    if status < 500 and status not in _PASSES:
                        self.wrong += 1
                        self.last_wrong = self.last
                await send(message)

            await app(scope, receive, watch if scope.get("method") == "POST" else send)

        return watched
