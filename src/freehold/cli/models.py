"""`freehold models`, `show` and `compare`: the catalogue's facts, each with its source."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.catalogue import add as adding
from freehold.catalogue import assessment, fit, licence, model, openness, selection
from freehold.catalogue.add import Statement
from freehold.catalogue.model import Fact, Model
from freehold.catalogue.selection import Filter
from freehold.cli.output import as_json, say, table
from freehold.errors import UserError
from freehold.store.workspace import Workspace

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FACTS = (
    "organisation", "country", "release_month", "parameters", "active_parameters", "architecture", "context_length",
    "languages", "licence", "base", "training_tokens", "modality", "template", "template_digest", "qianfan_2023",
)  # fmt: skip
_UNVERIFIED = "?"
_TEMPLATE = ("template", "template_digest")
_SELDOM = ("active_parameters", "modality", "base", "qianfan_2023")  # most models have none to state


@app.callback(invoke_without_command=True)
def models(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
    max_params: Annotated[str | None, typer.Option(help="At most so many parameters, such as 1B.")] = None,
    min_openness: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the index's dimensions.")] = None,
    licence: Annotated[str | None, typer.Option(help="A licence, such as apache-2.0.")] = None,
    language: Annotated[str | None, typer.Option(help="A language that its publisher lists, such as id.")] = None,
    fits: Annotated[bool, typer.Option("--fits", help="Only what this machine's memory can serve.")] = False,
    qianfan_2023: Annotated[bool, typer.Option("--qianfan-2023", help="The set that Qianfan offered in 2023.")] = False,
    json: JsonOption = False,
) -> None:
    """List models by their facts."""
    if context.invoked_subcommand is not None:
        return
    wanted = Filter(
        max_params=None if max_params is None else selection.count(max_params),
        min_openness=min_openness,
        licence=licence,
        language=language,
        qianfan_2023=qianfan_2023,
        available=fit.available_bytes() if fits else None,
    )
    found = selection.select(model.known().values(), wanted)
    if json:
        as_json([_summary(each) for each in found])
        return
    table(["model", "parameters", "context", "licence", "languages", "openness", "month", "from"], _rows(found))
    say(f"{len(found)} models · {_UNVERIFIED} not verified · freehold show MODEL for every fact and its source")
    if language:
        unlisted = [
            each for each in model.known().values() if each.languages and "multilingual" in each.languages.value
        ]
        say(f"{len(unlisted)} multilingual models do not list all their languages and were judged by those they list")


@app.command()
def show(name: Annotated[str, typer.Argument(help="The model's name.")], json: JsonOption = False) -> None:
    """Show every fact of one model, with its source."""
    entry = model.find(name)
    if json:
        as_json(_whole(entry))
        return
    say(f"{entry.title} ({entry.name})" + (f" · {entry.hub}" if entry.hub else ""))
    for field in FACTS:
        fact: Fact[object] | None = getattr(entry, field)
        if fact is not None:
            said = str(_value(fact)).replace("\n", " ")
            said = said if len(said) <= 60 else said[:57] + "…"
            say(f"  {field:<18} {said:<40} {'' if fact.verified else 'unverified · '}{fact.source}")
    say(f"  {'unknown':<18} {', '.join(_unknown(entry)) or 'nothing'}")
    for each in openness.of_model(entry.name):
        say(f"  {'openness':<18} {each.share:.0%} {each.index}, judged as {each.project.project}, {each.project.date}")
    own = assessment.load(Workspace.here(), entry.name)
    for dimension, judgment in own.judgments.items():
        link = judgment.evidence or "no link"
        say(f"  {'judged here':<18} {judgment.answer.mark} {dimension} · {judgment.by} · {link}")
    if grant := licence.granted(entry.name):
        say(f"  {'licence read':<18} {licence.licences()[grant.licence].title} · {grant.source} · {grant.confidence}")
    for file in entry.files:
        say(f"  {'file':<18} {file.name} · {file.size:,} bytes · sha256 {file.sha256[:16]}… · {file.sources[0].name}")
    if entry.note:
        say(f"  {entry.note}")


@app.command()
def compare(names: Annotated[list[str], typer.Argument(help="Two or more models.")], json: JsonOption = False) -> None:
    """Put models side by side."""
    if len(names) < 2:
        raise UserError("compare needs two models at least; freehold show describes one")
    entries = [model.find(name) for name in names]
    if json:
        as_json([_whole(entry) for entry in entries])
        return
    rows = [[field, *(_cell(entry, field) for entry in entries)] for field in FACTS if field != "template"]
    rows.append(["openness", *(_openness(entry) for entry in entries)])
    table(["", *(entry.name for entry in entries)], rows)
    say(f"{_UNVERIFIED} not verified · – not known")


@app.command()
def add(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="A name of your own.")],
    licence: Annotated[str, typer.Option(help="Its licence, such as apache-2.0.")],
    organisation: Annotated[str, typer.Option(help="Who published it.")],
    source: Annotated[str, typer.Option(help="Where that can be read.")],
    path: Annotated[Path | None, typer.Option(help="A GGUF file on this disk.")] = None,
    hub: Annotated[str | None, typer.Option(help="A repository of the hub; --file names its GGUF.")] = None,
    file: Annotated[str | None, typer.Option(help="The file in the hub's repository.")] = None,
    base: Annotated[str | None, typer.Option(help="The model it was made from.")] = None,
    json: JsonOption = False,
) -> None:
    """Add a model of your own, with the same record as those that ship."""
    stated = Statement(name=name, licence=licence, organisation=organisation, source=source, base=base)
    if path is not None and hub is None:
        entry = adding.from_file(stated, path, Workspace.here())
    elif hub is not None and file is not None and path is None:
        entry = adding.from_hub(stated, hub, file, Workspace.here())
    else:
        raise UserError("give either --path FILE, or --hub REPOSITORY with --file NAME")
    absent = adding.missing(entry)
    if json:
        as_json(_whole(entry) | {"missing": absent})
        return
    say(f"added {entry.name} · sha256 {entry.files[0].sha256[:16]}… · freehold pull {entry.name} fetches it")
    say(f"not stated, shown as unknown: {', '.join(absent)}" if absent else "every fact is stated")


def _unknown(entry: Model) -> list[str]:
    """Facts that nobody established; a chat template is on record as its text or as its digest."""
    absent = [field for field in FACTS if getattr(entry, field) is None and field not in _TEMPLATE]
    absent = [field for field in absent if field not in _SELDOM]
    known = any(getattr(entry, field) for field in _TEMPLATE)
    return absent if known else [*absent, "chat template"]


def _rows(found: list[Model]) -> list[list[object]]:
    fields = ("parameters", "context_length", "licence", "languages")
    return [
        [each.name, *(_cell(each, field) for field in fields), _openness(each), _cell(each, "release_month"),
         _cell(each, "organisation")]
        for each in found
    ]  # fmt: skip


def _summary(entry: Model) -> dict[str, object]:
    found = selection.judged(entry.name)
    facts = {field: _value(getattr(entry, field)) for field in FACTS if field != "template"}
    unverified = [field for field in FACTS if (fact := getattr(entry, field)) is not None and not fact.verified]
    share = round(found.share, 4) if found else None
    return {
        "name": entry.name,
        **facts,
        "openness": share,
        "unverified": unverified,
        "can_be_pulled": bool(entry.files),
    }


def _whole(entry: Model) -> dict[str, object]:
    judgments = [
        {"index": each.index, "project": each.project.project, "score": each.score, "share": each.share}
        for each in openness.of_model(entry.name)
    ]
    facts = {field: getattr(entry, field) for field in FACTS}
    return {"name": entry.name, "title": entry.title, "kind": entry.kind, "hub": entry.hub, "facts": facts,
            "files": entry.files, "openness": judgments, "note": entry.note}  # fmt: skip


def _value(fact: "Fact[object] | None") -> object:
    if fact is None:
        return None
    return ", ".join(map(str, fact.value)) if isinstance(fact.value, tuple) else fact.value


def _cell(entry: Model, field: str) -> str:
    fact: Fact[object] | None = getattr(entry, field)
    if fact is None:
        return "–"
    value = fact.value
    if field in ("parameters", "active_parameters", "training_tokens") and isinstance(value, int):
        text = _short(value)
    elif isinstance(value, tuple):
        text = ",".join(map(str, value[:4])) + ("…" if len(value) > 4 else "")
    else:
        text = str(value)
    return text + ("" if fact.verified else _UNVERIFIED)


def _short(value: int) -> str:
    for scale, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return str(value)


def _openness(entry: Model) -> str:
    found = selection.judged(entry.name)
    return f"{found.share:.0%}" if found else "–"
