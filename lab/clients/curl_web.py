"""curl as a web client: fetches a page by HTTP or HTTPS.

Source: curl(1).
"""

from __future__ import annotations

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, run_curl
from lab.host import Host

HTTP_PORT, HTTPS_PORT = 80, 443


def run(host: Host, target: Target, *, scheme: str, port: int) -> ClientResult:
    """Fetch the page at the target's path; it is kept as `page` in the client's folder. scheme: http | https."""
    url = f"{scheme}://{target.server_name}:{target.port or port}{target.path}"
    workplace = Workplace.make(target, f"curl-{scheme}")
    options = ["--fail", "--output", str(workplace.directory / "page")]
    done, version = run_curl(host, target, workplace, url, options)
    return done.result(classify(done, Outcome.FETCHED), version)


def _client(name: str, scheme: str, port: int) -> Client:
    return Client(name, port, lambda host, target: run(host, target, scheme=scheme, port=port))


CLIENTS = (_client("curl-http", "http", HTTP_PORT), _client("curl-https", "https", HTTPS_PORT))
