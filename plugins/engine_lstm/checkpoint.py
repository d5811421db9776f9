"""The state of training in a file, so that a killed fit goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from engine.replace import replaced


@dataclass(frozen=True)
class Keeper:
    """Keeps and finds the checkpoints of one fit; `every` epochs one is due."""

    path: Path
    every: int

    def due(self, epoch: int) -> bool:
        """Whether a checkpoint follows this epoch."""
        return epoch % self.every == 0

    def save(self, tree: Any, about: dict[str, Any]) -> None:
        """Write the arrays of a tree and plain data; the file before stays whole until then."""
        leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
        named = {f"{number:05d}": leaf for number, leaf in enumerate(leaves)}
        with replaced(self.path) as file:
            file.write(save(named, metadata={"about": json.dumps(about)}))

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The tree and the plain data of the last checkpoint, or None."""
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="numpy") as file:
            leaves = [jnp.asarray(file.get_tensor(name)) for name in sorted(file.keys())]
            about = json.loads(file.metadata()["about"])
        return jax.tree.unflatten(jax.tree.structure(like), leaves), about

    def done(self) -> None:
        """Training has ended: the checkpoint is of no more use."""
        self.path.unlink(missing_ok=True)


def fingerprint(plain: object, arrays: Iterable[Any]) -> str:
    """Name of a fit: the same for the same options and the same data only."""
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=12)
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(values.view(np.uint8).data)
    return digest.hexdigest()
