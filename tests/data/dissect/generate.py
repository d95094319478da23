"""Writes the dialogue-*.pcap captures of this folder: conversations that no program at hand would hold.

Run it in this folder with scapy installed. The same dialogues always give the same files.
"""

from __future__ import annotations

from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

CLIENT, SERVER = "192.0.2.11", "203.0.113.25"


def vector(size: int, content: bytes) -> bytes:
    """A TLS vector: `size` bytes of length, then the content."""
    return len(content).to_bytes(size, "big") + content


def client_hello(name: str) -> bytes:
    server_name = b"\x00\x00" + vector(2, vector(2, b"\x00" + vector(2, name.encode())))
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01\x00\xff") + vector(1, b"\x00")
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body + vector(2, server_name)))


def write(name: str, port: int, dialogue: list[tuple[str, bytes]]) -> None:
    """One connection, one segment an entry. C: the client sends, S: the server."""
    seq = {"C": 1000, "S": 9000}
    packets = []

    def send(sender: str, flags: str, payload: bytes = b"") -> None:
        to_server = sender == "C"
        ip = IP(src=CLIENT, dst=SERVER) if to_server else IP(src=SERVER, dst=CLIENT)
        ports = {"sport": 40000, "dport": port} if to_server else {"sport": port, "dport": 40000}
        ack = 0 if flags == "S" else seq["S" if to_server else "C"]
        tcp = TCP(**ports, flags=flags, seq=seq[sender], ack=ack)
        packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip / tcp / Raw(payload)
        packet.time = 1_700_000_000 + len(packets) / 100
        packets.append(packet)
        seq[sender] += len(payload) + ("S" in flags)

    send("C", "S")
    send("S", "SA")
    send("C", "A")
    for sender, payload in dialogue:
        send(sender, "PA", payload)
    wrpcap(str(Path(__file__).parent / f"dialogue-{name}.pcap"), packets)


SMTP_HELLO = [
    ("S", b"220 mail.example ESMTP\r\n"),
    ("C", b"EHLO sim1.example\r\n"),
    ("S", b"250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
]


def smtp_pipelining() -> None:
    write(
        "smtp-pipelining",
        587,
        [
            *SMTP_HELLO,
            ("C", b"MAIL FROM:<a@mail.example>\r\nRCPT TO:<b@mail.example>\r\nDATA\r\n"),
            ("S", b"250 ok\r\n250 ok\r\n354 go\r\n"),
            ("C", b"Subject: x\r\n\r\nSTARTTLS\r\n..\r\n.\r\nNOOP\r\n"),
            ("S", b"250 queued\r\n250 ok\r\n"),
            ("C", b"NOOP\r\nSTAR"),
            ("C", b"TTLS\r\n"),
            ("S", b"250 ok\r\n502 no\r\n"),
            ("C", b"NO"),
            ("C", b"OP\r\n"),
            ("S", b"25"),
            ("S", b"0 ok\r\n"),
        ],
    )


def smtp_auth() -> None:
    write(
        "smtp-auth",
        587,
        [
            *SMTP_HELLO,
            ("C", b"AUTH PLAIN AGFsaWNlAHMzY3IzdC1QVw==\r\n"),
            ("S", b"535 no\r\n"),
            ("C", b"AUTH PLAIN\r\n"),
            ("S", b"334 \r\n"),
            ("C", b"AGFsaWNlAHMzY3IzdC1QVw==\r\n"),
            ("S", b"535 no\r\n"),
            ("C", b"AUTH LOGIN YWxpY2U=\r\n"),
            ("S", b"334 UGFzc3dvcmQ6\r\n"),
            ("C", b"czNjcjN0LVBX\r\n"),
            ("S", b"535 no\r\n"),
            ("C", b"AUTH CRAM-MD5\r\n"),
            ("S", b"334 PDEyMzRAbWFpbC5leGFtcGxlPg==\r\n"),
            ("C", b"YWxpY2UgMDEyMzQ1Njc4OWFiY2RlZg==\r\n"),
            ("S", b"235 yes\r\n"),
            ("C", b"NOOP\r\n"),
            ("S", b"250 ok\r\n"),
        ],
    )


def smtp_bdat() -> None:
    write(
        "smtp-bdat",
        25,
        [
            *SMTP_HELLO,
            ("C", b"MAIL FROM:<>\r\n"),
            ("S", b"250 ok\r\n"),
            ("C", b"BDAT 13\r\nSTARTTLS\r\nabc"),
            ("S", b"250 ok\r\n"),
            ("C", b"BDAT 10 LAST\r\n"),
            ("C", b"STARTTLS\r\n"),
            ("S", b"250 ok\r\n"),
            ("C", b"QUIT\r\n"),
            ("S", b"221 bye\r\n"),
        ],
    )


def smtp_starttls() -> None:
    write(
        "smtp-starttls-injection",
        587,
        [
            *SMTP_HELLO,
            ("C", b"STARTTLS\r\nRSET\r\n"),
            ("S", b"220 go\r\n250 injected\r\n"),
            ("C", client_hello("mail.example")),
        ],
    )
    write("smtp-starttls-impatient", 587, [*SMTP_HELLO, ("C", b"STARTTLS\r\n" + client_hello("mail.example"))])


def imap() -> None:
    write(
        "imap-literals",
        143,
        [
            ("S", b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
            ("C", b"a1 LOGIN {5+}\r\nalice {9+}\r\ns3cr3t-PW\r\n"),
            ("S", b"a1 OK LOGIN done {3}\r\n"),
            ("C", b"a2 APPEND INBOX {13}\r\n"),
            ("S", b"+ go\r\n"),
            ("C", b"a9 STARTTLS\r\n\r\n"),
            ("S", b"a2 OK\r\n"),
            ("C", b"a3 APPEND NOSUCH {13}\r\n"),
            ("S", b"a3 NO mailbox\r\n"),
            ("C", b"a4 UID FETCH 1 BODY[]\r\n"),
            ("S", b"* 1 FETCH (BODY[] {13}\r\na1 STARTTLS\r\n UID 4)\r\na4 OK\r\n"),
            ("C", b"a5 IDLE\r\n"),
            ("S", b"+ idling\r\n"),
            ("C", b"DONE\r\n"),
            ("S", b"a5 OK\r\n"),
            ("C", b"a6 NOOP\r\na7 STAR"),
            ("C", b"TTLS\r\n"),
            ("S", b"a6 OK\r\na7 OK begin\r\n"),
            ("C", client_hello("mail.example")),
        ],
    )


def pop() -> None:
    write(
        "pop-pipelining",
        110,
        [
            ("S", b"+OK ready\r\n"),
            ("C", b"CAPA\r\n"),
            ("S", b"+OK list\r\nSTLS\r\nUSER\r\n.\r\n"),
            ("C", b"STAT\r\nLIST\r\n"),
            ("S", b"+OK 1 20\r\n+OK 1 message\r\n1 20\r\n.\r\n"),
            ("C", b"RETR 1\r\n"),
            ("S", b"+OK 30 octets\r\nSubject: x\r\n\r\n"),
            ("S", b"+OK is text\r\n.\r\n"),
            ("C", b"NOOP\r\nST"),
            ("C", b"LS\r\n"),
            ("S", b"+OK\r\n+OK begin\r\n"),
            ("C", client_hello("mail.example")),
        ],
    )


def pptp() -> None:
    def message(kind: int, body: bytes) -> bytes:
        return vector_including_itself(b"\x00\x01\x1a\x2b\x3c\x4d" + kind.to_bytes(2, "big") + b"\x00\x00" + body)

    def vector_including_itself(content: bytes) -> bytes:
        return (len(content) + 2).to_bytes(2, "big") + content

    names = b"client.example".ljust(64, b"\x00") + b"vendor".ljust(64, b"\x00")
    start = b"\x01\x00\x00\x00" + bytes.fromhex("00000003" "00000003" "0000" "0001") + names
    call = bytes.fromhex("0001" "0001" "00000960" "00989680" "00000003" "00000003" "0040" "0000" "0000" "0000") + bytes(128)
    write(
        "pptp",
        1723,
        [
            ("C", message(1, start)),
            ("S", message(2, b"\x01\x00\x01\x00" + start[4:])),
            ("C", message(7, call)),
            ("S", message(8, bytes.fromhex("0001" "0001" "01" "00" "0000" "05f5e100" "0040" "0000" "00000000"))),
            ("C", message(15, bytes.fromhex("0001" "0000" "ffffffff" "ffffffff")) + message(5, b"\x00\x00\x00\x01")),
            ("S", message(6, b"\x00\x00\x00\x01\x01\x00\x00\x00")),
        ],
    )


def bittorrent() -> None:
    def handshake(peer: bytes) -> bytes:
        return b"\x13BitTorrent protocol" + b"\x00\x00\x00\x00\x00\x10\x00\x05" + bytes(range(20)) + peer

    write(
        "bittorrent",
        51413,
        [
            ("C", handshake(b"-TR4000-abcdefghijkl")),
            ("S", handshake(b"-qB4500-mnopqrstuvwx")),
            ("C", b"\x00\x00\x00\x01\x02"),
            ("S", b"\x00\x00\x00\x01\x01"),
            ("C", b"\x00\x00\x00\x0d\x06" + bytes(12)),
        ],
    )


def socks() -> None:
    name = b"\x0bweb.example"
    write(
        "socks5-name",
        1080,
        [
            ("C", b"\x05\x02\x00\x02"),
            ("S", b"\x05\x02"),
            ("C", b"\x01\x05alice\x09s3cr3t-PW"),
            ("S", b"\x01\x00"),
            ("C", b"\x05\x01\x00\x03" + name + b"\x01\xbb"),
            ("S", b"\x05\x00\x00\x01\xcb\x00\x71\x50\x01\xbb"),
            ("C", client_hello("web.example")),
        ],
    )
    address = bytes.fromhex("20010db8000300000000000000000080")
    write(
        "socks5-ipv6",
        1080,
        [
            ("C", b"\x05\x01\x00"),
            ("S", b"\x05\x00"),
            ("C", b"\x05\x01\x00\x04" + address + b"\x00\x50"),
            ("S", b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
        ],
    )
    write(
        "socks4",
        1080,
        [("C", b"\x04\x01\x00\x50\xcb\x00\x71\x50alice\x00"), ("S", b"\x00\x5a\x00\x50\xcb\x00\x71\x50"), ("C", b"GET /")],
    )
    write(
        "socks4a",
        1080,
        [("C", b"\x04\x01\x00\x50\x00\x00\x00\x01alice\x00web.example\x00"), ("S", b"\x00\x5b\x00\x50\x00\x00\x00\x00")],
    )


def vpn_datagrams() -> None:
    """IKE and ESP on port 4500, a cookie reply of WireGuard, GRE with and without a key, ESP without UDP."""
    ends = {"C": IP(src=CLIENT, dst=SERVER), "S": IP(src=SERVER, dst=CLIENT)}
    packets = []

    def send(sender: str, layer: object) -> None:
        packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ends[sender] / layer
        packet.time = 1_700_000_000 + len(packets) / 100
        packets.append(packet)

    def udp(sender: str, port: int, data: bytes) -> None:
        ports = {"sport": 40000 + port, "dport": port} if sender == "C" else {"sport": port, "dport": 40000 + port}
        send(sender, UDP(**ports) / Raw(data))

    def ike(exchange: int, flags: int, body: bytes) -> bytes:
        head = bytes(range(1, 9)) + bytes(range(9, 17)) + bytes((46, 0x20, exchange, flags)) + b"\x00\x00\x00\x01"
        return b"\x00\x00\x00\x00" + head + (28 + len(body)).to_bytes(4, "big") + body

    encrypted = b"\x29\x00\x00\x24" + bytes(32)
    udp("C", 4500, ike(35, 0x08, encrypted))
    udp("S", 4500, ike(35, 0x20, encrypted))
    udp("C", 4500, b"\xff")
    udp("C", 4500, bytes.fromhex("c1c2c3c4" "00000001") + bytes(48))
    udp("S", 4500, bytes.fromhex("d1d2d3d4" "00000001") + bytes(48))
    udp("C", 15820, b"\x01\x00\x00\x00" + bytes(range(144)))
    udp("S", 15820, b"\x03\x00\x00\x00" + bytes(range(60)))
    for sender in ("C", "S"):
        send(sender, Raw(bytes.fromhex("3081880b" "00040007" "00000001" "00000001") + bytes.fromhex("c0210901")))
        packets[-1][IP].proto = 47
        send(sender, Raw(bytes.fromhex("a000880b" "12340000" "0000002a") + bytes.fromhex("c0210901")))
        packets[-1][IP].proto = 47
        send(sender, Raw(bytes.fromhex("0000880b") + bytes.fromhex("c0210901")))
        packets[-1][IP].proto = 47
        send(sender, Raw(bytes.fromhex("e1e2e3e4" "00000005") + bytes(40)))
        packets[-1][IP].proto = 50
    wrpcap(str(Path(__file__).parent / "dialogue-vpn-datagrams.pcap"), packets)


if __name__ == "__main__":
    smtp_pipelining()
    smtp_auth()
    smtp_bdat()
    smtp_starttls()
    imap()
    pop()
    pptp()
    bittorrent()
    socks()
    vpn_datagrams()
