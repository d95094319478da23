"""The web server: nginx on ports 80 and 443 with one page, a folder `/private/` that nobody may see
(403), and `/login`, which welcomes whatever is posted to it.

It runs as one process without workers: changing the user, which workers do, is impossible in a single-id
sandbox.

Source: nginx's documentation of its core, http and ssl modules.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.host import Host
from lab.services.base import Port, Service, find_program, start_process
from lab.services.pki import Certificate

HTTP_PORT, HTTPS_PORT = 80, 443

_CONFIGURATION = """\
user root root;
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
events {{}}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type text/html;
    server_tokens off;
    server {{
        listen {http};
        listen [::]:{http} ipv6only=on;
        listen {https} ssl;
        listen [::]:{https} ssl ipv6only=on;
        server_name {server_name};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        root {directory}/pages;
        location /private/ {{ deny all; }}
        location = /login {{ return 200 "Welcome.\n"; }}
    }}
}}
"""


def start(
    host: Host, directory: Path, *, server_name: str, certificate: Certificate, page_bytes: int = 2000
) -> Service:
    """Serve `/`, a page of exactly `page_bytes` bytes."""
    program = find_program("nginx", package="nginx")
    pages = directory / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "index.html").write_bytes(page(server_name, page_bytes))
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            directory=directory,
            http=HTTP_PORT,
            https=HTTPS_PORT,
            server_name=server_name,
            chain=certificate.chain,
            key=certificate.key,
        )
    )
    log = directory / "error.log"
    argv = [program, "-p", str(directory), "-c", str(configuration), "-e", str(log)]
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {
        "program": program,
        "version": version(program),
        "server_name": server_name,
        "page_bytes": page_bytes,
    }
    return Service("web", directory, [process], (Port(HTTP_PORT), Port(HTTPS_PORT)), log, facts)


def page(server_name: str, size_bytes: int) -> bytes:
    """A page of exactly `size_bytes` bytes that says whose it is."""
    begin = f"<!DOCTYPE html><title>{server_name}</title><p>A page of {server_name}.\n".encode()
    line = b"All the same words again, to fill the page.\n"
    return (begin + line * (size_bytes // len(line) + 1))[:size_bytes]


def version(program: str) -> str:
    """What `nginx -v` says, such as `nginx/1.22.1`."""
    text = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return text.partition(": ")[2].strip()
