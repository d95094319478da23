"""Errors of the command line itself; those of files and of the machine stand beside what raises them."""

from __future__ import annotations


class ArgumentError(Exception):
    """What was asked for does not exist or does not fit: `expected <x>, got <y!r>; <next step>`."""
