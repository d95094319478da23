"""curl as a mail reader: fetches the first mail of an inbox, with STARTTLS or TLS from the first byte.

Source: curl(1); RFC 5092 (IMAP URLs).
"""

from __future__ import annotations

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, login, run_curl
from lab.host import Host

IMAP_PORT, IMAPS_PORT = 143, 993


def run(host: Host, target: Target, *, scheme: str, port: int) -> ClientResult:
    """Fetch a mail. scheme: imap (STARTTLS, strict) | imaps."""
    url = f"{scheme}://{target.server_name}:{target.port or port}/INBOX;MAILINDEX=1"
    options = [*login(target), *(["--ssl-reqd"] if scheme == "imap" else [])]
    done, version = run_curl(host, target, Workplace.make(target, f"curl-{scheme}"), url, options)
    # Exit code 0 without a mail is what curl makes of some answers it does not understand.
    success = Outcome.FETCHED if done.stdout else Outcome.FAILED
    return done.result(classify(done, success), version)


def _client(name: str, scheme: str, port: int) -> Client:
    return Client(name, port, lambda host, target: run(host, target, scheme=scheme, port=port))


CLIENTS = (_client("curl-imap-starttls", "imap", IMAP_PORT), _client("curl-imaps", "imaps", IMAPS_PORT))
