"""EDGE. Carries out what `gate` and `shortcut` wrote: runs nft, adds the queue's rule, sets sysctls.

It touches no table but those that they name.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Final

from middlebox.elephants import Elephants
from middlebox.gate import (
    ASK,
    TABLE,
    TO_USER,
    chains_of,
    flush_text,
    remove_text,
    rules_text,
    structure_text,
)
from middlebox.gate_copying import NOTE, WORDS
from middlebox.injector import write_sysctl
from middlebox.kernel import GENERATIONS, Wiring, sysctls
from middlebox.netfilterrules import add_note_rule, add_queue_rule, add_word_rule
from middlebox.shortcut import Elephant, remove_text as remove_shortcut_text
from middlebox.wants import Plan

_NFT: Final = ("nft", "--file", "-")


class FirewallError(Exception):
    """The kernel refused the rules; the message is nft's own."""


class Firewall:
    """The rules of one box. `generation` counts changes of what connections were decided by."""

    def __init__(self, plan: Plan, wiring: Wiring) -> None:
        self.plan = plan if wiring.takes_copies else plan.without_words()
        self.generation = 1
        self.refused_sysctls: tuple[str, ...] = ()
        self.elephants = Elephants(wiring)
        self._wiring = wiring
        self._words: set[bytes] = set()
        self._chains: frozenset[str] = frozenset()
        self._running: subprocess.Popen[bytes] | None = None
        self._runs_shortcut = False
        self._due = False

    def install(self) -> None:
        """Table, chains, sysctls. FirewallError leaves nothing behind."""
        self._chains = chains_of(self.plan)
        before = remove_text() + remove_shortcut_text()  # what an earlier box left behind when it was killed
        _finish(_start(before + structure_text(self.plan)))
        try:
            add_queue_rule(TABLE, TO_USER, queue=self._wiring.queue, fail_open=self._wiring.fail_open)
        except OSError as error:
            raise FirewallError(
                f"expected the kernel to take a rule for its packet queue, got {error.strerror!r}; see `make doctor`"
            ) from error
        self._look_for_words()
        try:
            _finish(_start(self._rules()))
        except FirewallError:
            if not self._wiring.takes_copies:
                raise
            self._do_without_copies()
            _finish(_start(self._rules()))
        self._set_sysctls()

    def change_plan(self, plan: Plan) -> None:
        """Other rules from now on: returns when the kernel has them."""
        self.plan = plan if self._wiring.takes_copies else plan.without_words()
        self._look_for_words()
        self._chains |= chains_of(plan)
        self.next_generation()
        while self.busy:
            self.collect(wait=True)
        self._set_sysctls()

    def next_generation(self) -> None:
        """Forget, soon, what connections were decided to be; does not wait for the kernel."""
        self._count_generation()
        self._due = True
        if self._running is None:
            self._start_next()

    def let_in(self, elephant: Elephant, generation: int, now_ns: int) -> None:
        """A connection that may pass by the rules of this generation carries much: it may take the shortcut, soon.

        By older rules it may not; its report has waited in the queue while they changed.
        """
        if generation != self.generation:
            return
        if self.elephants.add(elephant, now_ns) and self._running is None:
            self._start_next()

    @property
    def notes(self) -> bool:
        """Whether connections may have gone on unasked, by this plan or an older one."""
        return bool(self._words)

    @property
    def busy(self) -> bool:
        """Whether `collect` has something to do."""
        return self._running is not None

    def collect(self, *, wait: bool = False) -> None:
        """See whether a change has come into force, and start the next one if it is due."""
        if self._running is None or (not wait and self._running.poll() is None):
            return
        running, self._running = self._running, None
        if self._runs_shortcut:
            running.communicate()
            if running.returncode:  # a kernel without `fwd`; nothing but speed is lost
                self.elephants.refuse()
        else:
            _finish(running)
        self._start_next()

    def close(self) -> None:
        """No packet comes to user space any more. What waits there has to be answered before `remove`."""
        if self._running is not None:
            self._running.communicate()
            self._running = None
        if self._chains:
            _start(flush_text(self._chains)).communicate()

    def remove(self) -> None:
        """Take away what `install` made; nothing happens when it is not there."""
        if self._chains:
            _start(remove_text() + remove_shortcut_text()).communicate()
            self._chains = frozenset()

    def _start_next(self) -> None:
        if self._due:
            self._due = self._runs_shortcut = False
            self._running = _start(self._rules() + self.elephants.disperse())
        elif text := self.elephants.take():
            self._runs_shortcut = True
            self._running = _start(text)

    def _look_for_words(self) -> None:
        """Words that are not looked for yet are, before any rule relies on it; those of older plans stay."""
        try:
            if self.plan.words and not self._words:
                add_note_rule(TABLE, NOTE)
            for word in sorted(self.plan.words - self._words):
                add_word_rule(TABLE, WORDS, word, goto=ASK)
                self._words.add(word)
        except OSError:  # a kernel without `string` or labels
            self._do_without_copies()

    def _do_without_copies(self) -> None:
        """Nothing but speed is lost."""
        self._wiring = replace(self._wiring, takes_copies=False)
        self.plan = self.plan.without_words()

    def _rules(self) -> str:
        rules = rules_text(self.plan, self._wiring, generation=self.generation)
        return structure_text(self.plan) + flush_text(self._chains) + rules

    def _count_generation(self) -> None:
        self.generation = self.generation % (GENERATIONS - 1) + 1

    def _set_sysctls(self) -> None:
        knobs = sysctls(self.plan).items()
        self.refused_sysctls = tuple(path for path, value in knobs if not write_sysctl(path, value))


def _start(text: str) -> subprocess.Popen[bytes]:
    """Start nft. The text fits a pipe's buffer, so handing it over never blocks."""
    process = subprocess.Popen(_NFT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
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
            f"expected the kernel to take the box's rules, got {message.decode(errors='replace').strip()!r}; "
            "see `make doctor`"
        )
