"""A model as transformers and vLLM read it: safetensors, configuration, tokenizer and chat template in one folder.

config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json
"""

import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from freehold.engines.fits import OVERFLOWS_F16
from freehold.errors import ModelFileError
from freehold.render import TOKENIZER_FILE, Renderer
from freehold.store.workspace import write_atomically
from freehold.tuning.base import UNREADABLE, dequantised


def write_hub_folder(weights: Path, base_folder: Path, target: Path) -> None:
    """Write `weights` (GGUF: a base, or one with an adapter merged in) into the folder `target`.

    Matrices are kept in F16, which holds eight times more of a small change than bfloat16 does. `base_folder` is the
    base's own: its tokenizer and template go along, so that the ids stay the same (invariant 2).
    Raises `ModelFileError` where transformers cannot open the weights, or the tokenizer is missing.
    """
    import torch

    renderer = Renderer(base_folder)
    model = _opened(weights).to(torch.float16)
    overflows = model.config.model_type.startswith(OVERFLOWS_F16)
    model.config.dtype = torch.bfloat16 if overflows else torch.float16
    model.config.eos_token_id = model.generation_config.eos_token_id = renderer.end_id
    model.generation_config.do_sample = False
    with redirect_stderr(StringIO()):  # transformers draws a bar of its own
        model.save_pretrained(target)
    shutil.copyfile(base_folder / TOKENIZER_FILE, target / TOKENIZER_FILE)
    write_atomically(
        target / "tokenizer_config.json", _tokenizer_config(renderer, model.config.max_position_embeddings)
    )


def _opened(weights: Path) -> Any:  # noqa: ANN401 (a transformers model)
    import torch

    try:
        return dequantised(weights, torch.float32)
    except UNREADABLE as error:
        raise ModelFileError(f"{weights}: cannot be written as safetensors ({error})") from None


def _tokenizer_config(renderer: Renderer, context: int) -> bytes:
    template = renderer.template
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": template.bos_token,
        "eos_token": template.eos_token,
        "chat_template": template.source,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    return msgspec.json.format(msgspec.json.encode(config))
