"""A Redis server's settings, and which of them break the promise of a hard budget; reads them once, and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import RedisError

from paymaster.ledgers.redis.address import Address
from paymaster.ledgers.redis.connections import Reply, ThreadConnections
from paymaster.ledgers.redis.messages import bytes_of

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A server's settings under its own names; `unknown` if the user may not read one. `replicas` is how many are connected."""

    server: str
    role: str
    replicas: int | None
    maxmemory_policy: str
    appendonly: bool | None
    appendfsync: str
    save: str
    writes: bool

    def shown(self) -> Mapping[str, str]:
        """The settings as text, under the names of the server's documentation."""
        return {
            "server": self.server,
            "role": self.role,
            "replicas": UNKNOWN if self.replicas is None else str(self.replicas),
            "maxmemory-policy": self.maxmemory_policy,
            "appendonly": {True: "yes", False: "no", None: UNKNOWN}[self.appendonly],
            "appendfsync": self.appendfsync,
            "save": self.save or '""',
        }


def ask_settings(info: Reply, connections: ThreadConnections, key: str) -> ServerSettings:
    """The settings of the server that keeps `key`: from its INFO, and what is only in its CONFIG."""
    read = dict(line.split(":", 1) for line in bytes_of(info).decode("utf-8", "replace").splitlines() if ":" in line)
    version = read.get("valkey_version")
    return ServerSettings(
        server=f"Valkey {version}" if version else f"Redis {read.get('redis_version', UNKNOWN)}",
        role={"slave": "replica"}.get(read.get("role", UNKNOWN), read.get("role", UNKNOWN)),
        replicas=int(read["connected_slaves"]) if "connected_slaves" in read else None,
        maxmemory_policy=read.get("maxmemory_policy", UNKNOWN),
        appendonly=read["aof_enabled"] == "1" if "aof_enabled" in read else None,
        appendfsync=_config(connections, key, "appendfsync"),
        save=_config(connections, key, "save"),
        writes=read.get("aof_last_write_status", "ok") == "ok" and read.get("rdb_last_bgsave_status", "ok") == "ok",
    )


def settings_warnings(settings: ServerSettings, address: Address) -> tuple[str, ...]:
    """How this server may forget spending, each with what to do about it."""
    found: list[str] = []
    if settings.role == "replica":
        found.append("this server is a replica: it takes no calls. Name the primary, or a Sentinel (redis+sentinel://…).")
    if settings.maxmemory_policy not in {"noeviction", UNKNOWN}:
        found.append(
            f"maxmemory-policy is {settings.maxmemory_policy}: a full server may drop keys, and the ledger with them. "
            "Set maxmemory-policy noeviction."
        )
    found += _persistence(settings, address)
    if settings.replicas and not address.wait_replicas:
        found.append(
            "replication is asynchronous: a failover forgets the spending that the replica had not received. "
            "Add wait_replicas=1 to the ledger's URL to wait for it."
        )
    if settings.replicas is not None and address.wait_replicas > settings.replicas:
        found.append(
            f"wait_replicas={address.wait_replicas}, but {settings.replicas} are connected: calls are refused until there are enough."
        )
    if not settings.writes:
        found.append("the server could not write to its disk the last time it tried: see its log.")
    return tuple(found)


def _persistence(settings: ServerSettings, address: Address) -> list[str]:
    if settings.appendonly is None:
        hidden = "the user of the ledger's URL may not read the server's settings (INFO)"
        return [f"{hidden}: make sure that maxmemory-policy is noeviction, appendonly yes and appendfsync always."]
    if not settings.appendonly:
        lost = "everything" if settings.save == "" else "everything since its last snapshot"
        return [f"appendonly is off: a restart of the server forgets {lost}. Set appendonly yes and appendfsync always."]
    if settings.appendfsync not in {"always", UNKNOWN} and not address.wait_aof:
        lost = f"appendfsync is {settings.appendfsync}: a crash of its machine forgets the last second or more of spending."
        return [f"{lost} Set appendfsync always, or add wait_aof=1 to the ledger's URL."]
    return []


def _config(connections: ThreadConnections, key: str, name: str) -> str:
    """One value of CONFIG; many hosted servers don't allow it."""
    try:
        answer = connections.command(key, "CONFIG GET", name)
    except RedisError:
        return UNKNOWN
    values = answer if isinstance(answer, dict) else {}
    value = values.get(name.encode(), values.get(name, UNKNOWN))
    return value.decode() if isinstance(value, bytes) else str(value)
