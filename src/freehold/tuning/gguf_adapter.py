"""An adapter in llama.cpp's own format, computed from PEFT's.

llama.cpp stores the q and k projections of llama-shaped models with the halves of each head interleaved (its rotary
embedding pairs neighbours), so the rows of their B matrices are permuted likewise.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file
from freehold.tuning.lora import load_adapter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PERMUTED = ("llama",)


def write_gguf_adapter(folder: Path, base_weights: Path, target: Path) -> None:
    """Convert the PEFT adapter in `folder` for the base in `base_weights`; atomic."""
    from gguf import GGUFWriter

    from freehold.engines.gguf_reader import Reader

    tensors, scale = load_adapter(folder)
    rank = next(iter(tensors.values())).shape[0]
    facts = _Facts(Reader(base_weights))
    with atomic_file(target) as handle:
        writer = GGUFWriter(path=handle.name, arch=facts.architecture)
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", scale * rank)
        for name, tensor in sorted(tensors.items()):
            own, values = facts.translate(name, tensor.float().numpy())
            writer.add_tensor(own, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


class _Facts:
    """What the conversion needs to know of the base."""

    def __init__(self, reader: Any) -> None:  # noqa: ANN401 (a GGUFReader)
        self.architecture = str(reader.fields["general.architecture"].contents())
        self._heads = int(reader.fields[f"{self.architecture}.attention.head_count"].contents())
        found = reader.fields.get(f"{self.architecture}.attention.head_count_kv")
        self._key_heads = int(found.contents()) if found else self._heads

    def translate(self, name: str, values: "NDArray[Any]") -> "tuple[str, NDArray[Any]]":
        """PEFT's name and matrix → llama.cpp's."""
        import numpy

        parts = name.split(".")
        try:
            layer, projection = int(parts[parts.index("layers") + 1]), ".".join(parts[-4:-2])
            own, side = _NAMES[projection], parts[-2].lower()
        except (ValueError, KeyError, IndexError):
            raise ModelFileError(
                f"{name}: llama.cpp has no such layer; the adapter is of another architecture"
            ) from None
        if side == "lora_b" and self.architecture in _PERMUTED and own in ("attn_q", "attn_k"):
            values = _interleave(values, self._heads if own == "attn_q" else self._key_heads)
        return f"blk.{layer}.{own}.weight.{side}", numpy.ascontiguousarray(values, dtype=numpy.float32)


def _interleave(rows: "NDArray[Any]", heads: int) -> "NDArray[Any]":
    """Rows (heads · 2 · half, …) → each head's two halves interleaved."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
