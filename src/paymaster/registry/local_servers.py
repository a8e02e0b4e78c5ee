"""Servers of models on one's own machine, by their default port, and what they pass on to a host; knows no price, opens no connection."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit


class LocalServer(NamedTuple):
    """A server that runs models on the machine it listens on, and the page that states its default port."""

    title: str
    source: str


DEFAULT_PORTS: Final[Mapping[int, LocalServer]] = {
    1234: LocalServer("LM Studio", "https://lmstudio.ai/docs/developer/core/server/settings"),
    11434: LocalServer("Ollama", "https://docs.ollama.com/faq"),
    12434: LocalServer("Docker Model Runner", "https://docs.docker.com/ai/model-runner/"),
    30000: LocalServer("SGLang", "https://docs.sglang.io/advanced_features/server_arguments.html"),
}
"""Ports that mean such a server and nothing else in common use.

Left out are ports that proxies use as well, because what a proxy passes on is billed: 8080 (llama.cpp, and gateways such as Bifrost), 8000
(vLLM, and most Python servers), 3000 (Text Generation Inference, and most Node.js servers), 4000 (LiteLLM's proxy), 8787 (Portkey's), 1337
(Jan, which passes calls on to hosted models as well).
"""


_HOSTS: Final = ("ollama.com",)
_PASSED_ON: Final = ("-cloud", ":cloud")
"""Ollama passes calls of models with such a name on to its own host, which is paid (https://docs.ollama.com/cloud)."""


def is_hosted(base_url: str | None, model_id: str) -> bool:
    """Whether a local provider's model is served elsewhere: at its maker's host, or by a server here that passes the call on."""
    host = "" if base_url is None else urlsplit(base_url).hostname or ""
    return host.endswith(_HOSTS) or model_id.lower().endswith(_PASSED_ON)


def local_server(base_url: str) -> LocalServer | None:
    """The server whose default port an address on this machine has; None if any other program may listen there."""
    _, _, port = urlsplit(base_url).netloc.rpartition(":")  # as text: it may be a variable that is not set
    return DEFAULT_PORTS.get(int(port)) if port.isdigit() else None
