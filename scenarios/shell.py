"""`tamperlab shell`: the network of a scenario, with servers, captures and box, and a prompt on one of its hosts.

Nothing is judged; when the prompt ends, captures are complete and commented, and everything is taken down.
Must be called in a sandbox.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from lab.lab import Lab
from scenarios.errors import ArgumentError
from scenarios.model import Scenario, steps_of
from scenarios.record import World
from scenarios.runner import Plan, Progress, opened_stage, plans


def open_shell(scenario: Scenario, directory: Path, *, on: str | None, progress: Progress) -> World:
    """Build everything, run a shell on host `on` (first subscriber if None) until it ends, close everything.

    ArgumentError: there is no such host. LabError: the machine is not ready.
    """
    progress("building the network")
    with opened_stage(scenario, directory) as stage:
        lab = stage.lab
        name = on or lab.topology.subscribers[0]
        if name not in lab.hosts:
            raise ArgumentError(f"expected a host of the lab, got {name!r}; there are {', '.join(lab.hosts)}")
        plan = plans(scenario, controls=False)[0]
        with stage.running(plan) as running:
            progress("")
            script = directory / "shell.rc"
            script.write_text(rc_file(lab, name, scenario.slug))
            print(introduction(lab, name, scenario, plan))
            argv = ["mnexec", "-a", str(lab.hosts[name].pid), "bash", "--rcfile", str(script), "-i"]
            subprocess.run(argv, cwd=directory, check=False)
        return running.world


def rc_file(lab: Lab, host: str, slug: str) -> str:
    """What the shell reads first: a prompt that says where it is, and `on HOST COMMAND` for the other hosts."""
    pids = " ".join(f"[{name}]={other.pid}" for name, other in lab.hosts.items())
    return f"""\
PS1='{host} ({slug}) \\$ '
export PATH={shlex.quote(os.environ["PATH"])}
unset HISTFILE
declare -A LAB_PIDS=({pids})
on() {{ local host=$1; shift; mnexec -a "${{LAB_PIDS[$host]:?no such host}}" "${{@:-bash}}"; }}
"""


def introduction(lab: Lab, host: str, scenario: Scenario, plan: Plan) -> str:
    """What a newcomer needs to know at the prompt."""
    names = ", ".join(
        f"{name} {lab.hosts[name].ipv4}" for name in [*lab.topology.subscribers, *lab.topology.servers]
    )
    profiles = [phase.profile for phase in plan.middlebox.timeline] if plan.middlebox else []
    box = ", ".join(Path(p).stem if p else "nothing" for p in profiles) or "no box"
    step = next(iter(steps_of(scenario.steps)), None)
    hint = f"openssl s_client -connect {step.to}:587 -starttls smtp" if step else "ping mail.example"
    return (
        f"You are on {host}. In the path: {box}. Captures are running.\n"
        f"Hosts: {names}\n"
        f"Try: {hint}\n"
        f"On another host: on mail ss -tn     Leave: exit"
    )
