"""Faults: what may happen to a process, a server or a disk, and that nothing is lost by it."""
