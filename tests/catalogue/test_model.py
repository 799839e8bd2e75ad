"""The catalogue's models: every fact has a source, families are told apart, own models stand beside those that ship."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.catalogue import add, licence, model, pull, selection
from freehold.catalogue.add import Statement
from freehold.catalogue.model import Fact, Model
from freehold.catalogue.selection import Filter
from freehold.errors import NotFoundError, UserError
from freehold.progress import SILENT
from freehold.store.workspace import Workspace

STATED = Statement(name="mine", licence="apache-2.0", organisation="us", source="our wiki", base="smollm2-135m")


def test_a_hundred_models_each_fact_with_its_source() -> None:
    models = model.built_in()
    assert len(models) >= 100
    for entry in models.values():
        facts = [fact for field in Model.__struct_fields__ if isinstance(fact := getattr(entry, field), Fact)]
        assert facts and all(fact.source.strip() for fact in facts), entry.name
    assert sum(1 for entry in models.values() if entry.qianfan_2023) == 34


def test_what_the_table_flags_is_shown_as_unverified() -> None:
    llama = model.find("llama-2-7b")
    assert llama.parameters is not None and not llama.parameters.verified
    assert llama.context_length is not None and llama.context_length.verified
    smollm = model.find("smollm2-135m-instruct")
    assert smollm.parameters is not None and smollm.parameters.verified and smollm.parameters.value == 134_515_008


def test_every_named_licence_is_known_or_said_to_be_unread() -> None:
    unread = {entry.licence.value for entry in model.built_in().values()} - set(licence.licences())
    assert unread == {"unknown", "closed-api", "chatglm3-6b", "creativeml-openrail-m"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "missing required field"),
        ('name = "x"\ntitle="X"\nkind="chat"\norganisation={value="o"}\nlicence={value="mit",source="s"}', "source"),
        ('name = "x"\ntitle="X"\nkind="chat"\norganisation={value="o",source=" "}\nlicence={value="mit",source="s"}',
         "needs a source"),
        ('name = "x"\ntitle="X"\nkind="chat"\norganisation={value="o",source="s"}\nlicense={value="mit",source="s"}',
         "license"),
        ("name = ", "Invalid value"),
    ],
)  # fmt: skip
def test_a_file_without_a_source_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"x\.toml: is not a model of the catalogue: .*{said}"):
        model.load(path)


def test_a_family_is_told_apart() -> None:
    with pytest.raises(NotFoundError, match=r"is a family.*qwen2\.5-0\.5b \(apache-2\.0\).*qwen2\.5-72b \(qwen-2024\)"):
        model.find("Qwen2.5")
    assert model.find("HuggingFaceTB/SmolLM2-135M-Instruct").name == "smollm2-135m-instruct"


def test_filters() -> None:
    models = model.built_in().values()
    small = selection.select(models, Filter(max_params=selection.count("500M"), licence="apache-2.0"))
    assert small[0].name == "pythia-14m"
    assert all(each.parameters and each.parameters.value <= 500e6 for each in small)
    opened = selection.select(models, Filter(min_openness=0.8))
    assert "olmo-7b" in {each.name for each in opened} and "llama-2-7b" not in {each.name for each in opened}
    assert {each.name for each in selection.select(models, Filter(available=10**9))} >= {"smollm2-135m-instruct"}
    assert all(
        "zh" in each.languages.value for each in selection.select(models, Filter(language="zh")) if each.languages
    )
    with pytest.raises(UserError, match=r"did you mean apache-2\.0"):
        selection.select(models, Filter(licence="apache-2"))
    with pytest.raises(UserError, match="500M or 1B"):
        selection.count("small")


def test_an_own_file_is_added_and_pulled(tmp_path: Path, tiny_gguf: Path) -> None:
    workspace = Workspace(tmp_path)
    entry = add.from_file(STATED, tiny_gguf, workspace)
    assert entry.parameters is not None and entry.parameters.value == 101 * 8 and entry.parameters.verified
    assert not entry.licence.verified
    assert add.missing(entry) == ("country", "release_month", "languages")
    assert model.find("mine", workspace) == entry
    assert pull.pull("mine", workspace, SILENT).weights.source == f"file {tiny_gguf}"
    with pytest.raises(NotFoundError):
        model.find("mine", Workspace(tmp_path / "other"))


@pytest.mark.parametrize("name", ["smollm2-135m", "Has Space", "../evil"])
def test_a_name_that_cannot_be_taken(tmp_path: Path, tiny_gguf: Path, name: str) -> None:
    import msgspec

    with pytest.raises(UserError):
        add.from_file(msgspec.structs.replace(STATED, name=name), tiny_gguf, Workspace(tmp_path))
    assert not list(tmp_path.rglob("*.json"))


def test_the_commands(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str], tiny_gguf: Path) -> None:
    assert freehold("models", "--max-params", "200M", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "pythia-14m" and "parameters" in rows[0]["unverified"]
    assert freehold("models", "--language", "en") == 0
    assert "do not list all their languages" in capsys.readouterr().out
    assert freehold("show", "llama-2-7b") == 0
    out = capsys.readouterr().out
    assert "unverified · eugeneyan/open-llms" in out and "judged as LLaMA2 Chat" in out
    assert freehold("compare", "smollm2-135m", "llama-2-7b", "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["smollm2-135m", "llama-2-7b"]
    assert freehold("compare", "smollm2-135m") == 2
    assert freehold("show", "lama-2-7b") == 2
    assert "did you mean llama-2-7b" in capsys.readouterr().err
    stated = ("--licence", "mit", "--organisation", "us", "--source", "wiki")
    assert freehold("models", "add", "mine", "--path", tiny_gguf, *stated) == 0
    assert "shown as unknown: country" in capsys.readouterr().out
    assert freehold("rights", "mine", "--commercial") == 0
    assert freehold("models", "add", "mine2", *stated) == 2


@pytest.mark.parametrize("name", ["Llama 2 7B", "llama-2-7b", "meta-llama/Llama-2-7b-hf", " LLAMA 2 7B "])
def test_a_model_is_found_by_name_title_or_hub_id(name: str) -> None:
    assert model.find(name).name == "llama-2-7b"


def test_templates_on_record_and_those_that_are_not(
    freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    on_record = [each for each in model.built_in().values() if each.template or each.template_digest]
    assert len(on_record) >= 14
    assert freehold("show", "phi-4") == 0
    assert "chat template" in next(line for line in capsys.readouterr().out.splitlines() if "unknown" in line)
    assert freehold("show", "qwen2.5-7b-instruct") == 0
    assert "unverified · SHA-256 of trl/chat_templates/qwen2_5.jinja" in capsys.readouterr().out
