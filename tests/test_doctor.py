"""What `engine doctor` finds in a good and in a broken installation."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import doctor, machine
from engine.cli.main import invoke
from engine.registry import BrokenPlugin, Registry


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, dict]:
    assert invoke(["doctor", "--json", *arguments]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (code == 0)
    return {finding["what"]: finding for finding in document["findings"]}


def test_a_good_installation_is_exit_0_and_leaves_nothing_behind(capsys, here):
    found = findings(capsys)
    assert not [f for f in found.values() if f["status"] == "broken"]
    assert f"polars {metadata.version('polars')}" in found["packages"]["text"]
    assert "will be made" in found["runs folder"]["text"]
    assert f"{machine.cores()} processors" in found["machine"]["text"]
    assert "devices" not in found, "JAX is not woken unless asked"
    assert list(here.iterdir()) == []


def test_as_text_it_ends_with_the_verdict(capsys):
    assert invoke(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("everything that a run needs is here\n")


def test_a_broken_plugin_is_exit_5_with_its_own_error(capsys, monkeypatch):
    registry = Registry.discover()
    registry.broken.append(BrokenPlugin("acme", "acme-models", "ImportError: no luck"))
    monkeypatch.setattr(Registry, "discover", lambda: registry)
    found = findings(capsys, code=5)
    assert found["plugin acme"]["status"] == "broken"
    assert "ImportError: no luck" in found["plugin acme"]["text"]
    assert "acme-models" in found["plugin acme"]["hint"]
    assert invoke(["doctor"]) == 5
    assert "BROKEN" in capsys.readouterr().out


def test_a_required_package_is_essential_and_one_of_an_extra_is_not(capsys, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name in ("plotille", lost):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    lost = ""
    found = findings(capsys)
    assert found["extra terminal"]["status"] == "note"
    assert found["extra terminal"]["hint"] == "pip install 'engine-forecast[terminal]'"
    lost = "pluggy"
    assert "pluggy" in findings(capsys, code=5)["packages"]["text"]


def test_a_runs_folder_that_cannot_be_written_is_broken(capsys, here):
    (here / "runs").write_text("a file, not a folder")
    found = findings(capsys, code=5)
    assert "cannot write" in found["runs folder"]["text"]
    assert "--output" in found["runs folder"]["hint"]


def test_the_data_folder_is_counted_or_asked_for(capsys, here, monkeypatch):
    monkeypatch.delenv("ENGINE_DATA", raising=False)
    assert findings(capsys)["data folder"]["status"] == "note"
    monkeypatch.setenv("ENGINE_DATA", str(here / "nowhere"))
    assert "is no folder" in findings(capsys)["data folder"]["text"]
    (here / "data").mkdir()
    (here / "data" / "sales.csv").touch()
    monkeypatch.setenv("ENGINE_DATA", str(here / "data"))
    assert findings(capsys)["data folder"]["text"].endswith("1 files")


@pytest.mark.parametrize(
    ("done", "status", "said"),
    [
        (SimpleNamespace(returncode=0, stdout="cpu:0\n", stderr=""), "ok", "JAX sees cpu:0"),
        (SimpleNamespace(returncode=-6, stdout="", stderr="a\nno driver\n"), "broken", "no driver"),
        (SimpleNamespace(returncode=-6, stdout="", stderr=""), "broken", "exit code -6"),
        (subprocess.TimeoutExpired("jax", 1), "broken", "named no device"),
    ],
    ids=["works", "fails", "crashes", "hangs"],
)
def test_devices_are_asked_in_another_process_that_may_die(monkeypatch, done, status, said):
    def run(*_: object, **__: object) -> object:
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    monkeypatch.setattr(doctor, "_factories", lambda registry: iter(()))
    found = {f.what: f for f in doctor.examine(Path("runs"), full=True)}
    assert found["devices"].status == status
    assert said in found["devices"].text


@pytest.mark.slow
def test_full_imports_every_component_and_names_the_devices(capsys):
    pytest.importorskip("jax")
    found = findings(capsys, "--full")
    assert "can be imported" in found["components"]["text"]
    assert found["devices"]["text"].startswith("JAX sees ")


def test_memory_is_told_in_numbers_that_hang_together():
    assert 0 < machine.held_memory() <= machine.peak_memory()
    total, free = machine.total_memory(), machine.available_memory()
    assert total is None or free is None or 0 < free <= total
    before = machine.peak_memory()
    kept = bytearray(os.urandom(1)) * (64 * 2**20)
    assert machine.peak_memory() >= before
    assert len(kept) == 64 * 2**20


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 MiB"), (740 * 2**20, "740 MiB"), (1.25 * 2**30, "1.2 GiB")]
)
def test_bytes_as_people_say_them(size, text):
    assert machine.memory_text(size) == text
