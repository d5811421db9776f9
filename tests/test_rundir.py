from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError, NotFoundError
from engine.rundir import RunFolder, check_writable, find_run, list_runs, read_run

PRINT = "abcdef0123"


def published(output: Path, name: str = "promo", **manifest: object) -> RunFolder:
    with RunFolder(output, name, PRINT) as folder:
        folder.manifest.update(status="ok", **manifest)
        folder.publish()
    return folder


def visible(home: Path) -> list[str]:
    return sorted(p.name for p in home.iterdir() if not p.name.startswith("."))


def test_nothing_has_the_runs_name_before_it_is_published(tmp_path: Path):
    with RunFolder(tmp_path, "promo", PRINT) as folder:
        folder.write_text("spec.yaml", "version: 1\n")
        assert visible(tmp_path / "promo") == []
        assert folder.path.name == f".{folder.id}.tmp"
        folder.publish()
    assert visible(tmp_path / "promo") == [folder.id]
    assert (folder.path / "spec.yaml").read_text() == "version: 1\n"


def test_a_published_run_has_a_manifest_and_no_scratch_folder(tmp_path: Path):
    folder = published(tmp_path)
    assert [p.name for p in folder.path.iterdir()] == ["manifest.json"]
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert (manifest["id"], manifest["schema_version"], manifest["status"]) == (folder.id, 1, "ok")


def test_the_id_is_the_time_and_the_specs_fingerprint(tmp_path: Path):
    folder = published(tmp_path)
    stamp, _, tail = folder.id.partition("-")
    assert len(stamp) == 16
    assert stamp.endswith("Z")
    assert tail == PRINT[:6]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DataError("y is NaN"), "failed", "y is NaN"),
        (ValueError("odd"), "failed", "ValueError: odd"),
        (KeyboardInterrupt(), "interrupted", "interrupted by the user"),
    ],
)
def test_an_error_leaves_a_partial_run_that_says_why(
    tmp_path: Path, error: BaseException, status: str, reason: str
):
    folder = RunFolder(tmp_path, "promo", PRINT)
    with pytest.raises(type(error)), folder:
        folder.write_text("spec.yaml", "kept\n")
        raise error
    assert visible(tmp_path / "promo") == [f"{folder.id}.partial"]
    assert (folder.path / "spec.yaml").read_text() == "kept\n"
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert (manifest["status"], manifest["error"]) == (status, reason)


def test_runs_of_one_second_have_names_of_their_own(tmp_path: Path):
    folders = [RunFolder(tmp_path, "promo", PRINT) for _ in range(3)]
    assert len({f.path for f in folders}) == 3
    names = {f.publish().name for f in folders}
    assert len(names) == 3


def test_the_name_of_a_partial_run_is_not_used_again(tmp_path: Path):
    first = RunFolder(tmp_path, "promo", PRINT)
    with pytest.raises(ValueError, match="odd"), first:
        raise ValueError("odd")
    second = RunFolder(tmp_path, "promo", PRINT)
    assert second.id != first.id


def test_the_same_rows_are_the_same_bytes(tmp_path: Path):
    folder = RunFolder(tmp_path, "promo", PRINT)
    table = pl.DataFrame({"unique_id": ["a", "b"], "y_hat": [0.1, None]})
    folder.write_table("one", table)
    folder.write_table("two", table.clone())
    one, two = ((folder.path / f"{n}.parquet").read_bytes() for n in ("one", "two"))
    assert one == two


def test_runs_are_listed_newest_first_with_what_became_of_them(tmp_path: Path):
    home = tmp_path / "promo"
    for name in ("20240101T000000Z-a", "20240103T000000Z-b.partial", ".20240102T000000Z-c.tmp"):
        (home / name).mkdir(parents=True)
    manifest = {"schema_version": 1, "status": "ok"}
    (home / "20240101T000000Z-a" / "manifest.json").write_text(json.dumps(manifest))
    (home / "20240103T000000Z-b.partial" / "manifest.json").write_text("{")
    assert [(r.id[:8], r.status) for r in list_runs(tmp_path)] == [
        ("20240103", "unreadable"),
        ("20240102", "unfinished"),
        ("20240101", "ok"),
    ]


def test_runs_of_one_second_are_listed_by_when_they_were_written(tmp_path: Path):
    ids = ["20240101T000000Z-f-2", "20240101T000000Z-f-10", "20240101T000000Z-a"]
    for written, name in enumerate(ids):
        manifest = tmp_path / "promo" / name / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text('{"schema_version": 1, "status": "ok"}')
        os.utime(manifest, ns=(written, written))
    assert [run.id for run in list_runs(tmp_path)] == ids[::-1]
    for name in ids:
        os.utime(tmp_path / "promo" / name / "manifest.json", ns=(0, 0))
    assert [run.id for run in list_runs(tmp_path)] == [ids[1], ids[0], ids[2]]


def test_only_the_runs_of_a_name_are_listed(tmp_path: Path):
    published(tmp_path, "promo")
    published(tmp_path, "other")
    assert [r.name for r in list_runs(tmp_path, "other")] == ["other"]


def test_a_manifest_of_another_version_is_not_taken_for_ours(tmp_path: Path):
    folder = published(tmp_path)
    (folder.path / "manifest.json").write_text('{"schema_version": 99, "status": "ok"}')
    assert read_run(folder.path).status == "other version"


def test_a_run_is_found_by_path_name_id_and_the_ids_beginning(tmp_path: Path):
    folder = published(tmp_path)
    for reference in (str(folder.path), "promo", folder.id, folder.id[:12], f"promo/{folder.id}"):
        assert find_run(tmp_path, reference).path == folder.path


def test_a_name_means_its_newest_run(tmp_path: Path):
    published(tmp_path)
    newest = published(tmp_path)
    assert find_run(tmp_path, "promo").id == newest.id


def test_a_run_that_does_not_exist_says_where_to_look(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no run 'promo'") as caught:
        find_run(tmp_path, "promo")
    assert "engine run SPEC" in caught.value.hint


def test_an_output_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DataError, match="cannot write to the output folder"):
        check_writable(file / "runs")


def test_checking_an_output_folder_leaves_nothing_in_it(tmp_path: Path):
    check_writable(tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_reference_that_is_no_run_says_what_may_be_meant(tmp_path: Path):
    runs = tmp_path / "runs"
    with pytest.raises(NotFoundError) as none:
        find_run(runs, "promo")
    assert "holds no runs: `engine run SPEC`" in none.value.hint
    (runs / "promo" / "20260101T000000Z-abc123").mkdir(parents=True)
    spec = tmp_path / "promo.yaml"
    spec.touch()
    for asked, hint in (
        ("promu", "did you mean promo?"),
        (str(spec), "is a spec: `engine run "),
        (str(runs), "is a folder without manifest.json"),
    ):
        with pytest.raises(NotFoundError) as caught:
            find_run(runs, asked)
        assert hint in caught.value.hint
    assert find_run(runs, "promo/2026").id == "20260101T000000Z-abc123"
