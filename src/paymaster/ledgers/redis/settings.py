"""What a Redis server says of its own settings, and where they don't keep the promise of a hard budget; asks once and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import RedisError

from paymaster.ledgers.redis.address import Address
from paymaster.ledgers.redis.connections import Reply, ThreadWire
from paymaster.ledgers.redis.messages import bytes_of

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A server's settings as it calls them; `unknown` where its user may not ask. `replicas` is how many are connected to it."""

    server: str
    role: str
    replicas: int | None
    maxmemory_policy: str
    appendonly: bool | None
    appendfsync: str
    save: str
    writes: bool

    def shown(self) -> Mapping[str, str]:
        """By the names that the server's documentation has."""
        return {
            "server": self.server,
            "role": self.role,
            "replicas": UNKNOWN if self.replicas is None else str(self.replicas),
            "maxmemory-policy": self.maxmemory_policy,
            "appendonly": {True: "yes", False: "no", None: UNKNOWN}[self.appendonly],
            "appendfsync": self.appendfsync,
            "save": self.save or '""',
        }


def ask_settings(info: Reply, wire: ThreadWire, key: str) -> Settings:
    """The settings of the server that keeps `key`, from its INFO and from what only CONFIG tells."""
    told = dict(line.split(":", 1) for line in bytes_of(info).decode("utf-8", "replace").splitlines() if ":" in line)
    version = told.get("valkey_version")
    return Settings(
        server=f"Valkey {version}" if version else f"Redis {told.get('redis_version', UNKNOWN)}",
        role={"slave": "replica"}.get(told.get("role", UNKNOWN), told.get("role", UNKNOWN)),
        replicas=int(told["connected_slaves"]) if "connected_slaves" in told else None,
        maxmemory_policy=told.get("maxmemory_policy", UNKNOWN),
        appendonly=told["aof_enabled"] == "1" if "aof_enabled" in told else None,
        appendfsync=_config(wire, key, "appendfsync"),
        save=_config(wire, key, "save"),
        writes=told.get("aof_last_write_status", "ok") == "ok" and told.get("rdb_last_bgsave_status", "ok") == "ok",
    )


def settings_warnings(settings: Settings, address: Address) -> tuple[str, ...]:
    """What may be forgotten of a budget's spending as the server is set up, each with what to do about it."""
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
        found.append("the server could not write to its disk the last time it tried: look into its log.")
    return tuple(found)


def _persistence(settings: Settings, address: Address) -> list[str]:
    if settings.appendonly is None:
        hidden = "the user of the ledger's URL may not ask the server for its settings (INFO)"
        return [f"{hidden}: see to it that maxmemory-policy is noeviction, appendonly yes and appendfsync always."]
    if not settings.appendonly:
        lost = "everything" if settings.save == "" else "everything since its last snapshot"
        return [f"appendonly is off: a restart of the server forgets {lost}. Set appendonly yes and appendfsync always."]
    if settings.appendfsync not in {"always", UNKNOWN} and not address.wait_aof:
        lost = f"appendfsync is {settings.appendfsync}: a crash of its machine forgets the last second or more of spending."
        return [f"{lost} Set appendfsync always, or add wait_aof=1 to the ledger's URL."]
    return []


def _config(wire: ThreadWire, key: str, name: str) -> str:
    """One value of CONFIG; many a hosted server does not tell."""
    try:
        answer = wire.command(key, "CONFIG GET", name)
    except RedisError:
        return UNKNOWN
    values = answer if isinstance(answer, dict) else {}
    value = values.get(name.encode(), values.get(name, UNKNOWN))
    return value.decode() if isinstance(value, bytes) else str(value)
