"""Gives each worker thread of `sweagent run-batch` a private /root inside the sandbox; active only with PRIVATE_ROOT=1.

LOCAL_SHELL=1 also lets the shell agent run without a container; UPLOAD_ANEW=1 lets a second attempt begin as in a new container.

SWE-agent's local deployment keeps its tools, its state and the patch under /root, so that workers of one process would submit each other's
patches. In production each has a container; here each has a mount namespace, with a new overlay for every instance.
"""

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000
MNT_DETACH = 2

own = threading.local()
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def fresh_root() -> None:
    """A new empty layer over /root for this thread and its processes."""
    if not hasattr(own, "numbers"):
        checked(libc.unshare(CLONE_NEWNS | CLONE_FS), "unshare")
        checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount --make-private")
        checked(libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None), "mount tmpfs")
        own.numbers = count()
    else:
        libc.umount2(b"/root", MNT_DETACH)
    layer = Path(f"/mnt/{next(own.numbers)}")
    for name in ("upper", "work"):
        (layer / name).mkdir(parents=True)
    options = f"lowerdir=/root,upperdir={layer}/upper,workdir={layer}/work".encode()
    checked(libc.mount(b"overlay", b"/root", b"overlay", 0, options), "mount overlay")


class ImportHook(importlib.abc.MetaPathFinder):
    """Changes one module of SWE-agent's when it is imported."""

    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self.name, self.change = name, change

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self.change(module)

        loader.exec_module = exec_module
        return spec


def begin_with_fresh_root(run_batch: Any) -> None:
    begin = run_batch.RunBatch._run_instance

    def begin_instance(self: object, instance: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            fresh_root()
        return begin(self, instance)

    run_batch.RunBatch._run_instance = begin_instance


def deploy_locally(run_shell: Any) -> None:
    """Replace the container: the shell agent has no other environment."""
    from swerex.deployment.config import LocalDeploymentConfig

    run_shell.DockerDeploymentConfig = lambda **_: LocalDeploymentConfig()


def upload_anew(local: Any) -> None:
    """Let a second attempt upload tools and repository again, as to a new container."""
    upload = local.LocalRuntime.upload

    def remove_old(request: Any) -> None:
        if Path(request.source_path).is_dir():
            shutil.rmtree(request.target_path, ignore_errors=True)

    async def upload_again(self: object, request: Any) -> object:
        remove_old(request)
        return await upload(self, request)

    local.LocalRuntime.upload = upload_again


if os.environ.get("PRIVATE_ROOT") == "1":
    sys.meta_path.insert(0, ImportHook("sweagent.run.run_batch", begin_with_fresh_root))
if os.environ.get("LOCAL_SHELL") == "1":
    sys.meta_path.insert(0, ImportHook("sweagent.run.run_shell", deploy_locally))
if os.environ.get("UPLOAD_ANEW") == "1":
    sys.meta_path.insert(0, ImportHook("swerex.runtime.local", upload_anew))
