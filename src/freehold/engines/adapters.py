"""Adapter files, and the digests that they must have each time they are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.errors import ModelFileError
from freehold.store.workspace import file_sha256


@dataclass(frozen=True)
class AdapterFiles:
    """GGUF adapters by the name that requests give. `digests`: the SHA-256 that a file must have, where recorded."""

    paths: Mapping[str, Path] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def only(self, *names: str) -> "AdapterFiles":
        """Some of them."""
        return AdapterFiles(
            {name: self.paths[name] for name in names},
            {name: self.digests[name] for name in names if name in self.digests},
        )

    def checked(self) -> dict[str, str]:
        """The digest of every file as it lies on disk; raises `ModelFileError` where it is not the one recorded."""
        found = {name: adapter_sha256(name, path) for name, path in self.paths.items()}
        for name, expected in self.digests.items():
            if name in found and found[name] != expected:
                raise ModelFileError(
                    f"{self.paths[name]}: is not the adapter {name} that was recorded "
                    f"(SHA-256 {found[name][:12]}, recorded {expected[:12]}); export it again"
                )
        return found


def adapter_sha256(name: str, path: Path) -> str:
    """SHA-256 (hex) of an adapter's file; raises `ModelFileError` where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise ModelFileError(f"{path}: adapter {name} cannot be read ({error.strerror})") from None
