"""What SECURITY.md says of the source, held against the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "freehold"
FORBIDDEN_MODULES = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "yaml.load", "torch.load", "os.system"}


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8"))


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


def test_nothing_is_unpickled() -> None:
    imported = [
        (path, name)
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    assert not [(path, name) for path, name in imported if name.partition(".")[0] in FORBIDDEN_MODULES]


def test_no_code_comes_from_data() -> None:
    assert not [(path, name) for path, name, _ in _calls() if name in FORBIDDEN_CALLS]
    wrong = [
        (path, keyword.arg)
        for path, _, call in _calls()
        for keyword in call.keywords
        if keyword.arg in ("shell", "trust_remote_code", "allow_pickle")
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert not wrong


def test_every_page_is_escaped() -> None:
    pages = [(path, call) for path, name, call in _calls() if name.rpartition(".")[2] == "Environment"]
    assert pages
    for path, call in pages:
        escaped = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}.get("autoescape")
        assert escaped == "True", f"{path} makes pages that are not escaped"


def test_templates_of_models_are_sandboxed() -> None:
    made = [path for path, name, _ in _calls() if name.endswith("SandboxedEnvironment")]
    assert made == ["render.py"]
    unsafe = [path for path in SOURCE.rglob("*.html") if "|safe" in path.read_text(encoding="utf-8").replace(" ", "")]
    assert not unsafe
