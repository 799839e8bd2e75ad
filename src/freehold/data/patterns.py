"""A workspace's own patterns beside the built-in ones: `.freehold/redaction.json`, capitals to a regular expression.

The gateway, datasets and models that learned on placeholders all hide by the same (invariant 2). A running gateway
follows the file within a second; one that is not right changes nothing, and the log says why.
"""

import logging
import time
from pathlib import Path

import msgspec

from freehold.data.detectors import DETECTORS, Detector, own_pattern
from freehold.data.redact import Redaction
from freehold.errors import UserError

log = logging.getLogger(__name__)

PATTERNS_FILE = "redaction.json"
_LOOK_EVERY_S = 1.0


class Patterns:
    """Makes the redaction of one exchange; raises `UserError` at once where the file is not right."""

    def __init__(self, root: Path) -> None:
        self._path = root / PATTERNS_FILE
        self._seen = _changed_at(self._path)
        self._detectors = read(self._path)
        self._looked = time.monotonic()

    def __call__(self) -> Redaction:
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._look()
        return Redaction(self._detectors)

    def _look(self) -> None:
        self._looked = time.monotonic()
        found = _changed_at(self._path)
        if found == self._seen:
            return
        self._seen = found
        try:
            self._detectors = read(self._path)
        except UserError as error:
            log.error("the redaction patterns changed but cannot be used, and those before still hold: %s", error)


def read(path: Path) -> tuple[Detector, ...]:
    """A workspace's own detectors, which come first, and the built-in ones."""
    if not path.is_file():
        return DETECTORS
    try:
        own = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = "is no JSON object of names in capitals and regular expressions"
        raise UserError(f"{path}: {what} ({error}); docs/data.md shows one") from None
    return (*(own_pattern(kind, pattern) for kind, pattern in own.items()), *DETECTORS)


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0
