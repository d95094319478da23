"""The folder of runs: a new folder for each, `latest` never dangling, found again by any part of its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.errors import LabError
from scenarios.errors import ArgumentError
from scenarios.runs import find_run, new_run, runs_directory


@pytest.fixture(autouse=True)
def own_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of runs for each test."""
    monkeypatch.setenv("TAMPERLAB_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_runs_directory_is_the_environments_or_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`TAMPERLAB_RUNS`, else `runs` where the user is."""
    assert runs_directory() == tmp_path / "runs"
    monkeypatch.delenv("TAMPERLAB_RUNS")
    monkeypatch.chdir(tmp_path)
    assert runs_directory() == tmp_path / "runs"


def test_runs_new_one_is_latest() -> None:
    """The link points at the newest run, by a relative path, and says which scenario it was."""
    new_run("first")
    folder = new_run("second")
    link = runs_directory() / "latest"
    assert link.resolve() == folder.resolve()
    assert str(link.readlink()) == folder.name
    assert "-second-" in folder.name


def test_runs_folder_that_cannot_be_written_says_so_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's checkout is no bug: the message names the folder and the way out."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAMPERLAB_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(LabError) as caught:
        new_run("first")
    assert str(caught.value) == (
        f"expected a folder for runs to write to, got '{tmp_path}/file/runs': Not a directory; "
        "TAMPERLAB_RUNS=FOLDER names another"
    )


def test_runs_started_at_the_same_time_differ() -> None:
    """Many at once: folders of their own, and `latest` is one of them."""
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: new_run("same"), range(40)))
    assert len(folders) == 40
    assert (runs_directory() / "latest").resolve() in {folder.resolve() for folder in folders}
    assert len(list(runs_directory().iterdir())) == 41


def test_runs_are_found_by_id_by_part_by_latest_and_by_path() -> None:
    """However the user names it."""
    folder = new_run("one")
    (folder / "result.json").write_text("{}")
    for name in (folder.name, folder.name[-6:], "latest", str(folder)):
        assert find_run(name) == folder.resolve()


def test_runs_name_that_fits_several_or_none_is_an_error_that_lists_them() -> None:
    """The user sees what there is."""
    folders = [new_run("one"), new_run("one")]
    for folder in folders:
        (folder / "result.json").write_text("{}")
    with pytest.raises(ArgumentError, match="expected one run, got 'one' which fits"):
        find_run("one")
    with pytest.raises(ArgumentError, match=f"got 'two'; there are: .*{folders[0].name}"):
        find_run("two")


def test_runs_unfinished_one_is_not_found() -> None:
    """A run without a result has nothing to show."""
    new_run("broken")
    with pytest.raises(ArgumentError, match="none yet: tamperlab run SCENARIO"):
        find_run("latest")
