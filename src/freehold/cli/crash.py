"""A fault of ours: kept whole in a log for whoever mends it, told to the user in one sentence.

The log holds the traceback with secrets and personal values hidden, and never the command's arguments: they may be
somebody's message.
"""

import os
import platform
import tempfile
import time
import traceback
from pathlib import Path

from freehold import __version__

DEBUG = "FREEHOLD_DEBUG"


def sentence(error: Exception, command: str) -> str:
    """What to tell the user; the traceback itself where $FREEHOLD_DEBUG is 1."""
    if os.environ.get(DEBUG) == "1":
        return "".join(traceback.format_exception(error)).rstrip()
    kind = type(error).__name__
    return f"freehold {command}: a fault in Freehold ({kind}); please report it with {_keep(error, command)}"


def _keep(error: Exception, command: str) -> Path:
    """Write the log, readable by its owner only: into the workspace's logs, or else the temporary folder."""
    from freehold.data.redact import Redaction

    trace = Redaction().hide("".join(traceback.format_exception(error)))
    head = f"freehold {__version__} · Python {platform.python_version()} · {platform.platform()} · {command}"
    descriptor, name = tempfile.mkstemp(prefix=time.strftime("crash-%Y%m%d-%H%M%S-"), suffix=".log", dir=_folder())
    with os.fdopen(descriptor, "w", encoding="utf-8") as log:
        log.write(f"{head}\n\n{trace}")
    return Path(name)


def _folder() -> Path:
    from freehold.store.workspace import Workspace

    workspace = Workspace.here()
    if not (workspace.root.is_dir() and os.access(workspace.root, os.W_OK)):
        return Path(tempfile.gettempdir())
    workspace.logs.mkdir(exist_ok=True)
    return workspace.logs
