"""curl as a mail sender: strict STARTTLS, opportunistic STARTTLS, TLS from the first byte.

Source: curl(1).
"""

from __future__ import annotations

from lab.clients.base import ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, login, run_curl, used_tls
from lab.clients.senders import senders
from lab.host import Host

_SCHEME_AND_OPTIONS = {
    "submission": ("smtp", ["--ssl-reqd"]),
    "opportunistic": ("smtp", ["--ssl"]),
    "implicit": ("smtps", []),
}


def run(host: Host, target: Target, *, mode: str, port: int) -> ClientResult:
    """Send the target's mail. mode: submission | opportunistic | implicit."""
    scheme, options = _SCHEME_AND_OPTIONS[mode]
    url = f"{scheme}://{target.server_name}:{target.port or port}/"
    options = [*options, *login(target), "--mail-from", target.sender, "--mail-rcpt", target.recipient]
    workplace = Workplace.make(target, f"curl-{mode}")
    options += ["--upload-file", str(workplace.write("mail.eml", target.mail()))]
    done, version = run_curl(host, target, workplace, url, options)
    success = Outcome.DELIVERED if used_tls(done) else Outcome.CLEAR_TEXT
    return done.result(classify(done, success), version)


CLIENTS = senders("curl", run)
