"""`tamperlab shell`: the network of a scenario, with servers, captures and box, and a prompt on one of its hosts.

Nothing is judged; when the prompt ends, captures are complete and commented, and everything is taken down.
Must be called in a sandbox.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from lab.clients.registry import CLIENTS
from lab.lab import Lab
from scenarios.errors import ArgumentError
from scenarios.model import Scenario, Step, steps_of
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
            print(introduction(lab, name, scenario, plan), flush=True)
            argv = ["mnexec", "-a", str(lab.hosts[name].pid), "bash", "--rcfile", str(script), "-i"]
            subprocess.run(argv, cwd=directory, check=False)
        return running.world


def rc_file(lab: Lab, host: str, slug: str) -> str:
    """What the shell reads first: a prompt that says where it is, and `on HOST COMMAND` for the other hosts."""
    pids = " ".join(f"[{name}]={other.pid}" for name, other in lab.hosts.items())
    return f"""\
PS1='{host} ({slug}) \\$ '
export PATH={shlex.quote(f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}")}
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
    server = next((name for name in lab.topology.servers if name != "dns"), "dns")
    return (
        f"You are on {host}. In the path: {box}. Captures are running.\n"
        f"Hosts: {names}\n"
        f"Try: {_first_try(step)}\n"
        f"On another host: on {server} ss -tn     Leave: exit"
    )


def _first_try(step: Step | None) -> str:
    """Something to type that does what the scenario's first step does."""
    if step is None:
        return "ping dns.example"
    port = step.port or CLIENTS[step.client].port
    match port:
        case 80 | 443:
            name = step.ask.get("host", step.to)
            at = "" if name == step.to else f" --connect-to ::{step.to}:"
            return f"curl -v{at} {'https' if port == 443 else 'http'}://{name}/"
        case 25 | 587:
            return f"openssl s_client -connect {step.to}:{port} -starttls smtp"
        case 465 | 993 | 995:
            return f"openssl s_client -connect {step.to}:{port}"
        case 53:
            return f"dig @{step.to} {step.ask.get('host', 'web.example')}"
        case _:
            return f"ping {step.to}"
