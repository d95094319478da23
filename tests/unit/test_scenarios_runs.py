"""The folder of runs: a new folder for each, `latest` never dangling, found again by any part of its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
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


def finished_run(slug: str) -> Path:
    """A new run's folder, after the run."""
    with new_run(slug) as folder:
        return folder


def fail(run: AbstractContextManager[Path], error: BaseException) -> None:
    """End a run with an error, which comes out of it."""
    assert not run.__exit__(type(error), error, None)


def left() -> set[str]:
    """What there is in the folder of runs."""
    return {path.name for path in runs_directory().iterdir()}


def test_runs_directory_is_the_environments_or_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`TAMPERLAB_RUNS`, else `runs` where the user is."""
    assert runs_directory() == tmp_path / "runs"
    monkeypatch.delenv("TAMPERLAB_RUNS")
    monkeypatch.chdir(tmp_path)
    assert runs_directory() == tmp_path / "runs"


def test_runs_new_one_is_latest() -> None:
    """The link points at the newest run, by a relative path, and says which scenario it was."""
    finished_run("first")
    with new_run("second") as folder:
        link = runs_directory() / "latest"
        assert link.resolve() == folder.resolve()
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
        finished_run("first")
    assert str(caught.value) == (
        f"expected a folder for runs to write to, got '{tmp_path}/file/runs': Not a directory; "
        "TAMPERLAB_RUNS=FOLDER names another"
    )


def test_runs_started_at_the_same_time_differ() -> None:
    """Many at once: folders of their own, and `latest` is one of them."""
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: finished_run("same"), range(40)))
    assert len(folders) == 40
    assert (runs_directory() / "latest").resolve() in {folder.resolve() for folder in folders}
    assert len(list(runs_directory().iterdir())) == 41


def test_runs_are_found_by_id_by_part_by_latest_and_by_path() -> None:
    """However the user names it."""
    folder = finished_run("one")
    (folder / "result.json").write_text("{}")
    for name in (folder.name, folder.name[-6:], "latest", str(folder)):
        assert find_run(name) == folder.resolve()


def test_runs_name_that_fits_several_or_none_is_an_error_that_lists_them() -> None:
    """The user sees what there is."""
    folders = [finished_run("one"), finished_run("one")]
    for folder in folders:
        (folder / "result.json").write_text("{}")
    with pytest.raises(ArgumentError, match="expected one run, got 'one' which fits"):
        find_run("one")
    with pytest.raises(ArgumentError, match=f"got 'two'; the newest are .*{folders[0].name}"):
        find_run("two")


def test_runs_unfinished_one_is_not_found() -> None:
    """A run without a result has nothing to show; that the newest is one is said by its name."""
    with pytest.raises(ArgumentError, match="got 'latest'; there is none yet: tamperlab run SCENARIO"):
        find_run("latest")
    broken = finished_run("broken")
    with pytest.raises(ArgumentError, match=f"got {broken.name}, which is a shell or was interrupted; there"):
        find_run("latest")


@pytest.mark.parametrize("error", [LabError("no postfix", "install it"), ArgumentError("no such host")])
def test_runs_what_cannot_start_leaves_nothing(error: Exception) -> None:
    """No folder, and `latest` where it was: nowhere, or at the run before."""
    run = new_run("never")
    (run.__enter__() / "network").mkdir()
    fail(run, error)
    assert left() == set()
    before = finished_run("before")
    run = new_run("never")
    run.__enter__()
    fail(run, error)
    assert left() == {before.name, "latest"}
    assert (runs_directory() / "latest").resolve() == before.resolve()


def test_runs_what_cannot_start_leaves_what_its_message_says_to_read() -> None:
    """The log that says why the box did not become ready stays, but the newest run is still the one before."""
    before = finished_run("before")
    run = new_run("never")
    folder = run.__enter__()
    (folder / "box.log").write_text("why")
    fail(run, LabError("no box", read=folder / "box.log"))
    assert (folder / "box.log").read_text() == "why"
    assert (runs_directory() / "latest").resolve() == before.resolve()


def test_runs_of_two_that_cannot_start_neither_is_latest() -> None:
    """The link never turns away from a run that is under way, nor back to one that is gone."""
    error = LabError("no postfix", "install it")
    first, second = new_run("first"), new_run("second")
    first.__enter__()
    folder = second.__enter__()
    fail(first, error)
    assert (runs_directory() / "latest").resolve() == folder.resolve()
    fail(second, error)
    assert left() == set()


def test_runs_one_that_is_interrupted_stays() -> None:
    """It had begun: what it has written says what happened."""
    run = new_run("interrupted")
    folder = run.__enter__()
    fail(run, KeyboardInterrupt())
    assert left() == {folder.name, "latest"}


def test_runs_one_whose_folder_is_removed_says_so() -> None:
    """Whatever file is missed first, there is one reason; another error of the system is left as it is."""
    missing = FileNotFoundError(2, "No such file or directory", "events.jsonl")
    with pytest.raises(FileNotFoundError), new_run("kept"):
        raise missing
    run = new_run("removed")
    run.__enter__().rmdir()
    with pytest.raises(LabError, match=r"got '.*-removed-.*' removed; run it again"):
        run.__exit__(FileNotFoundError, missing, None)
