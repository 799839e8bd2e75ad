"""What the user can mend: one sentence that says where, exit code 2, nothing half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.records import Base
from freehold.store.workspace import Workspace, read_record, write_record

_TASK = "task: bad\ndescription: Say which.\ndata: {{source: rows.csv, input: text, answer: label}}\n{extra}\n"
_ROWS = "".join(f"{word} number {at} {word[::-1]}{at * 7},{word}\n" for at in range(20) for word in ("cat", "dog"))

BAD = {
    "no file": (None, "", "no such file"),
    "empty file": ("", "", "rows.csv: is empty"),
    "no answer": ("text,label\na message,\n", "", "rows.csv:2: has no answer"),
    "missing column": ("text,kind\na,b\n", "", "label"),
    "one label": ("text,label\na,x\nb,x\n", "", "fewer than two labels"),
    "answer outside the labels": (
        f"text,label\n{_ROWS}",
        "answer: {type: label, labels: [cat, cow]}",
        "'dog' is not one",
    ),
    "too few examples": ("text,label\na,x\nb,y\n", "", "are the least"),
    "too few for the margin": (f"text,label\n{_ROWS}", "decide: {margin: 0.02}", "cannot support a margin of 2 points"),
    "unknown key": (f"text,label\n{_ROWS}", "decied: {margin: 0.1}", "decied is not a field; did you mean decide?"),
    "wrong type": (f"text,label\n{_ROWS}", "seed: many", "task.yaml:4: seed is 'many'"),
    "literal key": (f"text,label\n{_ROWS}", "incumbent: {model: m, api_key: sk-live-1}", "is a literal key"),
    "key not set": (
        f"text,label\n{_ROWS}",
        "decide: {margin: 0.4}\nincumbent: {model: m, base_url: 'http://127.0.0.1:9/v1', api_key: '${NOT_SET_HERE}'}",
        "NOT_SET_HERE is not set",
    ),
    "unknown model": (f"text,label\n{_ROWS}", "candidates: [smollm2-135m-instrukt]", "smollm2-135m-instruct"),
    "base that does not fit": (f"text,label\n{_ROWS}", "candidates: [bloom-176b]", "bloom-176b"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_fault_is_one_sentence(
    case: str,
    freehold: Callable[..., int],
    tmp_path: Path,
    tiny_workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, extra, sentence = BAD[case]
    if rows is not None:
        (tmp_path / "rows.csv").write_text(rows)
    (tmp_path / "task.yaml").write_text(_TASK.format(extra=extra))
    assert freehold("run", "task.yaml") == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
    assert not list(tiny_workspace.root.rglob("*.part"))
    assert not (tiny_workspace.root / "reports").exists()


def _tamper(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [_tamper, _truncate])
def test_a_damaged_model_file_is_refused(
    damage: Callable[[Path], None],
    freehold: Callable[..., int],
    tmp_path: Path,
    tiny_workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(tiny_workspace.models / "smollm2-135m-instruct" / "weights.gguf")
    (tmp_path / "rows.csv").write_text(f"text,label\n{_ROWS}")
    (tmp_path / "task.yaml").write_text(_TASK.format(extra="decide: {margin: 0.4}"))
    assert freehold("run", "task.yaml") == 2
    assert "freehold pull" in capsys.readouterr().err


def test_an_adapter_of_another_base_or_template_is_refused(tiny_workspace: Workspace, tmp_path: Path) -> None:
    from msgspec.structs import replace

    from freehold.errors import ModelFileError
    from freehold.records import AdapterManifest
    from freehold.store.layout import MANIFEST_FILE
    from freehold.tuning.adapter import read_adapter

    base = read_record(tiny_workspace.models / "smollm2-135m-instruct" / "base.json", Base)
    manifest = AdapterManifest(
        digest="d" * 64, task="t", base=base.name, base_digest=base.digest, dataset="", recipe={}, render={},
        render_digest="", seed=0, versions={}, template_digest=base.template_digest, weights_sha256="", losses=(),
        best_step=0, seconds=0.0, tokens_per_second=0.0, peak_memory_bytes=0,
    )  # fmt: skip
    folder = tiny_workspace.adapters / manifest.digest
    for wrong, sentence in (
        (replace(manifest, base_digest="other"), "tuned on another"),
        (replace(manifest, template_digest="other"), "another chat template"),
        (manifest, "is not the file that was recorded"),
    ):
        write_record(folder / MANIFEST_FILE, wrong)
        with pytest.raises(ModelFileError, match=sentence):
            read_adapter(tiny_workspace, manifest.digest, base)
    shutil.rmtree(folder)
    with pytest.raises(ModelFileError, match="no finished adapter"):
        read_adapter(tiny_workspace, manifest.digest, base)
