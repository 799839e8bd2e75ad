"""Files that every page may load: one style, three scripts, no other address.

Each has its digest in its address, so that a browser keeps it for a year and never shows an old one. htmx 2.0.11 is
vendored as published (npm `htmx.org`, Zero-Clause BSD; SHA-256 of htmx.min.js
d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717, held by a test).
"""

import hashlib
from functools import lru_cache
from importlib.resources import files

from starlette.responses import Response

from freehold.errors import NotFoundError

KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@lru_cache(maxsize=16)
def read(name: str) -> tuple[bytes, str]:
    """A file's content and its kind; raises `NotFoundError`."""
    ending = name[name.rfind(".") :] if "." in name else ""
    source = files("freehold.console").joinpath("assets", name)
    if ending not in KINDS or "/" in name or not source.is_file():
        raise NotFoundError(f"there is no file {name} here")
    return source.read_bytes(), KINDS[ending]


@lru_cache(maxsize=16)
def address(name: str) -> str:
    """Where a page loads a file from."""
    return f"/assets/{hashlib.sha256(read(name)[0]).hexdigest()[:12]}/{name}"


def response(name: str, cache: str = "public, max-age=31536000, immutable") -> Response:
    """A file, to be kept."""
    content, kind = read(name)
    return Response(content, media_type=kind, headers={"cache-control": cache})
