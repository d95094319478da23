"""The one script that changes the machine keeps its promises: tried with an apt that only pretends.

The pretended apt-get appends its arguments to a log and makes the asked-for packages appear in the pretended dpkg.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-packages.sh"
OURS = "# tamperlab: only while it installs packages"

FAKES = {
    "id": "echo ${FAKE_UID:-0}",
    "dpkg-query": """
        if [ "$3" = '${db:Status-Status}' ]; then grep -qx "$4" "$FAKE/installed" && printf installed
        else sed 's/$/ installed/' "$FAKE/installed"; fi""",
    "apt-get": """
        echo "apt-get $*" >>"$FAKE/log"
        case " $* " in
            *' update '*) touch "$FAKE/lists" "$FAKE/some_Packages" ;;
            *' --simulate '*) [ -e "$FAKE/lists" ] && [[ " $* " != *' unheard-of '* ]] ;;
            *) cp "$POLICY" "$FAKE/policy-seen"
               [ ! -e "$FAKE/fail" ] || exit 100
               [ ! -e "$FAKE/wait" ] || { echo up; read -r _ <"$FAKE/wait"; }
               for p; do case $p in postfix | nginx) echo "$p" >>"$FAKE/installed" ;; esac; done ;;
        esac""",
    "debconf-set-selections": "cat >>$FAKE/debconf",
    "dpkg": """
        shift
        for p; do printf "%s\\n" "/lib/systemd/system/$p.service" "/lib/systemd/system/$p@.service" "/etc/init.d/$p"
        done""",
    "systemctl": """
        [ "$1" = is-enabled ] && { echo enabled; exit; }
        echo "systemctl $*" >>"$FAKE/log" """,
    "update-rc.d": 'echo "update-rc.d $*" >>"$FAKE/log"',
}


class Machine:
    """A machine on which ssh is installed and nothing of what the lab needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = folder / "policy-rc.d"
        (folder / "bin").mkdir()
        for name, script in FAKES.items():
            fake = folder / "bin" / name
            fake.write_text(f"#!/bin/bash\n{script}\n")
            fake.chmod(0o755)
        (folder / "installed").write_text("openssh-server\n")
        (folder / "lists").touch()
        (folder / "some_Packages").touch()
        self.env = os.environ | {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin", "FAKE": str(folder), "POLICY": str(self.policy),
            "TAMPERLAB_POLICY": str(self.policy), "TAMPERLAB_APT_LISTS": str(folder),
        }  # fmt: skip

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments], env=self.env | env, capture_output=True, text=True, check=False, timeout=30
        )

    def log(self) -> list[str]:
        file = self.folder / "log"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A fresh pretended machine."""
    return Machine(tmp_path)


def test_packages_missing_are_those_not_installed(machine: Machine) -> None:
    """What is there is not asked for again."""
    assert machine.run("--missing", "openssh-server", "nginx").stdout == "nginx\n"


def test_packages_install_starts_no_service_and_leaves_new_ones_disabled(machine: Machine) -> None:
    """Services are forbidden while apt works, and those that came with it are disabled after it."""
    assert machine.run("postfix", "nginx").returncode == 0
    assert (machine.folder / "policy-seen").read_text().splitlines() == ["#!/bin/sh", OURS, "exit 101"]
    assert not machine.policy.exists()
    disabled = [line for line in machine.log() if not line.startswith("apt-get")]
    assert disabled == [
        "systemctl --quiet disable nginx.service", "systemctl --quiet disable postfix.service",
        "update-rc.d nginx disable", "update-rc.d postfix disable",
    ]  # fmt: skip


def test_packages_install_never_removes_or_recommends(machine: Machine) -> None:
    """Another mail server stays, and nothing comes along that was not asked for; Postfix writes no configuration."""
    machine.run("postfix")
    (install,) = [line for line in machine.log() if "--yes" in line]
    assert {"--no-remove", "--no-install-recommends"} <= set(install.split())
    assert (
        machine.folder / "debconf"
    ).read_text() == "postfix postfix/main_mailer_type select No configuration\n"


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_packages_policy_of_the_machine_is_restored_exactly(machine: Machine, outcome: str) -> None:
    """A policy that the machine had comes back with its content and mode, also when apt fails."""
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    machine.policy.chmod(0o750)
    if outcome == "failure":
        (machine.folder / "fail").touch()
    assert machine.run("nginx").returncode == (0 if outcome == "success" else 3)
    assert OURS in (machine.folder / "policy-seen").read_text()
    assert machine.policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert machine.policy.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_packages_policy_is_restored_after_an_interrupt(machine: Machine, number: int) -> None:
    """Ctrl-C in the middle of apt leaves the policy as it was."""
    machine.policy.write_text("theirs\n")
    os.mkfifo(machine.folder / "wait")
    running = subprocess.Popen(
        [SCRIPT, "nginx"], env=machine.env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    os.killpg(running.pid, number)
    running.communicate(timeout=20)
    assert running.returncode != 0
    assert machine.policy.read_text() == "theirs\n"


def test_packages_policy_left_by_a_killed_run_is_not_taken_for_the_machines(machine: Machine) -> None:
    """After kill -9 the next run cleans up: services may start again."""
    machine.policy.write_text(f"#!/bin/sh\n{OURS}\nexit 101\n")
    machine.run("nginx")
    assert not machine.policy.exists()


def test_packages_saved_by_a_killed_run_comes_back(machine: Machine) -> None:
    """The machine's own policy survives a run that was killed between saving and restoring."""
    machine.policy.write_text(f"#!/bin/sh\n{OURS}\nexit 101\n")
    machine.policy.with_name("policy-rc.d.before-tamperlab").write_text("theirs\n")
    machine.run("nginx")
    assert machine.policy.read_text() == "theirs\n"
    assert not machine.policy.with_name("policy-rc.d.before-tamperlab").exists()


def test_packages_lists_are_fetched_only_when_apt_does_not_know_a_package(machine: Machine) -> None:
    """`apt-get update` on a machine with fresh lists would be a minute for nothing."""
    machine.run("nginx")
    assert not any(" update " in f"{line} " for line in machine.log())
    (machine.folder / "lists").unlink()
    machine.run("postfix")
    assert sum(" update " in f"{line} " for line in machine.log()) == 1


def test_packages_with_a_question_mark_are_installed_only_where_they_can_be_had(machine: Machine) -> None:
    """What a system does not have is neither missing nor asked for; what it has is as wanted as any other."""
    wanted = ("nginx", "postfix?", "unheard-of?", "openssh-server?")
    assert machine.run("--missing", *wanted).stdout.split() == ["nginx", "postfix?"]
    assert machine.run(*wanted).returncode == 0
    (install,) = [line for line in machine.log() if "--yes" in line]
    assert install.endswith(" nginx postfix openssh-server")


def test_packages_with_a_question_mark_alone_are_no_reason_to_fail(machine: Machine) -> None:
    """Nothing is left to install, and that is fine."""
    assert machine.run("unheard-of?").returncode == 0
    assert not any("--yes" in line for line in machine.log())


def test_packages_without_lists_all_are_missing_and_lists_are_fetched(machine: Machine) -> None:
    """On a fresh machine nobody knows yet what can be had: it is found out when something is installed."""
    for name in ("lists", "some_Packages"):
        (machine.folder / name).unlink()
    assert machine.run("--missing", "nginx", "unheard-of?").stdout.split() == ["nginx", "unheard-of?"]
    assert machine.run("nginx", "unheard-of?").returncode == 0
    assert sum(" update " in f"{line} " for line in machine.log()) == 1
    assert machine.run("--missing", "nginx", "unheard-of?").stdout == ""


def test_packages_without_root_change_nothing(machine: Machine) -> None:
    """An ordinary user is told what to type."""
    done = machine.run("nginx", FAKE_UID="1000")
    assert done.returncode == 3
    assert "run: sudo " in done.stderr
    assert machine.log() == []
