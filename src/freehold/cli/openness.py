"""`freehold openness`: the ranked matrix, the evidence, one's own assessment, and the AI Act."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.catalogue import ai_act, assessment, model, openness
from freehold.catalogue.openness import Degree, Index, Judgment, Ranked
from freehold.cli.output import as_json, say
from freehold.errors import UserError
from freehold.store.workspace import Workspace, write_atomically

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
IndexOption = Annotated[str, typer.Option("--index", help="opening-up-chatgpt or osai.")]
ModelArgument = Annotated[str, typer.Argument(help="The model's name in the catalogue.")]


@app.callback(invoke_without_command=True)
def matrix(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
    index: IndexOption = openness.FIRST,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="Your own weight: DIMENSION=NUMBER; repeat.")] = None,
    explain: Annotated[str | None, typer.Option(help="Show one project's evidence.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the matrix as an HTML page.")] = None,
    json: JsonOption = False,
) -> None:
    """Rank projects by how open they are, dimension by dimension."""
    if context.invoked_subcommand is not None:
        return
    of, chosen = openness.index(index), openness.weights(weight or [])
    if explain is not None:
        found = openness.find(explain, index)
        as_json(_evidence(of, found)) if json else _explain(of, found)
        return
    rows = openness.ranked(index, chosen)[:top]
    if html is not None:
        from freehold.catalogue import openness_page

        write_atomically(html, openness_page.page(of, rows, chosen).encode())
        say(f"wrote {html}")
    elif json:
        as_json([_row(of, each) for each in rows])
    else:
        _print(of, rows)


@app.command()
def assess(
    name: ModelArgument,
    by: Annotated[str | None, typer.Option(help="Who judges.")] = None,
    answer: Annotated[
        list[str] | None, typer.Option(help="DIMENSION=open|partial|closed|unknown,LINK; repeat. Left out: asked.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Judge a model that no index lists; every answer is kept at once."""
    entry, workspace = model.find(name), Workspace.here()
    person = by or typer.prompt("your name")
    for text in answer or []:
        asked, _, rest = text.partition("=")
        degree, _, link = rest.partition(",")
        assessment.answer(workspace, entry.name, asked, _judgment(degree, link, person))
    for dimension in assessment.load(workspace, entry.name).open_questions if not answer else ():
        say(f"\n{dimension.name}: {dimension.meaning}")
        degree = typer.prompt("  open, partial, closed or unknown", default="unknown")
        link = "" if degree == "unknown" else typer.prompt("  link to the evidence")
        assessment.answer(workspace, entry.name, dimension.name, _judgment(degree, link, person))
    kept = assessment.load(workspace, entry.name)
    if json:
        as_json({"model": kept.model, "score": kept.score, "judgments": kept.judgments})
        return
    marks = " ".join(f"{key} {each.answer.mark}" for key, each in kept.judgments.items())
    say(f"{kept.model}: {kept.score:g} of {len(assessment.dimensions_of().dimensions)} · {marks}")
    if kept.open_questions:
        say(f"not judged yet: {', '.join(each.name for each in kept.open_questions)}")


@app.command()
def act(name: ModelArgument, json: JsonOption = False) -> None:
    """Say what the European AI Act asks of a free and open-source model, and what is missing for this one."""
    found = ai_act.findings(name)
    if json:
        as_json({"model": name, "source": ai_act.act().source, "findings": found})
        return
    for each in found:
        mark = {True: "✔", False: "✘", None: "?"}[each.met]
        say(f"{mark} {each.asks} ({each.clause})")
        say(f"    {each.because}")
    rules = ai_act.act()
    say(f"spares: {rules.spares}\nstill due: {rules.still}\nsource: {rules.source} · not legal advice")


def _judgment(degree: str, link: str, person: str) -> Judgment:
    known = [str(each) for each in Degree]
    if degree.strip() not in known:
        raise UserError(f"{degree}: answer one of {', '.join(known)}")
    return Judgment(answer=Degree(degree.strip()), evidence=link.strip(), by=person)


def _row(of: Index, each: Ranked) -> dict[str, object]:
    row: dict[str, object] = {
        "rank": each.rank,
        "project": each.project.project,
        "score": each.score,
        "index": of.name,
        "version": of.version,
    }
    return row | {name.name: str(each.project.judgments[name.name].answer) for name in of.dimensions}


def _evidence(of: Index, each: Ranked) -> dict[str, object]:
    links = {name.name: each.project.judgments[name.name].evidence for name in of.dimensions}
    return _row(of, each) | {"date": each.project.date, "source": each.project.source, "evidence": links}


def _explain(of: Index, each: Ranked) -> None:
    say(f"{each.project.project} · {each.project.organisation} · score {each.score:g} · judged {each.project.date}")
    for dimension in of.dimensions:
        judgment = each.project.judgments[dimension.name]
        say(f"  {judgment.answer.mark} {dimension.meaning:<42} {judgment.evidence or 'no link'}")
    say(_footer(of))


def _print(of: Index, rows: tuple[Ranked, ...]) -> None:
    width = max((len(each.project.project) for each in rows), default=7)
    columns = [max(len(dimension.short), 3) for dimension in of.dimensions]
    say(f"{'':>4}  {'':<{width}}  {_groups(of, columns)}")
    heads = " ".join(f"{each.short:^{space}}" for each, space in zip(of.dimensions, columns, strict=True))
    say(f"{'':>4}  {'':<{width}}  {heads}  score")
    for each in rows:
        marks = [each.project.judgments[dimension.name].answer.mark for dimension in of.dimensions]
        cells = " ".join(f"{mark:^{space}}" for mark, space in zip(marks, columns, strict=True))
        value = f"{each.score:.2f}" if each.score == each.share else f"{each.score:.1f}"
        say(f"{each.rank:>4}  {each.project.project:<{width}}  {cells}  {value:>5}")
    say(f"{_footer(of)} · freehold openness --explain PROJECT for the evidence")


def _groups(of: Index, columns: list[int]) -> str:
    widths: dict[str, int] = {}
    for dimension, space in zip(of.dimensions, columns, strict=True):
        widths[dimension.group] = widths.get(dimension.group, -1) + space + 1
    return " ".join(f"{group[:space]:<{space}}" for group, space in widths.items()).rstrip()


def _footer(of: Index) -> str:
    return f"{of.name} index, {of.version}, {of.licence}, {of.citation}"
