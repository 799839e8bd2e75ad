"""A BERT-shaped embedding model (all-MiniLM, say) in llama.cpp's format, computed from its publisher's safetensors.

As llama.cpp's own converter does it: WordPiece tokens are written with a mark at the beginning of a word instead of one
inside it, matrices in F16, vectors in F32, and the mean over a text's tokens as its embedding.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray

_CONFIG, _WEIGHTS, _TOKENIZER, _POOLING = "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"
_LEFT_OUT = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")  # not used for embeddings


class _Config(msgspec.Struct, frozen=True):
    """The fields of config.json that are needed."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    layer_norm_eps: float


def write_bert_gguf(folder: Path, target: Path) -> None:
    """Convert the model in `folder` to `target`, whole or not at all.

    Raises `ModelFileError` where a file is missing or damaged, or the model is no BERT with mean pooling.
    """
    from gguf import GGUFWriter

    config = _config(folder)
    with atomic_file(target) as handle:
        writer = GGUFWriter(handle.name, "bert")
        _write_shape(writer, config)
        _write_vocabulary(writer, folder)
        for name, values in _tensors(folder, config.num_hidden_layers):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _config(folder: Path) -> _Config:
    try:
        config = msgspec.json.decode((folder / _CONFIG).read_bytes(), type=_Config)
        pooling = msgspec.json.decode((folder / _POOLING).read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelFileError(f"{folder}: is no whole embedding model ({error}); pull it again") from None
    if config.model_type != "bert" or not pooling.get("pooling_mode_mean_tokens"):
        raise ModelFileError(
            f"{folder}: is a {config.model_type} model; only BERT models that average their tokens become embedders "
            "(or add the publisher's GGUF: `freehold models add`)"
        )
    return config


def _write_shape(writer: "GGUFWriter", config: _Config) -> None:
    from gguf import LlamaFileType, PoolingType

    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)


def _write_vocabulary(writer: "GGUFWriter", folder: Path) -> None:
    from gguf import TokenType

    try:
        tokenizer = msgspec.json.decode((folder / _TOKENIZER).read_bytes())
        ids: dict[str, int] = tokenizer["model"]["vocab"]
        special = {each["content"]: each["id"] for each in tokenizer["added_tokens"]}
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise ModelFileError(f"{folder / _TOKENIZER}: is missing or damaged ({error}); pull it again") from None
    tokens = sorted(ids, key=lambda token: ids[token])
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list([token if token in special else _marked(token) for token in tokens])
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_unk_token_id(special["[UNK]"])
    writer.add_pad_token_id(special["[PAD]"])
    writer.add_mask_token_id(special["[MASK]"])
    writer.add_bos_token_id(special["[CLS]"])
    writer.add_sep_token_id(special["[SEP]"])
    writer.add_eos_token_id(special["[SEP]"])


def _marked(token: str) -> str:
    """WordPiece marks what goes on inside a word (`##ing`), llama.cpp what begins one."""
    return token[2:] if token.startswith("##") else f"▁{token}"


def _tensors(folder: Path, layers: int) -> "Iterator[tuple[str, NDArray[Any]]]":
    import numpy
    from gguf import MODEL_ARCH, get_tensor_name_map
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{folder / _WEIGHTS}: is missing or damaged ({error}); pull it again") from None
    names = get_tensor_name_map(MODEL_ARCH.BERT, layers)
    for name, values in tensors.items():
        if name in _LEFT_OUT:
            continue
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise ModelFileError(f"{folder / _WEIGHTS}: llama.cpp's BERT has no {name}")
        matrix = values.ndim > 1 and not own.startswith(("position_embd", "token_types"))
        yield own, values.astype(numpy.float16 if matrix else numpy.float32)
