"""A mail server that misbehaves on purpose, for tests of what client drivers make of it.

Usage: wicked_server.py PORT BEHAVIOUR [CHAIN KEY]; without CHAIN there is no STARTTLS on offer but AUTH

Behaviours, always at one exact moment of the dialogue:
  reset-on-connect     RST as soon as the connection is accepted
  close-on-connect     FIN as soon as the connection is accepted
  reset-on-starttls    RST in answer to the STARTTLS command
  reset-on-hello       RST in answer to the first TLS bytes, after STARTTLS or (without CHAIN) at once
  refuse-starttls      454 in answer to STARTTLS
  refuse-mail          550 in answer to MAIL
  refuse-connection    554 in place of the greeting
  silent               takes the connection and never says a word

It must stay free of anything but the standard library: it is started on a host of its own.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys

BEHAVIOUR_REPLIES = {
    "refuse-starttls": (b"STARTTLS", b"454 4.7.0 TLS not available\r\n"),
    "refuse-mail": (b"MAIL", b"550 no\r\n"),
}


def reset(connection: socket.socket) -> None:
    """End a connection by RST: SO_LINGER with a time of 0, socket(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def talk(connection: socket.socket, behaviour: str, context: ssl.SSLContext | None) -> None:
    """One SMTP session, until the client leaves or the moment of the behaviour has come."""
    if behaviour == "reset-on-connect":
        return reset(connection)
    if behaviour == "close-on-connect":
        return connection.close()
    if behaviour == "silent":
        connection.recv(1000)
        return None
    if behaviour == "reset-on-hello" and context is None:
        # The whole hello is read first: a RST because of unread data would look the same but prove less.
        connection.recv(65536)
        return reset(connection)
    greeting = b"554 no service\r\n" if behaviour == "refuse-connection" else b"220 wicked.example ESMTP\r\n"
    connection.sendall(greeting)
    pending, waits_for_credentials = b"", False
    while pending or (pending := connection.recv(65536)):
        line, _, pending = pending.partition(b"\n")
        verb = line[:8].upper().rstrip()
        word, reply = BEHAVIOUR_REPLIES.get(behaviour, (b"NONE", b""))
        if verb.startswith(b"STARTTLS") and behaviour == "reset-on-starttls":
            return reset(connection)
        if verb.startswith(word):
            connection.sendall(reply)
        elif verb.startswith(b"EHLO"):
            offer = (
                b"AUTH PLAIN LOGIN" if isinstance(connection, ssl.SSLSocket) or not context else b"STARTTLS"
            )
            connection.sendall(b"250-wicked.example\r\n250 " + offer + b"\r\n")
        elif verb.startswith(b"STARTTLS"):
            connection.sendall(b"220 go on\r\n")
            if behaviour == "reset-on-hello":
                connection.recv(65536)
                return reset(connection)
            assert context
            connection, pending = context.wrap_socket(connection, server_side=True), b""
        elif verb.startswith(b"AUTH"):
            # Without the credentials in the command itself they come as the next line, which gets the 235.
            connection.sendall(b"235 welcome\r\n" if len(line.split()) > 2 else b"334 \r\n")
            waits_for_credentials = len(line.split()) == 2
        elif waits_for_credentials:
            connection.sendall(b"235 welcome\r\n")
            waits_for_credentials = False
        elif verb.startswith(b"DATA"):
            connection.sendall(b"354 go on\r\n")
            while not pending.endswith(b"\r\n.\r\n"):
                pending += connection.recv(65536)
            pending = b""
            connection.sendall(b"250 taken\r\n")
        elif verb.startswith(b"QUIT"):
            connection.sendall(b"221 bye\r\n")
            return connection.close()
        else:
            connection.sendall(b"250 ok\r\n")
    return None


def main() -> None:
    port, behaviour, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        connection, _ = listener.accept()
        try:
            talk(connection, behaviour, context)
        except OSError:
            # The client left first, which is its right.
            connection.close()


if __name__ == "__main__":
    main()
