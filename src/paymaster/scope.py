"""The names of a caller, which every call carries into account names, records and events; knows nothing about where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The run of a call, and perhaps its batch, instance (a task of a batch), user, role and free tags.

    `role` distinguishes an agent's calls from its reviewer's or chooser's. `key` is the id of the client key, None without a gateway.
    `own_names` says which of `run`, `batch` and `instance` the user of a client key named: they are this user's own, so that nobody else
    can spend their budgets.
    """

    run: str
    batch: str | None = None
    instance: str | None = None
    user: str | None = None
    role: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    own_names: frozenset[str] = frozenset()
