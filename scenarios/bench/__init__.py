"""What the box costs, always as a ratio within one run: baseline, box, baseline, box, ... on the same network.

Absolute figures of a shared machine mean nothing; ratios of neighbours in time do. Never part of the tests.
"""
