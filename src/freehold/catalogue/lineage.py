"""Where a model came from and what was made from it: published facts, own adapters and own exports in one tree.

A model may have several claimed parents; every edge names its source.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from freehold.catalogue import model
from freehold.catalogue.model import Model
from freehold.errors import UserError
from freehold.records import AdapterManifest, Record
from freehold.store import exports
from freehold.store.layout import MANIFEST_FILE
from freehold.store.workspace import Workspace

_DEEPEST = 20  # a chain longer than this is a loop in the data


class Edge(Record, frozen=True, kw_only=True):
    """`child` was made from `parent`."""

    parent: str
    child: str
    how: str
    source: str


class Node(Record, frozen=True, kw_only=True):
    """A model in its tree. `edge`: how it was made from the node above."""

    name: str
    edge: Edge | None
    children: tuple["Node", ...]


class Lineage(Record, frozen=True, kw_only=True):
    """A model's whole tree, and the versions of its family that share no known parent with it."""

    model: str
    ancestors: tuple[Edge, ...]
    tree: Node
    family: tuple[str, ...]


class _Edges(Record, frozen=True, kw_only=True):
    edges: tuple[Edge, ...]


def of(name: str, workspace: Workspace) -> Lineage:
    """The lineage of a catalogue's model, of a name that only an edge knows, or of a task's adapter.

    Raises `NotFoundError`, and `UserError` for a task with several adapters.
    """
    edges = tuple(_edges(workspace))
    key = _key(name.strip().lower(), edges) or model.find(name, workspace).name
    above = tuple(_ancestors(key, edges))
    root = above[-1].parent if above else key
    return Lineage(model=key, ancestors=above, tree=_tree(root, None, edges, 0), family=_family(key, workspace))


@lru_cache(maxsize=1)
def published() -> tuple[Edge, ...]:
    """Edges that ship, beside those in the models' own files."""
    path = Path(__file__).parent / "lineage.toml"
    return msgspec.toml.decode(path.read_bytes(), type=_Edges).edges


def _key(name: str, edges: tuple[Edge, ...]) -> str | None:
    """The name as the edges spell it: their own, or the one adapter of a task."""
    names = {each for edge in edges for each in (edge.parent, edge.child)}
    if name in names:
        return name
    adapters = sorted(each for each in names if each.startswith(f"{name} ("))
    if len(adapters) > 1:
        raise UserError(f"{name} has several adapters; name one: {', '.join(adapters)}")
    return next(iter(adapters), None)


def _edges(workspace: Workspace) -> Iterator[Edge]:
    for entry in model.known(workspace).values():
        if entry.base:
            yield Edge(parent=entry.base.value, child=entry.name, how=_how(entry), source=entry.base.source)
    yield from published()
    yield from _own(workspace)


def _how(entry: Model) -> str:
    return {"chat": "tuned to answer", "base": "trained further"}.get(entry.kind, "made from it")


def _own(workspace: Workspace) -> Iterator[Edge]:
    """Adapters of this workspace and their exports; a folder without a readable manifest is no finished adapter."""
    for path in sorted(workspace.adapters.glob(f"*/{MANIFEST_FILE}")):
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=AdapterManifest)
        except msgspec.MsgspecError:
            continue
        child = _adapter(manifest.task, manifest.digest)
        how = f"adapter of this workspace, dataset {manifest.dataset[:12]}"
        yield Edge(parent=manifest.base, child=child, how=how, source=str(path))
    for export in exports.every(workspace):
        form = f"{export.format} {export.encoding}" if export.encoding else export.format
        parent, child = _adapter(export.task, export.adapter), f"{form} ({export.digest[:12]})"
        yield Edge(parent=parent, child=child, how="exported", source=export.folder)


def _adapter(task: str, digest: str) -> str:
    return f"{task} ({digest[:12]})"


def _ancestors(name: str, edges: tuple[Edge, ...]) -> Iterator[Edge]:
    for _ in range(_DEEPEST):
        above = next((edge for edge in edges if edge.child == name), None)
        if above is None:
            return
        yield above
        name = above.parent


def _tree(name: str, edge: Edge | None, edges: tuple[Edge, ...], depth: int) -> Node:
    below = {each.child: each for each in reversed(edges) if each.parent == name} if depth < _DEEPEST else {}
    children = tuple(_tree(child, below[child], edges, depth + 1) for child in sorted(below))
    return Node(name=name, edge=edge, children=children)


def _family(name: str, workspace: Workspace) -> tuple[str, ...]:
    """Other sizes and versions under the same first word, such as pythia or llama-2."""
    first = name.split("-")[0]
    return tuple(sorted(each for each in model.known(workspace) if each != name and each.split("-")[0] == first))


def lines(lineage: Lineage) -> Iterator[tuple[str, Node]]:
    """The tree as text, one node a line: what to print before the name, and the node."""
    yield from _lines(lineage.tree, "", "")


def _lines(node: Node, before: str, below: str) -> Iterator[tuple[str, Node]]:
    yield before, node
    for at, child in enumerate(node.children, start=1):
        last = at == len(node.children)
        yield from _lines(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


_ROW, _INDENT, _CHARACTER = 24, 24, 8.2  # pixels


def svg(lineage: Lineage) -> str:
    """The tree as a self-contained picture."""
    from xml.sax.saxutils import escape

    rows = list(_placed(lineage.tree, 0))
    width = max(_INDENT * depth + _CHARACTER * (len(node.name) + 40) for depth, node in rows)
    height = _ROW * len(rows) + 16
    size = f'width="{width:.0f}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">']
    parents: dict[int, int] = {}
    for row, (depth, node) in enumerate(rows):
        x, y = 12 + _INDENT * depth, _ROW * row + 24
        if depth:
            top = _ROW * parents[depth - 1] + 30
            parts.append(f'<path d="M{x - 16} {top}V{y - 5}H{x - 4}" fill="none" stroke="#8a94a0"/>')
        parents[depth] = row
        weight = ' font-weight="700"' if node.name == lineage.model else ""
        how = f'<tspan fill="#6a7480" font-weight="400"> {escape(node.edge.how)}</tspan>' if node.edge else ""
        parts.append(f'<text x="{x}" y="{y}" font-size="14" fill="#1b1f24"{weight}>{escape(node.name)}{how}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _placed(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for child in node.children:
        yield from _placed(child, depth + 1)
