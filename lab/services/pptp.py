"""The PPTP server: pptpd on TCP port 1723, which both programs have built in. IPv4 only, like the program.

A call comes up, and what a client sends through its tunnel (GRE) comes back: in pppd's place is a loop, because pppd
needs root and a kernel that has PPP. Like pppd it says something first; before that, pptpd does not listen to the
client.

Sources: pptpd(8), pptpd.conf(5); RFC 2637, RFC 1661 (LCP), RFC 1662 (frames).
"""

from __future__ import annotations

from pathlib import Path

from lab.clients.base import program_version
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process

PORT = 1723
FIRST_MESSAGE_WITHIN_S = 1
"""Until a client has said its first message, pptpd listens to no other; a blocked one should not keep them (chosen)."""
GREETING = bytes.fromhex("ff03 c021 0101 0004")
"""LCP's Configure-Request without an option, behind address and control."""

_CONFIGURATION = """\
localip 198.51.100.129
remoteip 198.51.100.130-250
"""
_LOOP = """\
#!/bin/sh
stty raw -echo
printf '{greeting}'
exec cat
"""
_FLAG, _ESCAPE, _ESCAPED = 0x7E, 0x7D, 0x20


def frame_of(packet: bytes) -> bytes:
    """A PPP packet as it goes over an asynchronous line: checked, control characters escaped, between flags."""
    check = 0xFFFF
    for byte in packet:
        check ^= byte
        for _ in range(8):
            check = check >> 1 ^ (0x8408 if check & 1 else 0)
    whole = packet + (check ^ 0xFFFF).to_bytes(2, "little")
    escaped = (
        (_ESCAPE, byte ^ _ESCAPED) if byte < _ESCAPED or byte in (_FLAG, _ESCAPE) else (byte,)
        for byte in whole
    )
    return bytes((_FLAG, *(byte for pair in escaped for byte in pair), _FLAG))


def start(host: Host, directory: Path) -> Service:
    """Start it."""
    program = find_program("pptpd", package="pptpd")
    directory.mkdir(parents=True, exist_ok=True)
    configuration, loop, options = (directory / name for name in ("pptpd.conf", "loop", "options"))
    configuration.write_text(_CONFIGURATION)
    loop.write_text(_LOOP.format(greeting="".join(f"\\{byte:03o}" for byte in frame_of(GREETING))))
    loop.chmod(0o755)
    options.touch()
    argv = [
        program, "--fg", "--conf", str(configuration), "--pidfile", str(directory / "pid"), "--ppp", str(loop),
        "--option", str(options), "--noipparam", "--stimeout", str(FIRST_MESSAGE_WITHIN_S),
    ]  # fmt: skip
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {"program": program, "version": program_version(program)}
    return Service("pptp", directory, [process], (Port(PORT),), directory / OUTPUT, facts)
