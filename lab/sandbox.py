"""The sandbox: the rest of this process runs in namespaces of its own, and leaves nothing behind.

    outer process          waits, hands signals on, ends as the program ends       the machine's namespaces
      └── init (PID 1)     reaps orphans, hands signals on                          own user, network, mount,
            └── program    returns from `enter()` and goes on                       PID, IPC and UTS namespace

`enter()` forks instead of executing anew, so nothing is imported twice. When the outer process dies, by
`kill -9` too, the kernel kills init (PR_SET_PDEATHSIG) and with it every process, link and namespace.
Its counterpart is `lab/lab.py`, which builds the network in here.

It must never touch the machine's own network, mounts or sysctls: whatever it mounts, it mounts in its own
mount namespace, and a file that it needs (/run/xtables.lock, for one) lies on a /run of its own.

Sources: user_namespaces(7), pid_namespaces(7), mount_namespaces(7), newuidmap(1), prctl(2).
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from typing import NoReturn

from lab.errors import LabError

MARKER = Path("/run/tamperlab-sandbox.json")
"""Exists only on the sandbox's own /run; says what kind of sandbox this is."""

HOSTNAME = "lab"
"""What programs in here call themselves: the user's machine is not named in captures (EHLO, SSH banners)."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SI_KERNEL = 0x80
"""si_code of a signal that the terminal made: the whole process group has it already (sigaction(2))."""
_MAX_IDS = 65_536

_WATCHED = {
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCHLD,
}
"""The first are passed on to the program, the last tells of a child's end."""

_SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

_libc = ctypes.CDLL(None, use_errno=True)


def inside() -> bool:
    """True in a sandbox, in any process of it."""
    return MARKER.exists()


def facts() -> dict[str, object]:
    """What kind of sandbox this is: {"mode": "root" | "mapped" | "single-id", "ids": how many user ids}."""
    loaded: dict[str, object] = json.loads(MARKER.read_text())
    return loaded


def enter() -> None:
    """Go on inside a new sandbox. Returns in the program only; the calling process ends as the program ends.

    Call it before any thread is started. In a sandbox already: does nothing.
    LabError: this machine does not allow it. The caller can only say so and end: it may be half in a namespace.
    """
    if inside():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    root = os.geteuid() == 0
    try:
        if root:
            _call("unshare", _CLONE_NEWPID)
        mode, ids = ("root", _MAX_IDS) if root else _own_user_namespace()
    except OSError as error:
        raise _forbidden(str(error), root=root) from error
    # go: the outer process lives; news: init's first words, an error text or nothing; last: the wait status
    go_r, go_w = os.pipe()
    news_r, news_w = os.pipe()
    last_r, last_w = os.pipe()
    # from here on no signal is lost: each waits until it can be passed on
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    init = os.fork()
    if init == 0:
        for fd in (go_w, news_r, last_r):
            os.close(fd)
        _become_init(mode, ids, go_r, news_w, last_w)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ["PATH"] = program_path()
        return
    for fd in (go_r, news_w, last_w):
        os.close(fd)
    os.write(go_w, b"g")
    with os.fdopen(news_r, "rb") as news:
        problem = news.read().decode()
    if problem:
        os.waitpid(init, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise _forbidden(problem, root=root)
    _pass_signals_until_end(init)
    status = os.read(last_r, 4)
    _end_like(struct.unpack("i", status)[0] if status else signal.SIGKILL)


def program_path() -> str:
    """PATH with the directories of ip, iptables and tc, which an ordinary user's lacks on Debian."""
    own = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*own, *(path for path in _SYSTEM_PROGRAMS if path not in own)])


def bind_file(source: Path, target: Path) -> None:
    """Show `source` in the place of `target` in this mount namespace, and nowhere else.

    A link is followed; a target that lies on our own /run is made.

    LabError: `target` does not exist on this machine.
    """
    real = Path(os.path.realpath(target))
    if not real.exists():
        if not real.is_relative_to("/run"):
            raise LabError(f"expected a file {target}, got none", f"sudo touch {real}")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.touch()
    mount(str(source), str(real), flags=_MS_BIND)


def mount(
    source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    """mount(2). OSError: as the kernel says."""
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    data = None if options is None else options.encode()
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source} on {target}: {os.strerror(number)}")


def unmount(target: str) -> None:
    """umount2(2), lazily: what is still open there stays usable for who holds it."""
    if _libc.umount2(os.path.realpath(target).encode(), 2) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"umount {target}: {os.strerror(number)}")


# -- the outer process -------------------------------------------------------------------------------------


def _own_user_namespace() -> tuple[str, int]:
    """Move this process into a user namespace, its children into a PID namespace; ('mapped'|'single-id', ids)."""
    uid, gid = os.geteuid(), os.getegid()
    # whoever has changed his user id does not own his files in /proc, unless he says that he may be looked at
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    ranges = _subordinate_range("/etc/subuid", uid), _subordinate_range("/etc/subgid", uid)
    helper, go_w = _start_id_helper(uid, gid, *ranges) if all(ranges) else (0, -1)
    try:
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWPID)
    except OSError:
        if helper:
            os.close(go_w)
            os.waitpid(helper, 0)
        raise
    if helper:
        os.write(go_w, b"g")
        os.close(go_w)
        if os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]) == 0:
            assert ranges[0] is not None
            return "mapped", 1 + ranges[0][1]
    for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)
    return "single-id", 1


def _start_id_helper(
    uid: int, gid: int, uids: tuple[int, int] | None, gids: tuple[int, int] | None
) -> tuple[int, int]:
    """Fork a process that stays outside and, when told, maps ids for us; (pid, fd to write one byte to)."""
    assert uids is not None and gids is not None
    target = str(os.getpid())
    go_r, go_w = os.pipe()
    helper = os.fork()
    if helper:
        os.close(go_r)
        return helper, go_w
    os.close(go_w)
    failed = os.read(go_r, 1) != b"g"
    # a refusal (no_new_privs, no setuid bit) only means: single id
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for program, own, (start, count) in (("newgidmap", gid, gids), ("newuidmap", uid, uids)):
        argv = [program, target, "0", str(own), "1", "1", str(start), str(count)]
        failed = failed or os.spawnvp(os.P_WAIT, program, argv) != 0
    os._exit(1 if failed else 0)


def _subordinate_range(path: str, uid: int) -> tuple[int, int] | None:
    """This user's first range in /etc/subuid or /etc/subgid as (start, count); None if there is nothing to use."""
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    if shutil.which("newuidmap") is None or shutil.which("newgidmap") is None:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if name in names and start.isdigit() and count.strip().isdigit() and int(count) > 0:
            return int(start), min(int(count), _MAX_IDS - 1)
    return None


def _pass_signals_until_end(init: int) -> None:
    """Hand every signal to `init` until it has ended; not those of the terminal, which it has already."""
    while os.waitpid(init, os.WNOHANG)[0] == 0:
        got = signal.sigwaitinfo(_WATCHED)
        if got.si_signo != signal.SIGCHLD and got.si_code != _SI_KERNEL:
            os.kill(init, got.si_signo)


def _end_like(status: int) -> NoReturn:
    """End this process with the given wait status: the same exit status, or the same signal."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


# -- init --------------------------------------------------------------------------------------------------


def _become_init(mode: str, ids: int, go: int, news: int, last: int) -> None:
    """As PID 1: set the namespaces up, fork the program (which returns), then serve it to its end."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.read(go, 1) != b"g":  # the outer process died before we asked to die with it
        os._exit(1)
    try:
        _set_up_namespaces(mode, ids)
    except OSError as error:
        os.write(news, str(error).encode())
        os._exit(1)
    program = os.fork()
    if program == 0:
        for fd in (go, news, last):
            os.close(fd)
        return
    os.close(news)
    while True:
        got = signal.sigwaitinfo(_WATCHED)
        if got.si_signo != signal.SIGCHLD:
            if got.si_code != _SI_KERNEL:
                os.kill(program, got.si_signo)
            continue
        while (ended := _reap_one()) is not None:
            if ended[0] == program:
                os.write(last, struct.pack("i", ended[1]))
                os._exit(0)


def _reap_one() -> tuple[int, int] | None:
    """(pid, wait status) of one child that has ended, or None."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _set_up_namespaces(mode: str, ids: int) -> None:
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS)
    mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    # /run holds locks and sockets of the machine's services (xtables.lock, nscd, resolved): not ours
    mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    Path("/run/lock").mkdir(mode=0o1777)
    socket.sethostname(HOSTNAME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("h", ioctl(control, _SIOCGIFFLAGS, request), 16)[0]
        ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    MARKER.write_text(json.dumps({"mode": mode, "ids": ids}))


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _forbidden(what: str, *, root: bool) -> LabError:
    """The LabError for a machine on which `what` failed, naming the setting that is in the way if one is."""
    if root:
        return LabError(
            f"expected to make namespaces as root, got {what!r}",
            "in a container, give it --privileged, or CAP_SYS_ADMIN, CAP_NET_ADMIN and an unmasked /proc",
        )
    settings = (
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=65536"),
    )
    for path, forbidding, remedy in settings:
        try:
            found = Path(path).read_text().strip()
        except OSError:
            continue
        if found == forbidding:
            return LabError(
                f"expected namespaces for an ordinary user, got {what!r}",
                f"run as root with sudo, or: sudo sysctl -w {remedy}",
            )
    return LabError(
        f"expected to make namespaces, got {what!r}",
        "run as root with sudo; in a container, allow it CAP_SYS_ADMIN and an unmasked /proc",
    )


def main(argv: Sequence[str]) -> int:
    """`python -m lab.sandbox COMMAND ...`: run a command in a sandbox of its own."""
    if not argv:
        print("expected a command, got nothing; python -m lab.sandbox COMMAND ...", file=sys.stderr)
        return 2
    try:
        enter()
        os.execvp(argv[0], list(argv))
    except LabError as error:
        print(error, file=sys.stderr)
        return 3
    except OSError as error:
        print(f"expected a program, got {argv[0]!r}; {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
