"""What tuning asks of a machine, and what the machine could do: the limit that `tuning.py` holds both sides against."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from freehold.tuning.base import device, load_base, precision
from freehold.tuning.batches import Tokens

SIZES = (512, 1024, 2048)  # of square matrices; the machine's rate is taken with the quickest of them


def flops(folder: Path, batches: Sequence[Sequence[Tokens]], prefix: int, rank: int) -> float:
    """Floating-point operations that the recipe itself asks for: no padding, the shared prefix once a step.

    Forward and back to the inputs, 4 for each frozen weight and token that is read; 6 for each weight of an adapter;
    the output head at the answers' tokens, 4; attention, 12 for each pair of tokens and width (two products, and four
    on the way back). What follows the last layer's attention is asked for at the answers' tokens only.
    """
    config = load_base(folder).config
    width, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    shapes = _shapes(config, head)
    products = [4 * outputs * inputs + 6 * rank * (outputs + inputs) for outputs, inputs in shapes]  # a token
    total = 0.0
    for batch in batches:
        tokens = prefix + sum(each.length for each in batch)
        pairs = prefix**2 / 2 + sum(each.length * (prefix + each.length / 2) for each in batch)
        answers = sum(len(each.answer) for each in batch)
        layer = tokens * sum(products) + 12 * pairs * heads * head
        spared = (tokens - answers) * sum(products[3:])
        total += config.num_hidden_layers * layer - spared + 4 * answers * config.vocab_size * width
    return total


def _shapes(config: Any, head: int) -> list[tuple[int, int]]:  # noqa: ANN401 (a transformers configuration)
    """Outputs and inputs of a layer's seven projections, those before its attention first."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    return [
        (queries, width),
        (keys, width),
        (keys, width),
        (width, queries),
        (inner, width),
        (inner, width),
        (width, inner),
    ]


def matmul_rate(size: int, seconds: float = 0.3) -> float:
    """Matrix products of size × size in the precision of both sides, operations a second."""
    left, right = (torch.randn(size, size, dtype=precision(device())) for _ in range(2))
    left @ right
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        left @ right
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - began)
