"""Where what is not owned goes, followed while the gateway runs: `upstream.json` of the workspace wins over options."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from freehold.errors import UserError
from freehold.store.deployments import require_address, require_reference

log = logging.getLogger(__name__)

UPSTREAM_FILE = "upstream.json"


class To(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The upstream's address up to and including /v1, the reference of its key, and whose guardrails hold."""

    upstream: str | None = None
    upstream_key: str | None = None
    upstream_guardrails: str | None = None


def read(root: Path, options: To) -> To:
    """What the workspace's file says, else the options; raises `UserError` where the file is not right."""
    path = root / UPSTREAM_FILE
    if not path.is_file():
        return options
    try:
        found = msgspec.json.decode(path.read_bytes(), type=To)
    except msgspec.MsgspecError as error:
        raise UserError(f"{path}: {error}; docs/operating.md shows one") from None
    return checked(found, f"{path}: upstream", f"{path}: upstream_key")


def checked(to: To, upstream: str, key: str) -> To:
    """The same; raises `UserError` that names where an address that is none, or a literal key, was written."""
    if to.upstream is not None:
        require_address(to.upstream, upstream)
    require_reference(to.upstream_key, key)
    return to


async def follow(root: Path, options: To, adopt: Callable[[To], None], every_s: float) -> None:
    """Adopt the file whenever it changes; one that is not right changes nothing."""
    known: To | None = None
    while True:
        try:
            found = await asyncio.to_thread(read, root, options)
            if found != known:
                adopt(found)
                known = found
        except (UserError, OSError) as error:
            log.error("the upstream changed but cannot be read, and the one before still holds: %s", error)
        await asyncio.sleep(every_s)
