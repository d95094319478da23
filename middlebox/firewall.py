"""EDGE. Carries out what `kernel` wrote: runs iptables-restore and ip6tables-restore, sets sysctls.

It touches no rule and no chain but those that `kernel` names.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final

from middlebox.injector import write_sysctl
from middlebox.kernel import (
    GENERATIONS,
    Wiring,
    install_text,
    redirect_text,
    refresh_text,
    remove_redirect_text,
    remove_text,
    sysctls,
)
from middlebox.wants import Plan

_RESTORE: Final = {4: "iptables-restore", 6: "ip6tables-restore"}
# iptables-legacy wants a lock file in /run, which an ordinary user may not open; nobody else is in this namespace.
_ENVIRONMENT: Final = {**os.environ, "XTABLES_LOCKFILE": "/dev/null"}


class FirewallError(Exception):
    """iptables refused; the message is its own."""


class Firewall:
    """The rules of one box. `generation` counts changes of what connections were decided by."""

    def __init__(self, plan: Plan, wiring: Wiring) -> None:
        self.plan = plan
        self.generation = 1
        self.refused_sysctls: tuple[str, ...] = ()
        self._wiring = wiring
        self._installed = False
        self._running: list[subprocess.Popen[bytes]] = []
        self._due = False

    def install(self) -> None:
        """Chains, jumps, sysctls. FirewallError leaves nothing behind."""
        self._remove_all()  # what an earlier box left behind when it was killed
        self._installed = True
        for family, command in _RESTORE.items():
            _finish(_start(command, install_text(self.plan, self._wiring, family=family, generation=1)))
        self._install_redirects()
        self._set_sysctls()

    def change_plan(self, plan: Plan) -> None:
        """Other rules from now on: returns when the kernel has them."""
        leads_elsewhere = (plan.redirects, plan.led) != (self.plan.redirects, self.plan.led)
        self.plan = plan
        self.next_generation()
        while self.busy:
            self.collect(wait=True)
        if leads_elsewhere:
            self._run_all(remove_redirect_text(self._wiring))
            self._install_redirects()
        self._set_sysctls()

    def _install_redirects(self) -> None:
        if self.plan.redirects:
            for family, command in _RESTORE.items():
                _finish(_start(command, redirect_text(self.plan, self._wiring, family=family)))

    def _set_sysctls(self) -> None:
        knobs = sysctls(self.plan).items()
        self.refused_sysctls = tuple(path for path, value in knobs if not write_sysctl(path, value))

    def next_generation(self) -> None:
        """Forget, soon, what connections were decided to be; does not wait for the kernel."""
        self.generation = self.generation % (GENERATIONS - 1) + 1
        self._due = True
        if not self._running:
            self._start_refresh()

    @property
    def busy(self) -> bool:
        """Whether `collect` has something to do."""
        return bool(self._running)

    def collect(self, *, wait: bool = False) -> None:
        """See whether a change has come into force, and start the next one if it is due."""
        if not wait and any(process.poll() is None for process in self._running):
            return
        running, self._running = self._running, []
        for process in running:
            _finish(process)
        if self._due:
            self._start_refresh()

    def _start_refresh(self) -> None:
        self._due = False
        for family, command in _RESTORE.items():
            text = refresh_text(self.plan, self._wiring, family=family, generation=self.generation)
            self._running.append(_start(command, text))

    def remove(self) -> None:
        """Take away what `install` made; nothing happens when it is not there."""
        for process in self._running:
            process.communicate()
        self._running = []
        if self._installed:
            self._remove_all()
            self._installed = False

    def _remove_all(self) -> None:
        self._run_all(remove_text(self._wiring))
        self._run_all(remove_redirect_text(self._wiring))

    @staticmethod
    def _run_all(text: str) -> None:
        """For both families, whatever comes of it: what is not there need not be removed."""
        for process in [_start(command, text) for command in _RESTORE.values()]:
            process.communicate()


def _start(command: str, text: str) -> subprocess.Popen[bytes]:
    """Start a restore. The text fits a pipe's buffer, so handing it over never blocks."""
    process = subprocess.Popen(
        [command, "--noflush", "--wait", "5"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        process.stdin.write(text.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it refused an early line; its message tells
    process.stdin = None
    return process


def _finish(process: subprocess.Popen[bytes]) -> None:
    _, message = process.communicate()
    if process.returncode:
        raise FirewallError(
            f"expected iptables to take the box's rules, got {message.decode(errors='replace').strip()!r}; "
            "see `make doctor`"
        )
