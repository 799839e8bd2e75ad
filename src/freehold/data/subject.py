"""Whose data: a person's id is kept only as a keyed hash, the key in the workspace."""

import hashlib
import hmac
import os
import secrets

from freehold.store.workspace import Workspace

_KEY_BYTES = 32


def pseudonym(workspace: Workspace, subject: str) -> str:
    """HMAC-SHA256 (hex) of a subject's id under the workspace's key, which is made when first needed."""
    return hmac.new(_key(workspace), subject.encode(), hashlib.sha256).hexdigest()


def _key(workspace: Workspace) -> bytes:
    path = workspace.root / "keys" / "subject.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    key = secrets.token_bytes(_KEY_BYTES)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
    return key
