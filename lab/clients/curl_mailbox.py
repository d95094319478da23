"""curl as a reader of mail: fetches the first mail by IMAP or POP3, with STARTTLS (STLS) or TLS from the first byte.

Source: curl(1); RFC 5092 (IMAP URLs), RFC 2384 (POP URLs), RFC 2595 (STLS).
"""

from __future__ import annotations

from functools import partial

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, login, run_curl
from lab.host import Host

_FIRST_MAIL = {"imap": "INBOX;MAILINDEX=1", "imaps": "INBOX;MAILINDEX=1", "pop3": "1", "pop3s": "1"}


def run(host: Host, target: Target, *, scheme: str, port: int) -> ClientResult:
    """Fetch a mail. scheme: imap, pop3 (strict: TLS or nothing) | imaps, pop3s."""
    url = f"{scheme}://{target.server_name}:{target.port or port}/{_FIRST_MAIL[scheme]}"
    options = [*login(target), *([] if scheme.endswith("s") else ["--ssl-reqd"])]
    done, version = run_curl(host, target, Workplace.make(target, f"curl-{scheme}"), url, options)
    # Exit code 0 without a mail is what curl makes of some answers it does not understand.
    success = Outcome.FETCHED if done.stdout else Outcome.FAILED
    return done.result(classify(done, success), version)


CLIENTS = tuple(
    Client(name, port, partial(run, scheme=scheme, port=port))
    for name, scheme, port in (
        ("curl-imap-starttls", "imap", 143),
        ("curl-imaps", "imaps", 993),
        ("curl-pop3-stls", "pop3", 110),
        ("curl-pop3s", "pop3s", 995),
    )
)
