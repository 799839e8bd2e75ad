"""Whose data: a person's id is kept only as a keyed hash, the key in the workspace."""

import hashlib
import hmac

from freehold.store.database import Store
from freehold.store.exchanges import raw_subjects, rename_subjects
from freehold.store.workspace import Workspace, write_atomically

_FORGOTTEN = "forgotten"


class Subjects:
    """The people of a workspace, by pseudonym: HMAC-SHA256 (hex) of their id under the workspace's key."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._key: bytes | None = None
        self.forgotten = _read_forgotten(workspace)

    def pseudonym(self, subject: str) -> str:
        """The same for the same id in this workspace, and of no use in another."""
        self._key = self._key or self._workspace.secret("subject.key")
        return hmac.new(self._key, subject.encode(), hashlib.sha256).hexdigest()

    def is_forgotten(self, pseudonym: str | None) -> bool:
        """Whether this person's rows must be left out."""
        return pseudonym in self.forgotten

    def hide_recorded(self, store: Store) -> int:
        """Put pseudonyms in the place of ids that exchanges were once recorded with; returns how many exchanges."""
        return rename_subjects(store, {each: self.pseudonym(each) for each in raw_subjects(store)})

    def remember_to_forget(self, pseudonym: str) -> None:
        """Leave this person's rows out from now on."""
        self.forgotten |= {pseudonym}
        listed = "".join(f"{each}\n" for each in sorted(self.forgotten))
        write_atomically(self._workspace.root / _FORGOTTEN, listed.encode())


def _read_forgotten(workspace: Workspace) -> frozenset[str]:
    path = workspace.root / _FORGOTTEN
    return frozenset(path.read_text().split()) if path.exists() else frozenset()
