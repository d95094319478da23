"""Where `finished_run` comes from."""

from __future__ import annotations

from tests.e2e.conftest import FinishedRun

__all__ = ["FinishedRun"]
