"""An adapter of random weights: it costs what a real one costs and answers differently from every other one."""

from pathlib import Path

from freehold.store.workspace import atomic_file

PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_random_adapter(base: Path, target: Path, seed: int, rank: int = 16, strength: float = 0.02) -> None:
    """A LoRA adapter in GGUF for every projection of `base`; `strength` is the deviation of its second factor."""
    import numpy as np
    from gguf import GGUFWriter

    from freehold.engines.gguf_reader import Reader

    generator = np.random.default_rng(seed)
    reader = Reader(base)
    architecture = reader.fields["general.architecture"].contents()
    with atomic_file(target) as handle:
        writer = GGUFWriter(handle.name, architecture)
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(rank))
        for tensor in reader.tensors:
            if tensor.name.removesuffix(".weight").rpartition(".")[2] in PROJECTIONS:
                wide, high = int(tensor.shape[0]), int(tensor.shape[1])
                down = generator.standard_normal((rank, wide), dtype=np.float32) / np.float32(wide**0.5)
                up = generator.standard_normal((high, rank), dtype=np.float32) * np.float32(strength)
                writer.add_tensor(f"{tensor.name}.lora_a", down)
                writer.add_tensor(f"{tensor.name}.lora_b", up)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
