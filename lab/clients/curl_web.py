"""curl as a web client: fetches a page by HTTP or HTTPS, from whatever host of whatever name.

Source: curl(1).
"""

from __future__ import annotations

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, run_curl
from lab.host import Host

HTTP_PORT, HTTPS_PORT = 80, 443


def run(host: Host, target: Target, *, scheme: str, port: int) -> ClientResult:
    """Fetch a page; it is kept as `page` in the client's folder. scheme: http | https.

    `target.ask`: `host`, the name to ask for (in the Host header and as SNI) at the target; `form`, whether to fill in
    the page's login form: user and password are posted.
    """
    name = target.ask.get("host", target.server_name)
    authority = name if (target.port or port) == port else f"{name}:{target.port}"
    workplace = Workplace.make(target, f"curl-{scheme}")
    options = ["--fail", "--output", str(workplace.directory / "page")]
    if name != target.server_name:
        options += ["--connect-to", f"::{target.server_name}:{target.port or port}"]
    if target.ask.get("form"):
        options += [
            "--data-urlencode",
            f"user={target.user}",
            "--data-urlencode",
            f"password={target.password}",
        ]
    url = f"{scheme}://{authority}{target.path}"
    done, version = run_curl(host, target, workplace, url, options)
    return done.result(classify(done, Outcome.FETCHED), version)


def _client(name: str, scheme: str, port: int) -> Client:
    takes = frozenset({"form", "host"})
    return Client(name, port, lambda host, target: run(host, target, scheme=scheme, port=port), takes)


CLIENTS = (_client("curl-http", "http", HTTP_PORT), _client("curl-https", "https", HTTPS_PORT))
