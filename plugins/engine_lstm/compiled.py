"""How functions are compiled, and kept on disk: another process, or another run, compiles nothing again."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import jax
from jax import lax

P = ParamSpec("P")
R = TypeVar("R")

_QUICKLY: dict[str, dict[str, Any]] = {
    "cpu": {"xla_backend_optimization_level": 1},
    "gpu": {
        "xla_gpu_autotune_level": 0,
        "xla_gpu_enable_triton_gemm": False,
        "xla_gpu_deterministic_ops": True,
    },
}
"""By device. A CPU: code as fast as that of the highest level, in three quarters of the time.

A GPU: the same code in every run, in less time. XLA would choose products by how long they took just
then, and forecast something else in another run.
"""

_LARGEST = 256 * 2**20  # bytes; what was not used for longest goes first


class Compiled(Generic[P, R]):
    """A function that is compiled at its first call, as suits the device; options are those of `jax.jit`."""

    def __init__(self, function: Callable[P, R], **options: Any) -> None:
        self._function, self._options = function, options

    @cached_property
    def jitted(self) -> Any:
        """What `jax.jit` makes of it."""
        how = _QUICKLY.get(jax.default_backend())
        return jax.jit(self._function, compiler_options=how, **self._options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the compiled function."""
        result: R = self.jitted(*args, **kwargs)
        return result


def compiled(**options: Any) -> Callable[[Callable[P, R]], Compiled[P, R]]:
    """Decorates a function that is to be compiled; options are those of `jax.jit`."""
    return lambda function: Compiled(function, **options)


def each(function: Callable[[Any], Any], members: Any) -> Any:
    """A function of every member: at once on a device made for it, one by one on a CPU."""
    if jax.default_backend() == "cpu":
        return lax.map(function, members)
    return jax.vmap(function)(members)


def processor() -> Any | None:
    """The processor as a device of JAX; None if JAX was told to do without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def share_device() -> None:
    """Let a process take the memory of a GPU as it needs it, unless the user has said how.

    JAX would take three quarters at once, so that the second worker of a run found none.
    """
    told = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION")
    if not any(name in os.environ for name in told):
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@cache
def keep_compiled() -> Path | None:
    """Let JAX keep what it compiles in a folder of the user, unless it was told of one; the folder.

    None where JAX has one already, where no folder can be made, or without the package `filelock`,
    which keeps workers from reading what another has half written.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None:
        return None
    if importlib.util.find_spec("filelock") is None:
        return None
    try:
        folder = _caches() / "engine" / "jax" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter from a user without a home
        return None
    if not os.access(folder, os.W_OK):
        return None
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_compilation_cache_max_size", _LARGEST)
    # Many small functions take as long as a large one.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def _caches() -> Path:
    """Where programs keep what they can make again: as the system says."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """A name for this kind of processor: code compiled for another may not run on it."""
    about = platform.machine() + platform.processor()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(encoding="utf-8", errors="replace").splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
        about += next((line for line in lines if line.startswith("model name")), "")
    return hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
