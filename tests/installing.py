"""Installs packages into folders of their own and runs Engine with them, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def install(source: Path, home: Path) -> Path:
    """Build the wheel of a copy of a package, throw the copy away, install into `home / site`."""
    copy = home / f"source-{source.name}"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip"]
    options = ["--quiet", "--no-deps", "--no-index"]
    build = [*pip, "wheel", *options, "--no-build-isolation", "--wheel-dir", str(home / "wheels")]
    subprocess.run([*build, str(copy)], check=True, capture_output=True)
    shutil.rmtree(copy)
    (wheel,) = (home / "wheels").glob(f"{source.name.replace('-', '_')}-*.whl")
    command = [*pip, "install", *options, "--target", str(home / "site"), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return home / "site"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in `home`, with the packages of `home / site`."""
    paths = [str(home / "site"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def engine(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command `engine` in `home`, with the packages of `home / site`."""
    return run(home, "-m", "engine.cli.main", *arguments)
