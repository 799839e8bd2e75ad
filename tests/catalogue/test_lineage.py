"""Lineage: published facts and own adapters in one tree."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from freehold.catalogue import lineage
from freehold.errors import NotFoundError
from freehold.records import AdapterManifest
from freehold.store.workspace import Workspace, write_record

MANIFEST = AdapterManifest(
    digest="a" * 64, task="triage", base="smollm2-135m-instruct", base_digest="b" * 64, dataset="c" * 64, recipe={},
    render={}, render_digest="", seed=0, versions={}, template_digest="", weights_sha256="", losses=(), best_step=0,
    seconds=0, tokens_per_second=0, peak_memory_bytes=0,
)  # fmt: skip


def names(node: lineage.Node) -> set[str]:
    return {node.name}.union(*(names(child) for child in node.children)) if node.children else {node.name}


def test_the_tree_goes_up_to_the_root_and_down_again(tmp_path: Path) -> None:
    found = lineage.of("mixtral-8x7b", Workspace(tmp_path))
    assert found.tree.name == "mistral-7b-v0.1"
    assert [edge.parent for edge in found.ancestors] == ["mistral-7b-v0.1"]
    assert {"mixtral-8x7b", "nous-hermes-2-mixtral-8x7b-dpo", "dolphin-2.6-mistral-7b-dpo"} <= names(found.tree)
    assert "mistral-nemo-12b" in lineage.of("mistral-7b-v0.1", Workspace(tmp_path)).family


def test_pairs_are_the_right_way_round() -> None:
    edges = {(edge.parent, edge.child) for edge in lineage.published()}
    assert ("llama-2-7b", "sheared-llama-1.3b") in edges
    assert ("openllama-3b", "hh-rlhf-rm-open-llama-3b") in edges
    assert not [edge for edge in edges if (edge[1], edge[0]) in edges]
    assert all(edge.source for edge in lineage.published())


def test_reproductions_are_no_descendants(tmp_path: Path) -> None:
    assert "openllama-7b" not in names(lineage.of("llama-2-7b", Workspace(tmp_path)).tree)


def test_own_adapters_hang_on_the_same_tree(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_record(workspace.adapters / MANIFEST.digest / "manifest.json", MANIFEST)
    (workspace.adapters / "unfinished").mkdir()
    (workspace.adapters / "unfinished" / "manifest.json").write_text("{")
    found = lineage.of("smollm2-135m-instruct", workspace)
    assert found.tree.name == "smollm2-135m"
    assert "triage (aaaaaaaaaaaa)" in names(found.tree)


def test_the_picture_is_well_formed_and_escapes(tmp_path: Path) -> None:
    picture = ElementTree.fromstring(lineage.svg(lineage.of("llama-2-7b", Workspace(tmp_path))))
    assert picture.tag.endswith("svg")
    node = lineage.Node(name="<a&b>", edge=None, children=())
    hostile = lineage.Lineage(model="<a&b>", ancestors=(), tree=node, family=())
    assert "&lt;a&amp;b&gt;" in lineage.svg(hostile)


def test_a_loop_ends() -> None:
    loop = tuple(lineage.Edge(parent=a, child=b, how="", source="s") for a, b in (("x", "y"), ("y", "x")))
    assert len(list(lineage._ancestors("x", loop))) <= 20


def test_the_commands(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("lineage", "llama-2-7b") == 0
    out = capsys.readouterr().out
    assert "└─ " in out and "vicuna-7b-v1.5" in out and "same family:" in out
    assert freehold("lineage", "mixtral-8x7b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tree"]["name"] == "mistral-7b-v0.1"
    assert freehold("lineage", "x", "--svg", "x.svg") == 2
    with pytest.raises(NotFoundError):
        lineage.of("no-such-thing", Workspace(Path("w")))
