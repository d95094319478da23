"""The one error of this room: the machine cannot do what the lab needs, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """This machine is not ready. message: what is missing, one line; fix: the next step, often a command.

    read: a file or folder that says more, so that it has to stay there; then the next step is to read it.
    """

    def __init__(self, message: str, fix: str = "", *, read: Path | None = None) -> None:
        self.message = message
        self.fix = fix if read is None else f"read {read}"
        self.read = read
        super().__init__(f"{message}; {self.fix}")
