"""The openness matrix as one self-contained HTML page: no script, no load from any other address."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold import pages
from freehold.catalogue.openness import Index, Ranked

if TYPE_CHECKING:
    from jinja2 import Template


def page(of: Index, rows: Sequence[Ranked], weights: Mapping[str, float]) -> str:
    """The ranked matrix; every mark links to its evidence."""
    return _template().render(index=of, rows=rows, weights=weights)


@lru_cache(maxsize=1)
def _template() -> "Template":
    environment = pages.environment("catalogue")
    environment.filters["links"] = lambda text: [each for each in text.split() if each.startswith("http")]
    return environment.get_template("openness.html")
