"""HTML pages: one way to make them in every room, so that what a person wrote is escaped on each.

A page is one file that asks nothing of the network. What a template names and nobody gave is an error, not a blank.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(room: str) -> "Environment":
    """The templates in a room's `templates/` folder; the room adds its own filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(f"freehold.{room}", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
