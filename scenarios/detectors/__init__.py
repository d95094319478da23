"""Detectors: programs that look at captures and say what was done. What they say is a finding, never the truth."""
