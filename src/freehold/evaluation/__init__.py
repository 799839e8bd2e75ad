"""Scorers, judge, arena, benchmarks, statistics, parity, report."""
