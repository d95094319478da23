"""curl as a mail reader by POP3: fetches the first mail of a mailbox, with STLS or TLS from the first byte.

Source: curl(1); RFC 2384 (POP URLs), RFC 2595 (STLS).
"""

from __future__ import annotations

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, login, run_curl
from lab.host import Host

POP_PORT, POPS_PORT = 110, 995


def run(host: Host, target: Target, *, scheme: str, port: int) -> ClientResult:
    """Fetch a mail. scheme: pop3 (STLS, strict) | pop3s."""
    url = f"{scheme}://{target.server_name}:{target.port or port}/1"
    options = [*login(target), *(["--ssl-reqd"] if scheme == "pop3" else [])]
    done, version = run_curl(host, target, Workplace.make(target, f"curl-{scheme}"), url, options)
    success = Outcome.FETCHED if done.stdout else Outcome.FAILED
    return done.result(classify(done, success), version)


def _client(name: str, scheme: str, port: int) -> Client:
    return Client(name, port, lambda host, target: run(host, target, scheme=scheme, port=port))


CLIENTS = (_client("curl-pop3-stls", "pop3", POP_PORT), _client("curl-pop3s", "pop3s", POPS_PORT))
