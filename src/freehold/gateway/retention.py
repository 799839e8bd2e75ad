"""The running gateway keeps the workspace's retention policy: what is older than it allows goes, hour by hour."""

import asyncio
import logging

from freehold.data import retention
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)

EVERY_S = 3600.0


async def keep(workspace: Workspace) -> None:
    """Apply the policy for ever, at once and every hour."""
    while True:
        try:
            await asyncio.to_thread(retention.apply, workspace)
        except Exception as error:  # the store is down: everything is kept a little longer, loudly
            log.error("the retention policy cannot be applied: %s", error)
        await asyncio.sleep(EVERY_S)
