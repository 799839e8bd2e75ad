"""What only the engines' tests need."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2_safetensors(smollm2_folder: Path) -> Path:
    """The real small base as transformers and vLLM read it: written once beside the pulled one."""
    folder = smollm2_folder.parent.parent / "safetensors"
    if not (folder / "tokenizer_config.json").is_file():
        import torch
        from transformers import PreTrainedTokenizerFast

        from freehold.tuning.base import load_base

        load_base(smollm2_folder).to(torch.bfloat16).save_pretrained(folder)
        tokenizer = smollm2_folder / "tokenizer.json"
        fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), bos_token="<|im_start|>", eos_token="<|im_end|>")
        fast.save_pretrained(folder)
    return folder
