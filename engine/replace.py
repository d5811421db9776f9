"""Puts a file in its place in one step: readers see the old one or the whole new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from engine.errors import DataError


@contextmanager
def replaced(target: Path) -> Iterator[IO[bytes]]:
    """A new file beside `target` to write into; it takes the target's place when the block ends.

    After an error the old file is still there. Folders are made. DataError if it cannot be written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write {target}: {error.strerror or error}",
            hint="check `path:` and that its folder can be written to and has space left",
        ) from error
