"""Whether a base fits in this machine's memory, and what would."""

from freehold.catalogue import model
from freehold.catalogue.model import Model
from freehold.errors import ResourceError

RUNTIME = 250_000_000  # bytes that an engine's process takes beside the weights: code, compute buffers, a short context


def serving_bytes(found: Model) -> int | None:
    """Memory to serve a base as it is pulled, in bytes; None where its files are not known."""
    return sum(file.size for file in found.files) + RUNTIME if found.files else None


def available_bytes() -> int:
    """Memory that a new process may take without swapping, in bytes."""
    import psutil

    return int(psutil.virtual_memory().available)


def require(name: str, available: int | None = None) -> None:
    """Raises `ResourceError`, naming what would fit, where a base cannot be served in the memory at hand."""
    found = model.find(name)
    room = available_bytes() if available is None else available
    needed = serving_bytes(found)
    if needed is None or needed <= room:
        return
    sizes = {each.name: serving_bytes(each) for each in model.built_in().values() if each.kind != "embedding"}
    fitting = [f"{other} ({size / 1e9:.1f} GB)" for other, size in sizes.items() if size and size <= room]
    instead = f"{', '.join(fitting)} would fit" if fitting else "no model that can be pulled here would fit"
    raise ResourceError(
        f"{found.name} needs about {needed / 1e9:.1f} GB of memory and {room / 1e9:.1f} GB is free; {instead}"
    )
