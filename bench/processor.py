"""The processor time of what a benchmark started; unlike seconds, little of it is the machine's other work."""

import psutil


def children_seconds() -> float:
    """What this process's children, and theirs, took so far."""
    times = [each.cpu_times() for each in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)
