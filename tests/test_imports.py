"""Imports go one way (DESIGN.md, The house)."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOMS = [
    "__init__",
    "errors",
    "progress",
    "orphans",
    "records",
    "spec",
    "render",
    "pages",
    "store",
    "data",
    "catalogue",
    "engines",
    "tuning",
    "evaluation",
    "decision",
    "plan",
    "release",
    "pipeline",
    "status",
    "doctor",
    "gateway",
    "console",
    "cli",
    "__main__",
]
BESIDE = {"data", "catalogue", "engines"}  # three rooms on one step: none imports another
SOURCE = Path(__file__).parent.parent / "src" / "freehold"


def _imports() -> Iterator[tuple[Path, str, str]]:
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] == "freehold" and len(parts) > 1 and parts[1] != room:
                    yield path, room, parts[1]


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {imported}"
        for path, room, imported in _imports()
        if ROOMS.index(imported) >= ROOMS.index(room) or {room, imported} <= BESIDE
    ]
    assert not wrong


def test_only_the_store_writes_sql() -> None:
    wrong = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if "sqlalchemy" in path.read_text() and path.relative_to(SOURCE).parts[0] != "store"
    ]
    assert not wrong


def test_decision_is_pure() -> None:
    forbidden = {"store", "engines", "tuning", "gateway", "data"}
    wrong = [str(path) for path, room, imported in _imports() if room == "decision" and imported in forbidden]
    assert not wrong


def test_every_room_is_known() -> None:
    names = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if not path.name.startswith("__p")}
    assert names - {"py.typed"} <= set(ROOMS)
