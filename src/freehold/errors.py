"""Every error that Freehold raises on purpose.

    FreeholdError                 exit 1, HTTP 500   ours to mend
    ├── EngineError               exit 1, HTTP 502   what answers has failed
    ├── UserError                 exit 2, HTTP 400   the user can mend it
    │   ├── TaskFileError         exit 2, HTTP 400   a field of the task file
    │   ├── DataError             exit 2, HTTP 400   a row, a file, an encoding
    │   ├── ModelFileError        exit 2, HTTP 400   truncated, tampered, of another base
    │   ├── NotFoundError         exit 2, HTTP 404   no such task, model, record
    │   ├── ResourceError         exit 2, HTTP 503   memory, disk, port
    │   └── MissingPackageError   exit 2, HTTP 501   an optional package; the message is its install line
    ├── RefusedError              exit 3, HTTP 403   a rule says no: rights, parity, decision
    └── UndeterminedError         exit 4, HTTP 409   the facts at hand do not settle it

A message is one sentence that says what is wrong, where, and what would be right.
The class's docstring is its default message.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class FreeholdError(Exception):
    """Something went wrong inside Freehold; please report it with the log beside it."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class EngineError(FreeholdError):
    """The engine that should answer has failed; `freehold doctor` says how to mend it."""

    http_status = 502


class UserError(FreeholdError):
    """The request cannot be carried out as it stands; see the command's --help."""

    exit_code = 2
    http_status = 400


class TaskFileError(UserError):
    """The task file is not right; `freehold spec --schema` lists every field."""


class DataError(UserError):
    """The data cannot be read as the task file describes it; see docs/data.md."""


class ModelFileError(UserError):
    """The model file is not the one that was recorded; `freehold pull` fetches it again."""


class NotFoundError(UserError):
    """There is no such thing here; `freehold status` lists what there is."""

    http_status = 404


class ResourceError(UserError):
    """This machine lacks the memory, disk or port that is needed; `freehold doctor` says which."""

    http_status = 503


class MissingPackageError(UserError):
    """An optional package is needed; install it with: pip install 'freehold[all]'."""

    http_status = 501


class RefusedError(FreeholdError):
    """A rule forbids this; the reasons are in the record that refused it."""

    exit_code = 3
    http_status = 403


class UndeterminedError(FreeholdError):
    """The facts at hand do not settle this, and unknown is never folded into yes or no."""

    exit_code = 4
    http_status = 409


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known name is near, else nothing."""
    near = get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
