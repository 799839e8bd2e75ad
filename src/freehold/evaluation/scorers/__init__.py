"""Scorers: each takes an answer and its reference and gives a score in 0..1, by a definition that is cited."""
