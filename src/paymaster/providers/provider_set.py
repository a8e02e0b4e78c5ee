"""Chooses the adapter of a model: one of each kind, made on first use; knows the adapters and nothing about their requests."""

import asyncio
import threading
from typing import TYPE_CHECKING

from paymaster.flow.ports import Provider, Runtime
from paymaster.forks import renew_in_children
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.scripted.transport import EngineCache, scripted_provider
from paymaster.registry.models import Model
from paymaster.registry.provider_facts import LITELLM

if TYPE_CHECKING:
    from paymaster.providers.litellm_import import Litellm


class ProviderSet:
    """The adapters of one client, for a caller on an event loop or for any number of blocking threads (`blocking`).

    `own` maps names of models to providers of the caller's own, which replace the adapters.
    """

    def __init__(self, runtime: Runtime, *, blocking: bool, own: dict[str, Provider] | None = None) -> None:
        self._runtime = runtime
        self._blocking = blocking
        self._own = dict(own or {})
        self._engines = EngineCache(runtime)
        self._opened: dict[str, Provider] = {}
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the lock, and nobody imports anything."""
        self._lock = threading.Lock()
        self._import: asyncio.Future[Litellm] | None = None
        self._litellm: Litellm | None = None

    async def prepare(self, model: Model) -> None:
        """Import what the adapter of `model` needs, in a thread where a loop would be stopped by it. Raises ExtraMissing.

        A blocking caller imports it in `provider_for`.
        """
        if self._blocking or self._litellm is not None or model.adapter != LITELLM or model.name in self._own:
            return
        from paymaster.providers.litellm_import import import_beside_a_loop

        loop = asyncio.get_running_loop()
        if self._import is None or self._import.get_loop() is not loop or (self._import.done() and self._import.exception() is not None):
            self._import = loop.run_in_executor(None, import_beside_a_loop)
        # A call that is cancelled leaves the import to the others.
        self._litellm = await asyncio.shield(self._import)

    def provider_for(self, model: Model) -> Provider:
        """The provider for `model`. Raises ExtraMissing if it needs litellm and that is missing, ScriptInvalid for an invalid script."""
        if model.name in self._own:
            return self._own[model.name]
        key = f"{model.adapter}:{model.script}" if model.script else model.adapter
        with self._lock:
            if key not in self._opened:
                self._opened[key] = self._open(model)
            return self._opened[key]

    async def close(self) -> None:
        """Close all connections. A later call opens its provider again."""
        with self._lock:
            opened, self._opened = self._opened, {}
        for provider in (*opened.values(), *self._own.values()):
            await provider.close()

    def _open(self, model: Model) -> Provider:
        match model.adapter:
            case "scripted":
                return scripted_provider(self._engines.open(model.script or ""), self._runtime)
            case "litellm":
                from paymaster.providers.litellm_adapter import LitellmProvider
                from paymaster.providers.litellm_import import import_litellm

                return LitellmProvider(self._litellm or import_litellm(), blocking=self._blocking, now_ms=self._runtime.now_ms)
            case _:
                return self._open_http()

    def _open_http(self) -> Provider:
        if self._blocking:
            from paymaster.providers.sync_transport import SyncTransport

            return OpenAIHttp(SyncTransport(), now_ms=self._runtime.now_ms)
        from paymaster.providers.async_transport import AsyncTransport

        return OpenAIHttp(AsyncTransport(), now_ms=self._runtime.now_ms)
