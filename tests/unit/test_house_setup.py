"""Set-up: nothing to do the second time, one at a time, and no surprise before it starts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scenarios.doctor import OPTIONAL_PROGRAMS

ROOT = Path(__file__).parents[2]
# Enough for `setup.sh` to see that there is nothing to do; no python, pip, dpkg or sudo among them.
FEW_TOOLS = ("bash", "cat", "dirname", "id", "readlink", "sha256sum", "flock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project's set-up files, without an environment."""
    folder = tmp_path / "checkout"
    (folder / "scenarios" / "starttls-block").mkdir(parents=True)
    (folder / "scenarios" / "starttls-block" / "scenario.yaml").touch()
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def few_tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which only a handful of harmless programs can be started by name."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in FEW_TOOLS:
        (tools / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    return {"PATH": str(tools)}


def mark_done(checkout: Path, group: str) -> None:
    """As if set-up had just finished in this folder."""
    files = [checkout / "pyproject.toml", *sorted((checkout / "scripts").glob("*.sh"))]
    text = (
        b"".join(file.read_bytes() for file in files)
        + f"{checkout}\n{os.path.realpath('/usr/bin/python3')}\n".encode()
    )
    (checkout / ".venv").mkdir(exist_ok=True)
    (checkout / ".venv" / f".set-up-{group}").write_text(f"{hashlib.sha256(text).hexdigest()}  -\n")


def set_up(checkout: Path, *groups: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = str(checkout / "scripts" / "setup.sh")
    return subprocess.run(
        ["/bin/bash", script, *groups],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_setup_second_time_starts_nothing_and_says_nothing(checkout: Path, few_tools: dict[str, str]) -> None:
    """What is up to date costs one hash: no Python, no pip, no sudo, no word."""
    mark_done(checkout, "core")
    before = sorted(checkout.rglob("*"))
    done = set_up(checkout, "core", env=few_tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(checkout.rglob("*")) == before


def test_setup_after_a_changed_dependency_is_due_again(checkout: Path, few_tools: dict[str, str]) -> None:
    """A new version of pyproject.toml is not overlooked."""
    mark_done(checkout, "core")
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    done = set_up(checkout, "core", env=few_tools)
    assert "setting up: core" in done.stderr


def test_setup_in_a_moved_folder_is_due_again(checkout: Path, few_tools: dict[str, str]) -> None:
    """An environment knows its place by absolute paths; elsewhere it is another one."""
    mark_done(checkout, "core")
    moved = checkout.rename(checkout.with_name("moved"))
    assert "setting up: core" in set_up(moved, "core", env=few_tools).stderr


def test_setup_of_a_further_group_does_not_redo_the_first(checkout: Path, few_tools: dict[str, str]) -> None:
    """`make test` after `make setup` adds what is missing."""
    mark_done(checkout, "core")
    assert "setting up: servers\n" in set_up(checkout, "core", "servers", env=few_tools).stderr


def test_setup_without_dpkg_says_what_is_needed(checkout: Path, few_tools: dict[str, str]) -> None:
    """Another system is told at once, with the list of packages, and exit status 3."""
    done = set_up(checkout, "core", env=few_tools)
    assert done.returncode == 3
    assert re.search(
        r"expected Debian 12 .* got a system without dpkg;\n.*mininet nftables iptables", done.stderr
    )


def test_setup_without_root_or_sudo_prints_the_command(checkout: Path, few_tools: dict[str, str]) -> None:
    """Who may not install packages gets the line to hand to somebody who may."""
    for name, script in {"dpkg-query": "exit 1", "id": "echo 1000", "find": "exit 0"}.items():
        tool = Path(few_tools["PATH"]) / name
        tool.unlink(missing_ok=True)
        tool.write_text(f"#!/bin/bash\n{script}\n")
        tool.chmod(0o755)
    done = set_up(checkout, "core", env=few_tools)
    assert done.returncode == 3
    assert "expected sudo or root to install them, got neither; run as root:" in done.stderr
    assert re.search(rf"cd {checkout} && scripts/install-packages.sh python3\S* .*\bmininet\b", done.stderr)


def test_setup_two_at_the_same_time_do_it_once(checkout: Path, few_tools: dict[str, str]) -> None:
    """The second waits for the first, then finds everything done."""
    with (checkout / "scripts" / "setup.sh").open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["/bin/bash", checkout / "scripts" / "setup.sh", "core"],
            env=few_tools,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
        mark_done(checkout, "core")
    assert second.communicate(timeout=20)[1] == ""
    assert second.returncode == 0


def test_make_with_an_unknown_scenario_names_the_nearest_and_sets_nothing_up(checkout: Path) -> None:
    """A typing error costs a moment, not a set-up; of the names that begin alike, the plain one is meant."""
    (checkout / "scenarios" / "starttls-block-at-hello").mkdir()
    (checkout / "scenarios" / "starttls-block-at-hello" / "scenario.yaml").touch()
    done = subprocess.run(
        ["make", "scenario-starttls-blok"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert (
        "expected the name of a scenario, got 'starttls-blok'; did you mean starttls-block?\n" in done.stderr
    )
    assert not (checkout / ".venv").exists()


def test_make_with_a_scenario_like_no_other_lists_them_all(checkout: Path) -> None:
    """On a screenful, in lines that fit a terminal."""
    slugs = [path.parent.name for path in (ROOT / "scenarios").glob("*/scenario.yaml")]
    for slug in slugs:
        (checkout / "scenarios" / slug).mkdir(exist_ok=True)
        (checkout / "scenarios" / slug / "scenario.yaml").touch()
    done = subprocess.run(["make", "scenario-xyz"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "expected the name of a scenario, got 'xyz'; the scenarios are:"
    assert set(slugs) <= set(done.stderr.split())
    assert len(lines) < 24
    assert max(map(len, lines)) <= 100


def test_make_without_a_target_explains_every_target() -> None:
    """`make` is the table of contents."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()) | {"scenario-<name>"}  # type: ignore[index]
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\S+)  +\S", shown, re.M)) == targets


def test_ci_runs_what_a_newcomer_types() -> None:
    """CI is the newcomer's two commands, nothing prepared beforehand."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test", "make scenario-starttls-block"]
    assert "set -euo pipefail" in lines
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_vagrantfile_is_valid(tmp_path: Path) -> None:
    """`vagrant validate` agrees; the machine is set up by our own make target."""
    vagrant = shutil.which("vagrant")
    if vagrant is None:
        pytest.skip("vagrant is not installed here; `make test` installs it where the system has it")
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "Vagrantfile", folder)
    done = subprocess.run(
        [vagrant, "validate"], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "vagrant")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "make setup-servers" in (ROOT / "Vagrantfile").read_text()


def test_messages_name_only_packages_that_setup_installs() -> None:
    """Who follows a message by hand gets the same packages as who runs make."""
    script = (
        ". scripts/packages.sh; for g in ${!packages_*}; do declare -n all=$g;"
        ' printf "%s\\n" "${all[@]%\\?}"; done'
    )
    known = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    sources = [
        file.read_text() for room in ("lab", "middlebox", "scenarios") for file in (ROOT / room).rglob("*.py")
    ]
    pattern = r'(?:package="|apt-get install )([a-z0-9-]+(?: (?!and )[a-z0-9-]+)*)'
    words = set(" ".join(re.findall(pattern, "\n".join(sources))).split())
    assert len(words) >= 10
    assert words - set(known) == set()
    assert {word for packages in OPTIONAL_PROGRAMS.values() for word in packages.split()} - set(
        known
    ) == set()


@pytest.mark.root
@pytest.mark.parametrize("closed", [".", "checkout"], ids=["folder-above", "checkout-itself"])
def test_reachable_opens_the_checkout_and_nothing_beside_it(
    closed: str, tmp_path: Path, checkout: Path
) -> None:
    """Tests that become an ordinary user find the checkout where it is, also below a folder that is root's alone."""
    (tmp_path / "secret").touch()
    (tmp_path / closed).chmod(0o700)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [checkout / "scripts" / "reachable.sh", *become, "sh", "-c", "pwd; cat pyproject.toml; ls -A .."],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{checkout}\n{(ROOT / 'pyproject.toml').read_text()}checkout\n"
    assert not os.path.ismount(checkout)
