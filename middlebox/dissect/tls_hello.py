"""ClientHello and ServerHello (RFC 8446 section 4.1): fields from one complete message.

Reads only what is wanted, stops at the first length that does not fit, and never raises. GREASE values (RFC 8701) are
values like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import unpack_from

from middlebox.dissect.base import Fields, FieldSpec, FieldType, add

CLIENT_HELLO, SERVER_HELLO = 1, 2

_SERVER_NAME, _SUPPORTED_GROUPS, _ALPN, _SUPPORTED_VERSIONS = 0, 10, 16, 43
_TLS13 = 0x0304
# "random" of a HelloRetryRequest: SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

HELLO_FIELDS: Mapping[str, FieldSpec] = {
    "tls.handshake.version": FieldSpec(
        FieldType.UINT, None, "version in the hello itself; 0x0303 for TLS 1.2 and 1.3"
    ),
    "tls.handshake.random": FieldSpec(FieldType.BYTES, None, "the 32 random bytes"),
    "tls.handshake.session_id_length": FieldSpec(FieldType.UINT, None, "bytes in the session ID"),
    "tls.handshake.session_id": FieldSpec(FieldType.BYTES, None, "session ID, if not empty"),
    "tls.handshake.cipher_suites_length": FieldSpec(
        FieldType.UINT, None, "bytes in the list of offered cipher suites"
    ),
    "tls.handshake.ciphersuite": FieldSpec(
        FieldType.UINT, None, "a cipher suite: all that are offered, or the chosen one"
    ),
    "tls.handshake.comp_method": FieldSpec(FieldType.UINT, None, "compression methods: 0 none"),
    "tls.handshake.extensions_length": FieldSpec(FieldType.UINT, None, "bytes in the list of extensions"),
    "tls.handshake.extension.type": FieldSpec(
        FieldType.UINT, None, "type of each extension, in order: 0 is SNI"
    ),
    "tls.handshake.extension.len": FieldSpec(FieldType.UINT, None, "bytes in each extension"),
    "tls.handshake.extensions_server_name": FieldSpec(FieldType.STRING, None, "the name asked for (SNI)"),
    "tls.handshake.extensions_alpn_str": FieldSpec(
        FieldType.STRING, None, "application protocol: h2, http/1.1, ..."
    ),
    "tls.handshake.extensions.supported_version": FieldSpec(FieldType.UINT, None, "0x0304 is TLS 1.3"),
    "tls.handshake.extensions_supported_group": FieldSpec(
        FieldType.UINT, None, "key exchange group: 29 is X25519"
    ),
}
_FIXED_FIELDS = frozenset(
    {
        "tls.handshake.version",
        "tls.handshake.random",
        "tls.handshake.session_id_length",
        "tls.handshake.session_id",
        "tls.handshake.cipher_suites_length",
        "tls.handshake.ciphersuite",
        "tls.handshake.comp_method",
        "tls.handshake.extensions_length",
    }
)

_ExtensionReader = Callable[[int, bytes, int, int, Fields], None]


class HelloReader:
    """Reads the wanted fields of a hello. Frozen after construction, shared by all flows."""

    __slots__ = ("_extension_len", "_extension_type", "_fixed", "_readers")

    def __init__(self, wanted: frozenset[str]) -> None:
        self._fixed = wanted & _FIXED_FIELDS
        self._extension_type = "tls.handshake.extension.type" in wanted
        self._extension_len = "tls.handshake.extension.len" in wanted
        self._readers = {kind: reader for kind, (name, reader) in _EXTENSIONS.items() if name in wanted}

    def read(self, hello: int, data: bytes, start: int, end: int, fields: Fields) -> bool:
        """Add the wanted fields of the hello in `data[start:end]` (message header not included).

        True if the TLS 1.3 version is in its supported_versions extension.
        """
        position = start + 34
        if position >= end:
            return False
        session_id_end = position + 1 + data[position]
        lists = session_id_end
        if hello == CLIENT_HELLO:
            if lists + 2 > end:
                return False
            suites_end = lists + 2 + (data[lists] << 8 | data[lists + 1])
            if suites_end >= end:
                return False
            extensions = suites_end + 1 + data[suites_end]
        else:
            suites_end = lists + 2
            extensions = suites_end + 1
        if extensions > end:
            return False
        if self._fixed:
            self._read_fixed(hello, data, start, session_id_end, suites_end, extensions, fields)
        if extensions + 2 > end:
            return False
        stop = extensions + 2 + (data[extensions] << 8 | data[extensions + 1])
        if "tls.handshake.extensions_length" in self._fixed:
            add(fields, "tls.handshake.extensions_length", stop - extensions - 2)
        return self._read_extensions(hello, data, extensions + 2, min(stop, end), fields)

    def _read_fixed(
        self,
        hello: int,
        data: bytes,
        start: int,
        session_id_end: int,
        suites_end: int,
        extensions: int,
        fields: Fields,
    ) -> None:
        """Add what stands before the extensions. All offsets were checked."""
        wanted = self._fixed
        if "tls.handshake.version" in wanted:
            add(fields, "tls.handshake.version", data[start] << 8 | data[start + 1])
        if "tls.handshake.random" in wanted:
            add(fields, "tls.handshake.random", data[start + 2 : start + 34])
        session_id = start + 35
        if "tls.handshake.session_id_length" in wanted:
            add(fields, "tls.handshake.session_id_length", data[start + 34])
        if "tls.handshake.session_id" in wanted and session_id_end > session_id:
            add(fields, "tls.handshake.session_id", data[session_id:session_id_end])
        suites, methods = session_id_end, suites_end
        if hello == CLIENT_HELLO:
            suites += 2
            methods += 1
            if "tls.handshake.cipher_suites_length" in wanted:
                add(fields, "tls.handshake.cipher_suites_length", suites_end - suites)
        if "tls.handshake.ciphersuite" in wanted:
            _add_numbers("tls.handshake.ciphersuite", data, suites, suites_end, fields)
        if "tls.handshake.comp_method" in wanted:
            for method in data[methods:extensions]:
                add(fields, "tls.handshake.comp_method", method)

    def _read_extensions(self, hello: int, data: bytes, position: int, end: int, fields: Fields) -> bool:
        tls13 = False
        while position + 4 <= end:
            kind, length = unpack_from(">HH", data, position)
            body = position + 4
            position = body + length
            if position > end:
                break
            if self._extension_type:
                add(fields, "tls.handshake.extension.type", kind)
            if self._extension_len:
                add(fields, "tls.handshake.extension.len", length)
            reader = self._readers.get(kind)
            if reader is not None:
                reader(hello, data, body, position, fields)
            if kind == _SUPPORTED_VERSIONS and hello == SERVER_HELLO and length == 2:
                tls13 = data[body] << 8 | data[body + 1] == _TLS13
        return tls13


def is_retry_request(data: bytes, start: int) -> bool:
    """Whether the ServerHello whose body starts here asks for a second ClientHello."""
    return data.startswith(_RETRY_RANDOM, start + 2)


def _add_numbers(name: str, data: bytes, start: int, end: int, fields: Fields) -> None:
    """Add the 16-bit numbers of `data[start:end]`; an odd byte at the end is not one."""
    count = (end - start) // 2
    if count > 0:
        fields.setdefault(name, []).extend(unpack_from(f">{count}H", data, start))


def _server_name(hello: int, data: bytes, start: int, end: int, fields: Fields) -> None:
    position = start + 2
    while position + 3 <= end:
        name = position + 3
        position = name + (data[name - 2] << 8 | data[name - 1])
        if position > end:
            return
        add(fields, "tls.handshake.extensions_server_name", data[name:position].decode("latin-1"))


def _alpn(hello: int, data: bytes, start: int, end: int, fields: Fields) -> None:
    position = start + 2
    while position < end:
        name = position + 1
        position = name + data[position]
        if position > end:
            return
        add(fields, "tls.handshake.extensions_alpn_str", data[name:position].decode("latin-1"))


def _supported_versions(hello: int, data: bytes, start: int, end: int, fields: Fields) -> None:
    first = start + 1 if hello == CLIENT_HELLO else start
    _add_numbers("tls.handshake.extensions.supported_version", data, first, end, fields)


def _supported_groups(hello: int, data: bytes, start: int, end: int, fields: Fields) -> None:
    _add_numbers("tls.handshake.extensions_supported_group", data, start + 2, end, fields)


_EXTENSIONS: Mapping[int, tuple[str, _ExtensionReader]] = {
    _SERVER_NAME: ("tls.handshake.extensions_server_name", _server_name),
    _SUPPORTED_GROUPS: ("tls.handshake.extensions_supported_group", _supported_groups),
    _ALPN: ("tls.handshake.extensions_alpn_str", _alpn),
    _SUPPORTED_VERSIONS: ("tls.handshake.extensions.supported_version", _supported_versions),
}
