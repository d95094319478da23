"""The files that users name: whether there is one; if not, what there is instead, in words.

Shared by the loaders of profiles and of scenarios. Must never: let a path of the user's raise, or wait for what never
ends (a FIFO, a terminal, /dev/zero).
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from middlebox.yamlsource import Problem, SourceError

MAX_SHOWN = 120
"""Characters of a path that are shown in a message (chosen)."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_TROUBLES = {
    errno.ENAMETOOLONG: ("whose name is too long for any file", "shorten it"),
    errno.ELOOP: ("a symbolic link that leads back to itself", "look where it leads: ls -l"),
    errno.EACCES: ("in a folder that may not be looked into", "check its permissions"),
}


def is_file(path: Path) -> bool:
    """Whether there is a plain file, or a link to one; whatever else is the matter, there is none."""
    return stat.S_ISREG(_mode(path)[0])


def is_something(path: Path) -> bool:
    """Whether anything at all has this name, or could not have it."""
    return _mode(path)[1] not in (errno.ENOENT, errno.ENOTDIR) or _is_link(path)


def no_file(path: Path, hint: str = "check the path") -> str:
    """`expected a file, got 'x', a directory; name a file`. hint: the next step where there is nothing at all."""
    mode, trouble = _mode(path)
    what, then = "where there is none", hint
    if trouble in _TROUBLES:
        what, then = _TROUBLES[trouble]
    elif trouble and _is_link(path):
        what, then = "a symbolic link to nothing", "look where it leads: ls -l"
    elif not trouble:
        what, then = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no file"), "name a file"
    return f"expected a file, got {shown_path(str(path))}, {what}; {then}"


def shown_path(path: str) -> str:
    """As messages show it."""
    return repr(path if len(path) <= MAX_SHOWN else f"{path[: MAX_SHOWN - 3]}...")


def read_source(path: Path, error: type[SourceError]) -> bytes:
    """What is in a file. `error`: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as bad:
        text = f"expected a file that can be read, got: {bad.strerror}; check its permissions"
        raise error([Problem(str(path), 0, 0, text)]) from None


def _mode(path: Path) -> tuple[int, int]:
    """(st_mode, 0), or (0, errno)."""
    try:
        return path.stat().st_mode, 0
    except OSError as bad:
        return 0, bad.errno or errno.ENOENT
    except ValueError:  # a zero byte, which YAML can write
        return 0, errno.ENOENT


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
