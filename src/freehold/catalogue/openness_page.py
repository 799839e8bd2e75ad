"""The openness matrix as one self-contained HTML page: no script, no load from any other address."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.catalogue.openness import Index, Ranked

if TYPE_CHECKING:
    from jinja2 import Template


def page(of: Index, rows: Sequence[Ranked], weights: Mapping[str, float]) -> str:
    """The ranked matrix; every mark links to its evidence."""
    return _template().render(index=of, rows=rows, weights=weights)


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["links"] = lambda text: [each for each in text.split() if each.startswith("http")]
    return environment.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
