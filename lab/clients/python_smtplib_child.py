"""Sends one mail by smtplib, the way its documentation shows it. Started by python_smtplib.py on a host.

Usage: python_smtplib_child.py SETTINGS.json

The dialogue goes to stderr (smtplib's own debug output); the last line on stdout is `report: ` and a JSON
object (see `classify` in python_smtplib.py). Exit status 0 if the server took the mail, 1 if not. Standard
library only.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import sys
import traceback
from pathlib import Path
from typing import Any


def send(settings: dict[str, Any], report: dict[str, Any]) -> None:
    """Send the mail; `report` says how far it came even when an exception ends it."""
    context = ssl.create_default_context(cafile=settings["ca_file"])
    address = (settings["server"], settings["port"])
    report["stage"] = "connect"
    if settings["mode"] == "implicit":
        server: smtplib.SMTP = smtplib.SMTP_SSL(*address, context=context)
    else:
        server = smtplib.SMTP(*address)
    report["tls"] = settings["mode"] == "implicit"
    report["stage"] = "ehlo"
    server.ehlo_or_helo_if_needed()
    if settings["mode"] == "submission" or (
        settings["mode"] == "opportunistic" and server.has_extn("starttls")
    ):
        report["stage"] = "starttls"
        server.starttls(context=context)
        report["tls"] = True
        server.ehlo()
    if settings["password"] is not None:
        report["stage"] = "login"
        server.login(settings["user"], settings["password"])
    report["stage"] = "send"
    server.sendmail(settings["sender"], [settings["recipient"]], settings["message"].encode("latin-1"))
    report["accepted"] = True
    report["stage"] = "quit"
    server.quit()


def describe(error: BaseException, report: dict[str, Any]) -> None:
    """Classes (with their bases) and error numbers of an exception and of all it came from."""
    link: BaseException | None = error
    while link is not None:
        report["classes"] += [base.__name__ for base in type(link).__mro__]
        if isinstance(link, OSError) and link.errno is not None and not isinstance(link, ssl.SSLError):
            report["errnos"].append(link.errno)
        link = link.__cause__ or link.__context__


def main() -> int:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if settings["family"]:
        # smtplib cannot be told an IP version; create_connection() finds this function by its module's name.
        wanted = {4: socket.AF_INET, 6: socket.AF_INET6}[settings["family"]]
        resolve = socket.getaddrinfo
        socket.getaddrinfo = lambda host, port, *_, **__: resolve(host, port, wanted, socket.SOCK_STREAM)
    # Of the class, because the constructor already talks to the server.
    smtplib.SMTP.debuglevel = 1
    report: dict[str, Any] = {"accepted": False, "tls": False, "stage": "start", "classes": [], "errnos": []}
    try:
        send(settings, report)
    except Exception as error:  # noqa: BLE001 - whatever ends it is the result
        traceback.print_exc()
        describe(error, report)
    print("report: " + json.dumps(report), flush=True)
    return 0 if report["accepted"] else 1


if __name__ == "__main__":
    sys.exit(main())
