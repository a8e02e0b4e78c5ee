"""Every model call is paid for before it is made: a registry of models, budgets that hold, rate limits and fallbacks.

The public names are loaded on first use, so that `import paymaster` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from paymaster.version import __version__

if TYPE_CHECKING:
    from paymaster.client import AsyncClient, AsyncStream, Client, Stream
    from paymaster.errors import (
        ArgumentInvalid,
        BudgetExceeded,
        CallFailed,
        ClientClosed,
        DeadlineExceeded,
        ExtraMissing,
        KeyMissing,
        LedgerReplaced,
        LedgerUnavailable,
        LedgerUnusable,
        LimitReached,
        MixRefused,
        NoModelAvailable,
        NoModelFits,
        PaymasterError,
        PricesNotUpdated,
        RegistryInvalid,
        RequestInvalid,
        RequestRefused,
        StreamBroken,
        UsageMistake,
    )
    from paymaster.flow.explaining import Explanation
    from paymaster.flow.replies import Reply
    from paymaster.scope import Scope, in_scope

__all__ = [
    "ArgumentInvalid",
    "AsyncClient",
    "AsyncStream",
    "BudgetExceeded",
    "CallFailed",
    "Client",
    "ClientClosed",
    "DeadlineExceeded",
    "Explanation",
    "ExtraMissing",
    "KeyMissing",
    "LedgerReplaced",
    "LedgerUnavailable",
    "LedgerUnusable",
    "LimitReached",
    "MixRefused",
    "NoModelAvailable",
    "NoModelFits",
    "PaymasterError",
    "PricesNotUpdated",
    "RegistryInvalid",
    "Reply",
    "RequestInvalid",
    "RequestRefused",
    "Scope",
    "Stream",
    "StreamBroken",
    "UsageMistake",
    "__version__",
    "in_scope",
]

_HOMES = {
    "paymaster.client": ("AsyncClient", "AsyncStream", "Client", "Stream"),
    "paymaster.flow.explaining": ("Explanation",),
    "paymaster.flow.replies": ("Reply",),
    "paymaster.scope": ("Scope", "in_scope"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module. Raises AttributeError for any other name."""
    if name not in __all__:
        msg = f"module 'paymaster' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME_OF.get(name, "paymaster.errors")), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
