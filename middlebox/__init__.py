"""The box: it watches packets, decides by rules, and forges.

A pure core (no clock, no dice, no socket) and three thin edges: the kernel queue (`nfqueue`), a capture file
(`replay`) and the command line (`__main__`).
"""
