"""The clients that an agent's many model objects share, one for each registry and settings; knows no agent."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.agents.call_endings import Tally
from paymaster.client import Client
from paymaster.options import registry_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paymaster.agents.batch_client import AgentClient
    from paymaster.flow.events import Event
    from paymaster.options import ClientSettings
    from paymaster.registry.models import Registry
    from paymaster.registry.yamltext import Document

_LOGGER = logging.getLogger("paymaster.agents")


class ClientCache:
    """Opens each client once per process, and gives it what only a launcher knows.

    `flags` are the launcher's command line, which wins over an agent's own config. `listeners` get every event of every client. `embedded`
    are registries inside other config files, by the absolute path of the file. `make` opens a client; a batch has a class of its own.
    """

    def __init__(self) -> None:
        self._reset()
        self._tally: ContextVar[Tally | None] = ContextVar("paymaster_tally", default=None)
        self._lock = threading.Lock()
        self._open: dict[tuple[str | None, tuple[tuple[str, object], ...]], AgentClient] = {}

    def client(self, registry: str | None, settings: "ClientSettings") -> "AgentClient":
        """The client for these settings; any thread may call this. Raises RegistryInvalid, UsageMistake."""
        path = None if registry is None else absolute(registry)
        key = path, tuple(sorted((name, value) for name, value in settings.items() if value is not None))
        with self._lock:
            if key not in self._open:
                loaded = registry_for(self.embedded.get(path or "", path), settings)
                for warning in loaded.warnings:
                    _LOGGER.warning("%s", warning)
                options: ClientSettings = {**settings, "listeners": (*self.listeners, self._on_event)}
                self._open[key] = self.make(with_long_waits(loaded), **options)
            return self._open[key]

    @contextmanager
    def count_costs(self) -> Iterator["Tally"]:
        """Count the cost of this thread's calls inside the block, failed calls included."""
        tally = Tally()
        token = self._tally.set(tally)
        try:
            yield tally
        finally:
            self._tally.reset(token)

    def close(self) -> None:
        """Close every client and drop what a launcher set."""
        with self._lock:
            clients, self._open = list(self._open.values()), {}
            self._reset()
        for client in clients:
            client.close()

    def _on_event(self, event: "Event") -> None:
        """Every event is emitted with the context variables of its call."""
        if (tally := self._tally.get()) is not None:
            tally.record(event)

    def _reset(self) -> None:
        self.flags: Mapping[str, str] = {}
        self.listeners: tuple[Callable[[Event], None], ...] = ()
        self.embedded: Mapping[str, Document] = {}
        self.make: Callable[..., AgentClient] = Client


def absolute(path: str | Path) -> str:
    """A path that names the same file in any working directory."""
    return str(Path(path).expanduser().absolute())


def with_long_waits(registry: "Registry") -> "Registry":
    """The registry with `max_wait_s` raised to the deadline, unless it is set: losing an agent's run costs more than waiting."""
    policy = registry.policy
    if "max_wait_s" in registry.origins:
        return registry
    return replace(registry, policy=replace(policy, max_wait_ms=max(policy.max_wait_ms, policy.deadline_ms)))


# The only module state of this room: agents make a model object per task, in any thread, and these have only this module in common.
CLIENTS = ClientCache()
