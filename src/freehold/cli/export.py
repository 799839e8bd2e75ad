"""`freehold export` and `freehold parity`: what leaves the workspace, and whether it is what was trained."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.store.workspace import Workspace

_DEFAULT = "F16,Q8_0,Q4_K_M,Q4_0"
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NameArgument = Annotated[str, typer.Argument(help="A task, or the beginning of an adapter's digest.")]


def export(
    name: NameArgument,
    format: Annotated[
        str, typer.Option("--format", help="peft, gguf-adapter, llama.cpp, ollama or vllm.")
    ] = "llama.cpp",
    encoding: Annotated[
        str | None,
        typer.Option(help="F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M or Q4_0; left out: the quickest that keeps parity."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The folder; left out: TASK-FORMAT here.")] = None,
    json: JsonOption = False,
) -> None:
    """Write a tuned model for another server: weights, prompt, NOTICE, model card and every file's digest."""
    from freehold.evaluation import memorised
    from freehold.evaluation.adapter_parity import encoding_for
    from freehold.tuning import export as exporting

    workspace, progress = Workspace.here(), Terminal()
    manifest = exporting.adapters_of(workspace, name)[0]
    warning = memorised.passed(workspace, manifest.digest, memorised.rule_of(workspace, manifest.task))
    if warning is not None:
        progress.say("memorised", warning)
    order = exporting.Order(adapter=manifest.digest, format=format)
    if exporting.format_of(format).encoded:
        chosen = encoding_for(workspace, manifest, encoding, progress)
        progress.say("encoding", chosen.reason)
        order = exporting.Order(manifest.digest, format, chosen.encoding, chosen.parity)
    made = exporting.export(order, workspace, to or Path(f"{manifest.task}-{format}"), progress)
    if json:
        return as_json(made)
    say(f"{made.folder}   {made.format}{f' {made.encoding}' if made.encoding else ''}, adapter {made.adapter[:12]}")
    table(["file", "sha256"], [[path, sha256[:16]] for path, sha256 in made.files.items()])


def parity(  # noqa: PLR0913 (one parameter an option)
    name: NameArgument,
    encodings: Annotated[str, typer.Option(help="Merged copies to compare, with commas; empty for none.")] = _DEFAULT,
    engines: Annotated[
        str | None,
        typer.Option(help="wheel, native, vllm, with commas; left out: what is installed and does not serve."),
    ] = None,
    beside: Annotated[
        str,
        typer.Option(help="Encodings of the base to compare the adapter beside, such as BF16,Q8_0; empty for none."),
    ] = "",
    choose: Annotated[
        bool, typer.Option("--choose", help="Serve its base in the quickest encoding that every adapter of it passes.")
    ] = False,
    examples: Annotated[int, typer.Option(min=1, help="At most so many examples that were not trained on.")] = 200,
    json: JsonOption = False,
) -> None:
    """Compare every way of serving an adapter with the trainer; exit 3 where the one that is served differs."""
    from freehold.evaluation import adapter_parity
    from freehold.evaluation.parity import require
    from freehold.tuning.export import adapters_of

    workspace = Workspace.here()
    manifest = adapters_of(workspace, name)[0]
    if choose:
        chosen = adapter_parity.choose_beside(workspace, manifest.base, Terminal(), examples)
        as_json(chosen) if json else say(
            f"{manifest.base} may be served in {', '.join(chosen.encodings)}: {chosen.reason}"
        )
        return
    others = adapter_parity.engines_unserved(workspace) if engines is None else adapter_parity.engines_of(engines)
    merged, aside = adapter_parity.encodings_of(encodings), adapter_parity.encodings_of(beside)
    wanted = adapter_parity.Wanted(merged=merged, beside=aside, engines=others, as_trained=True)
    found = adapter_parity.measured(workspace, manifest, wanted, Terminal(), examples)
    if json:
        as_json(found)
    else:
        say(f"{found.task}, adapter {found.adapter[:12]}: {found.examples} examples, against the trainer in float32")
        table(
            ["way", "same answers", "95 % interval", "drift (nats)", "most", "other ids", "ms an answer", "passes"],
            [
                [
                    each.name,
                    f"{each.agreement.value:.1%}",
                    f"[{each.agreement.low:.1%}, {each.agreement.high:.1%}]",
                    each.drift,
                    each.drift_most,
                    each.ids_differ,
                    each.answer_ms,
                    "yes" if each.passes else "no",
                ]
                for each in found.ways
            ],
        )
    served = found.of(adapter_parity.SERVED)
    if served is not None:
        require(served)
