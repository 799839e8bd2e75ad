"""A base opened for training: weights dequantised once, in bf16 where the machine computes in it."""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from freehold.errors import ModelFileError
from freehold.store.layout import WEIGHTS_FILE

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError)  # what transformers raises on a file that it cannot open


def device() -> str:
    """Where training runs: a GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(on: str) -> Any:  # noqa: ANN401 (a torch dtype; torch is imported late)
    """bfloat16 where the machine multiplies in it, else float32."""
    import torch

    if on == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported() and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def load_base(folder: Path, exact: bool = False) -> Any:  # noqa: ANN401 (a transformers model)
    """The base's model, ready to carry an adapter, in float32 where `exact`; raises `ModelFileError` on a file that is
    not one.
    """
    import torch

    on = device()
    attention = "eager" if on == "cpu" else "sdpa"
    try:
        model = dequantised(
            folder / WEIGHTS_FILE, torch.float32 if exact else precision(on), attn_implementation=attention
        )
    except UNREADABLE as error:
        raise ModelFileError(f"{folder / WEIGHTS_FILE}: cannot be opened for training ({error}); pull again") from None
    return model.to(on)


def dequantised(weights: Path, dtype: Any, **options: str) -> Any:  # noqa: ANN401 (a torch dtype → a transformers model)
    """A GGUF file as transformers' model, every matrix unpacked; raises one of `UNREADABLE` where it cannot be read."""
    from transformers import AutoModelForCausalLM, GgufConfig
    from transformers.utils import logging

    from freehold.engines.gguf_reader import quick_gguf

    logging.disable_progress_bar()
    with quick_gguf(), redirect_stderr(StringIO()):  # transformers draws a bar of its own while it dequantises
        return AutoModelForCausalLM.from_pretrained(
            weights.parent,
            gguf_file=weights.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=dtype,
            **options,
        )
