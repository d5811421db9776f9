from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")
pytest.importorskip("filelock")

import jax

from engine_lstm.cells import unrolled
from engine_lstm.compiled import _QUICKLY, share_device

CODE = """
import jax, jax.numpy as jnp
from engine_lstm.compiled import keep_compiled
folder = keep_compiled()
made = jax.jit(lambda a: jnp.tanh(a @ a).sum())(jnp.arange(400.0).reshape(20, 20) / 400)
print(folder, float(made).hex())
"""


def run(home: Path, **more: str) -> tuple[str, str]:
    """The folder that was chosen, and the bits of a number."""
    environment = {"PATH": "", "HOME": str(home), "XDG_CACHE_HOME": str(home / "caches"), **more}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    )
    folder, bits = done.stdout.split()
    return folder, bits


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "false"),
        ({"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, "true"),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": ".4"}, None),
    ],
)
def test_workers_share_the_memory_of_a_gpu_unless_the_user_says_how(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: str | None
) -> None:
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setenv(name, "")  # so that it is restored
    monkeypatch.delenv(name)
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    share_device()
    assert os.environ.get(name) == expected


@pytest.mark.parametrize("device", sorted(_QUICKLY))
def test_xla_knows_what_each_device_is_compiled_with(device: str) -> None:
    double = jax.jit(lambda a: a + a, compiler_options=_QUICKLY[device])
    assert double(2.0) == 4.0


def test_a_gpu_is_given_several_dates_at_a_time() -> None:
    assert unrolled("cpu") == 1 < unrolled("gpu")


def entries(home: Path) -> dict[Path, float]:
    return {file: file.stat().st_mtime_ns for file in home.rglob("*-cache")}


@pytest.mark.skipif(sys.platform != "linux", reason="folders of caches have other names there")
def test_a_second_process_compiles_nothing_and_computes_the_same_bits(tmp_path: Path) -> None:
    folder, first = run(tmp_path)
    assert Path(folder).is_relative_to(tmp_path / "caches" / "engine" / "jax")
    made = entries(tmp_path)
    assert made
    assert run(tmp_path) == (folder, first)
    assert entries(tmp_path) == made


@pytest.mark.skipif(sys.platform != "linux", reason="folders of caches have other names there")
def test_a_folder_that_jax_was_told_of_is_left_alone(tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(told))[0] == "None"
    assert not (tmp_path / "caches").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="folders of caches have other names there")
def test_without_a_place_to_write_everything_works_as_before(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run(tmp_path, XDG_CACHE_HOME=str(blocked))[0] == "None"
