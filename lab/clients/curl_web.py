"""curl as a web client: fetches a page by HTTP or HTTPS, from whatever host of whatever name.

Source: curl(1).
"""

from __future__ import annotations

from functools import partial

from lab.clients.base import Client, ClientResult, Outcome, Target, Workplace
from lab.clients.curl import classify, run_curl
from lab.host import Host


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


CLIENTS = tuple(
    Client(name, port, partial(run, scheme=scheme, port=port), frozenset({"form", "host"}))
    for name, scheme, port in (("curl-http", "http", 80), ("curl-https", "https", 443))
)
