"""The clients that an agent's many model objects share, one for each registry and settings; knows no agent."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.client import Client
from paymaster.flow.events import AttemptFailed, AttemptSettled
from paymaster.options import registry_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paymaster.flow.events import Event
    from paymaster.options import Settings
    from paymaster.registry.models import Registry
    from paymaster.registry.yamltext import Document

_LOGGER = logging.getLogger("paymaster.agents")


@dataclass(slots=True)
class Tally:
    """What calls have cost so far, in nano-dollars, and how many attempts were sent."""

    attempts: int = 0
    cost_nanousd: int = 0


class SharedClients:
    """Opens each client once per process.

    What a launcher knows and a model object can't be told: `flags` are its command line, which wins over an agent's own config; `listeners`
    hear every event of every client; `embedded` are registries that stand inside other files, by the absolute path of the file.
    """

    def __init__(self) -> None:
        self._forget()
        self._tally: ContextVar[Tally | None] = ContextVar("paymaster_tally", default=None)
        self._lock = threading.Lock()
        self._open: dict[tuple[str | None, tuple[tuple[str, object], ...]], Client] = {}

    def client(self, registry: str | None, settings: "Settings") -> Client:
        """The client for these settings; any thread may ask. Raises RegistryInvalid, UsageMistake."""
        path = None if registry is None else absolute(registry)
        key = path, tuple(sorted((name, value) for name, value in settings.items() if value is not None))
        with self._lock:
            if key not in self._open:
                loaded = registry_for(self.embedded.get(path or "", path), settings)
                for warning in loaded.warnings:
                    _LOGGER.warning("%s", warning)
                told: Settings = {**settings, "listeners": (*self.listeners, self._hear)}
                self._open[key] = Client(patient(loaded), **told)
            return self._open[key]

    @contextmanager
    def tallied(self) -> Iterator["Tally"]:
        """Count what the calls of this thread cost while the block lasts, also those that raise."""
        tally = Tally()
        token = self._tally.set(tally)
        try:
            yield tally
        finally:
            self._tally.reset(token)

    def close(self) -> None:
        """Close every client and forget what a launcher said."""
        with self._lock:
            clients, self._open = list(self._open.values()), {}
            self._forget()
        for client in clients:
            client.close()

    def _hear(self, event: "Event") -> None:
        """Every event is told in the thread of the call that it belongs to."""
        tally = self._tally.get()
        if tally is not None and isinstance(event, AttemptSettled | AttemptFailed):
            tally.attempts += 1
            tally.cost_nanousd += event.cost_nanousd

    def _forget(self) -> None:
        self.flags: Mapping[str, str] = {}
        self.listeners: tuple[Callable[[Event], None], ...] = ()
        self.embedded: Mapping[str, Document] = {}


def absolute(path: str | Path) -> str:
    """A path by which a registry is known, wherever the process goes."""
    return str(Path(path).expanduser().absolute())


def patient(registry: "Registry") -> "Registry":
    """An agent's run is worth more than its time: where nobody says how long to wait, a call waits for room up to its deadline."""
    policy = registry.policy
    if "max_wait_s" in registry.origins:
        return registry
    return replace(registry, policy=replace(policy, max_wait_ms=max(policy.max_wait_ms, policy.deadline_ms)))


# The one state of this room: an agent makes a model object per task, in any thread, and gives them nothing in common but this module.
SHARED = SharedClients()
