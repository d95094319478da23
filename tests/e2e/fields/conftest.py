"""Where `finished_run` comes from."""

from tests.e2e.conftest import FinishedRun

__all__ = ["FinishedRun"]
