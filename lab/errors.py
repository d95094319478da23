"""The one error of this room: the machine cannot do what the lab needs, and what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """This machine is not ready. message: what is missing, one line; fix: the next step, often a command."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}")
        self.message = message
        self.fix = fix
