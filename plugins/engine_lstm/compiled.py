"""Compiled functions on disk: another process, or another run, compiles nothing a second time."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
from functools import cache
from pathlib import Path

import jax

_LARGEST = 256 * 2**20  # bytes; what was not used for longest goes first


@cache
def keep_compiled() -> Path | None:
    """Let JAX keep what it compiles in a folder of the user, unless it was told of one; the folder.

    None where JAX has one already, where no folder can be made, or without the package `filelock`,
    which keeps workers from reading what another has half written.
    """
    if jax.config.jax_compilation_cache_dir is not None:
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
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _LARGEST)
    # Many small functions take as long as a large one.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
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
