"""Emulation: the sandbox from outside: status, signals, terminal, and that nothing of it is left."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import sandbox
from tests.emulation.conftest import ORDINARY_ID, wait_for_end, watch

ROOT = Path(__file__).parents[2]

LAB = """
import sys, tempfile
from pathlib import Path
from lab import sandbox
sandbox.enter()
from lab.lab import Lab
from lab.link import LinkSpec
from lab.topology import IspTopology
with tempfile.TemporaryDirectory() as directory:
    with Lab(IspTopology(), run_dir=Path(directory), links={"access": LinkSpec(delay_ns=1_000_000)}) as lab:
        lab.capture(["sim1", "mail"]).wait_ready()
        lab.hosts["mail"].popen(["sleep", "1000"])
        print("up", flush=True)
        sys.stdin.readline()
"""


def becoming(user: str) -> list[str]:
    """Words before a command that is to run as root or as an ordinary user."""
    if user == "root" and os.geteuid() != 0:
        pytest.skip("needs real root; CI has it")
    if user == "root" or os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={ORDINARY_ID}", f"--regid={ORDINARY_ID}", "--clear-groups"]


def start(argv: list[str], *, user: str, **options: object) -> subprocess.Popen[bytes]:
    """Start Python with `argv` as root or as an ordinary user, in a process group of its own.

    Signals as at a terminal, also where the tests themselves ignore some, as below nohup: no shell can trap those.
    """
    return subprocess.Popen(
        [*becoming(user), "env", "--default-signal=HUP,INT,TERM", sys.executable, *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        process_group=0,
        **options,  # type: ignore[call-overload]
    )


def in_sandbox(script: str, *, user: str, **options: object) -> subprocess.Popen[bytes]:
    """A shell script in a sandbox of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
    return start(["-m", "lab.sandbox", "sh", "-c", script], user=user, **pipes)


def descendants(pid: int) -> set[int]:
    """The process `pid` and all that came from it and live."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def namespaces(pids: set[int]) -> set[str]:
    """`net:[4026531840]` and so on, of all of them; those that have ended have none."""
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid", "ipc", "uts", "user"):
            try:
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


def everybody() -> set[int]:
    """Every process of the machine that we may see."""
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


USERS = pytest.mark.parametrize("user", ["root", "ordinary"])


@USERS
def test_sandbox_kill_of_the_outer_process_leaves_no_process_and_no_namespace(user: str) -> None:
    """`kill -9` in mid-lab: every process, link and namespace of it is gone, daemons included."""
    before = namespaces(everybody())
    with start(["-c", LAB], user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outer:
        assert outer.stdout and outer.stdin
        assert outer.stdout.readline() == b"up\n"
        family = descendants(outer.pid)
        made = namespaces(family) - before
        assert len(family) > 8, "outer process, init, program, four shells, delay line, capture, sleep"
        assert len({name for name in made if name.startswith("net:")}) >= 5
        # Whoever holds one of them, its child or not; a namespace made later may get the number of one that is gone.
        watched = watch(pid for pid in everybody() if namespaces({pid}) & made)
        outer.kill()
        outer.wait()
        wait_for_end(watched)


@USERS
def test_sandbox_status_passes_through(user: str) -> None:
    """The outer process ends with the program's exit status."""
    with in_sandbox("exit 7", user=user) as outer:
        assert outer.wait() == 7


@USERS
def test_sandbox_death_by_signal_passes_through(user: str) -> None:
    """The outer process dies by the signal that the program died by."""
    with in_sandbox("kill -USR1 $$", user=user) as outer:
        assert outer.wait() == -signal.SIGUSR1


@USERS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_sandbox_signal_to_the_outer_process_reaches_the_program(user: str, number: signal.Signals) -> None:
    """A signal sent to the outer process alone is the program's to handle."""
    script = f"trap 'echo caught; exit 5' {number.name[3:]}; echo up; while :; do read word; done"
    with in_sandbox(script, user=user) as outer:
        assert outer.stdout
        assert outer.stdout.readline() == b"up\n"
        outer.send_signal(number)
        assert outer.stdout.readline() == b"caught\n"
        assert outer.wait() == 5


@USERS
def test_sandbox_keyboard_interrupt_reaches_the_program_once(user: str) -> None:
    """Ctrl-C at a terminal is one SIGINT for the program, not one more from the outer process."""
    primary, terminal = pty.openpty()
    program = (
        "import os, signal, sys; from lab import sandbox; sandbox.enter(); caught = []\n"
        "signal.signal(signal.SIGINT, lambda *_: caught.append(1)); print('up', flush=True)\n"
        "line = sys.stdin.readline(); print('line', line.strip(), len(caught), flush=True)"
    )
    # setsid --ctty: a session whose terminal this is, so that Ctrl-C becomes a signal
    outer = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *becoming(user), sys.executable, "-c", program],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(terminal)
    said = read_until(primary, rb"up\r\n")
    os.write(primary, b"\x03")
    read_until(primary, rb"\^C")
    os.write(primary, b"typed\n")
    said = read_until(primary, rb"line .*\n")
    assert re.search(rb"line typed 1\r\n", said), said
    assert outer.wait() == 0
    os.close(primary)


def read_until(fd: int, pattern: bytes) -> bytes:
    """What comes from a terminal until `pattern` is in it."""
    said = b""
    while not re.search(pattern, said):
        said += os.read(fd, 4096)
    return said


@USERS
def test_sandbox_standard_input_and_output_are_the_callers(user: str) -> None:
    """What goes in and what comes out pass unchanged, also in bulk."""
    data = os.urandom(1_000_000)
    with in_sandbox("cat", user=user) as outer:
        assert outer.communicate(data)[0] == data


@USERS
def test_sandbox_orphans_are_reaped_and_do_not_outlive_the_program(user: str) -> None:
    """A daemon that the program leaves behind ends with the program, and no zombie stays meanwhile."""
    script = "(sleep 0 & sleep 1000 & ); echo up; read word; while ps -A -o stat= | grep -q Z; do :; done; echo clean"
    with in_sandbox(script, user=user) as outer:
        assert outer.stdout and outer.stdin
        assert outer.stdout.readline() == b"up\n"
        watched = watch(descendants(outer.pid))
        outer.stdin.write(b"\n")
        outer.stdin.flush()
        assert outer.stdout.readline() == b"clean\n"
    wait_for_end(watched)


@USERS
def test_sandbox_has_its_own_of_everything_and_leaves_the_machines_alone(user: str) -> None:
    """Own /run, host name, loopback and processes; the machine's /run and name stay as they were."""
    run_before = sorted(os.listdir("/run"))  # noqa: PTH208
    script = "id -u; hostname; cat /sys/class/net/lo/operstate; ls /sys/class/net; echo $$; touch /run/mine; ls /run"
    with in_sandbox(script, user=user) as outer:
        said = outer.communicate()[0].decode().split()
    assert said[:5] == ["0", sandbox.HOSTNAME, "unknown", "lo", "2"]
    assert said[5:] == ["lock", "mine", sandbox.MARKER.name]
    assert sorted(os.listdir("/run")) == run_before  # noqa: PTH208
    assert os.uname().nodename != sandbox.HOSTNAME


@pytest.fixture
def subordinate_ids(tmp_path: Path) -> list[str]:
    """Words that start a command as an ordinary user with a subuid range, on files of our own in a mount namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs real root to show a machine with other users; CI has it")
    lines = {
        "/etc/passwd": f"labuser:x:{ORDINARY_ID}:{ORDINARY_ID}::/:/bin/sh\n",
        "/etc/group": f"labuser:x:{ORDINARY_ID}:\n",
        "/etc/subuid": "labuser:2000000:65536\n",
        "/etc/subgid": "labuser:2000000:65536\n",
    }
    commands = []
    for number, (path, line) in enumerate(lines.items()):
        copy = tmp_path / str(number)
        copy.write_text(Path(path).read_text() + line)
        commands.append(f"mount --bind {copy} {path}")
    script = "; ".join([*commands, f'exec {" ".join(becoming("ordinary"))} "$@"'])
    return ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]


def python_as(words: list[str], program: str) -> str:
    """What a Python program says that is started by `words`."""
    done = subprocess.run(
        [*words, sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stdout


def run_mapped(words: list[str]) -> list[str]:
    """What a sandbox started by `words` says of its mode, and whether a server could become another user there."""
    program = (
        "import os; from lab import sandbox; sandbox.enter(); print(sandbox.facts()['mode'], flush=True)\n"
        "if sandbox.facts()['ids'] > 33: os.setgroups([]); os.setgid(33); os.setuid(33); print(os.getuid())"
    )
    return python_as(words, program).split()


def test_sandbox_user_with_a_subuid_range_gets_many_ids(subordinate_ids: list[str]) -> None:
    """With newuidmap and a range, programs inside can become other users."""
    assert run_mapped(subordinate_ids) == ["mapped", "33"]


def test_lab_gives_files_of_other_ids_back_to_the_user(subordinate_ids: list[str]) -> None:
    """What a server made under an id of its own belongs to the user afterwards: he can delete his runs."""
    program = (
        "import sys, tempfile; from pathlib import Path; from lab import sandbox; sandbox.enter()\n"
        "from lab.lab import Lab; from lab.topology import IspTopology; directory = Path(tempfile.mkdtemp())\n"
        "with Lab(IspTopology(), run_dir=directory) as lab:\n"
        "    script = f'mkdir {directory}/queue; touch {directory}/queue/mail; chown -R 33:33 {directory}/queue'\n"
        "    assert lab.hosts['mail'].run(['sh', '-ec', script], timeout_s=30).returncode == 0\n"
        "    assert (directory / 'queue' / 'mail').stat().st_uid == 33\n"
        "print(directory)"
    )
    directory = Path(python_as(subordinate_ids, program).strip())
    for path in (directory, directory / "queue", directory / "queue" / "mail"):
        assert path.stat().st_uid == path.stat().st_gid == ORDINARY_ID
    shutil.rmtree(directory)


@USERS
def test_sandbox_killed_leaves_its_neighbour_alone(user: str) -> None:
    """Of two labs with the same addresses one is killed; the other goes on and ends as it should."""
    labs = [start(["-c", LAB], user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for one in labs:
        assert one.stdout
        assert one.stdout.readline() == b"up\n"
    labs[0].kill()
    assert labs[0].wait() == -signal.SIGKILL
    assert labs[1].poll() is None
    for one in labs:
        with one:
            one.communicate(b"\n" if one is labs[1] else None)
    assert labs[1].returncode == 0


def test_sandbox_falls_back_to_a_single_id_where_newuidmap_may_not_act(subordinate_ids: list[str]) -> None:
    """With a range, but under no_new_privs, the sandbox starts all the same."""
    assert run_mapped([*subordinate_ids, "setpriv", "--no-new-privs"]) == ["single-id"]


def test_sandbox_where_user_namespaces_are_forbidden_names_both_ways_out() -> None:
    """One line, exit status 3: what was forbidden, sudo, and the sysctl."""
    if os.geteuid() != 0:
        pytest.skip("needs real root to forbid something to a user in a namespace; CI has it")
    # a user namespace may forbid its own children; root in it does, then user 1 tries
    forbid = (
        'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --reuid=1 --regid=1 --clear-groups "$@"'
    )
    attempt = [sys.executable, "-m", "lab.sandbox", "true"]
    holder = subprocess.Popen(
        ["unshare", "-U", "sh", "-c", 'echo made; read go; exec sh -c "$@"', "sh", forbid, "sh", *attempt],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"made\n"
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{holder.pid}/{kind}").write_text("0 0 65536\n")
    error = holder.communicate(b"go\n")[1].decode()
    assert holder.returncode == 3, error
    assert error.count("\n") == 1
    assert error.startswith("expected namespaces for an ordinary user, got '")
    assert error.endswith("run as root with sudo, or: sudo sysctl -w user.max_user_namespaces=65536\n")


def test_sandbox_root_without_capabilities_says_what_a_container_must_give() -> None:
    """Root of a container that may not make namespaces: one line, exit status 3."""
    if os.geteuid() != 0:
        pytest.skip("needs real root to give up its capabilities; CI has it")
    argv = ["setpriv", "--bounding-set=-all", sys.executable, "-m", "lab.sandbox", "true"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 3
    assert done.stderr.startswith("expected to make namespaces as root, got '")
    assert "CAP_SYS_ADMIN" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.sandboxed
def test_sandbox_inside_a_sandbox_stays_where_it_is() -> None:
    """A second `enter()` does nothing."""
    before = os.getpid()
    assert sandbox.inside()
    sandbox.enter()
    assert os.getpid() == before
