"""An adapter merged into its base, both as GGUF: W' = W + (alpha / rank) · B A (Hu et al. 2021, section 4.1).

A merged copy answers as fast as its base and needs no adapter; it is a file of its own, as large as the base. A process
that answers requests has it merged in one of its own: `python -m freehold.engines.merge BASE ADAPTER TARGET ENCODING`.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.engines.adapters import AdapterFiles
from freehold.engines.fits import check_adapters
from freehold.engines.quantise import ENCODINGS, Encoding, reencode
from freehold.errors import FreeholdError, ModelFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def merge(base: Path, adapter: Path, target: Path, encoding: Encoding) -> None:
    """Write `base` with `adapter` merged in, its matrices in `encoding`; whole or not at all.

    Merge into the base as it was pulled, not into a re-encoded copy: every encoding rounds, and one rounding is enough.
    Raises `ModelFileError` where either is no whole GGUF, or the adapter is of another base, shape or rank.
    """
    check_adapters(base, AdapterFiles({adapter.name: adapter}))
    reencode(base, target, encoding, _Lora(adapter).merged)


def merge_apart(base: Path, adapter: Path, target: Path, encoding: Encoding) -> None:
    """The same in a process of its own, at the lowest priority; raises `ModelFileError` with what it says."""
    words = [sys.executable, "-m", "freehold.engines.merge", str(base), str(adapter), str(target), encoding]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ModelFileError(done.stderr.strip().rpartition("\n")[2] or f"{target}: merging ended by {done.returncode}")


def main() -> None:
    """Merge as the four words say; what is wrong is the last line of standard error."""
    base, adapter, target, named = sys.argv[1:]
    encoding = next(each for each in ENCODINGS if each == named)
    os.nice(19)
    try:
        merge(Path(base), Path(adapter), Path(target), encoding)
    except FreeholdError as error:
        sys.exit(str(error))


class _Lora:
    """An adapter's matrices, read once."""

    def __init__(self, path: Path) -> None:
        from freehold.engines.gguf_reader import Reader

        reader = Reader(path)
        self._tensors = {each.name: each.data for each in reader.tensors}
        self._alpha = float(reader.fields["adapter.lora.alpha"].contents())

    def merged(self, name: str, values: "NDArray[Any]") -> "NDArray[Any]":
        """The matrix of this name with the adapter in it; as it is where the adapter leaves it alone."""
        down = self._tensors.get(f"{name}.lora_a")
        if down is None:
            return values
        scale = self._alpha / down.shape[0]
        changed: NDArray[Any] = values + scale * (self._tensors[f"{name}.lora_b"] @ down)
        return changed


if __name__ == "__main__":
    main()
