"""`freehold deploy`: public model names and what stands behind them."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from freehold.cli.amounts import recorded
from freehold.cli.cascade import cascade
from freehold.cli.guardrails import cache, guard
from freehold.cli.objectives import slo
from freehold.cli.output import as_json, say, table
from freehold.cli.shares import share_of
from freehold.errors import UserError
from freehold.records import Bounds
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.records import Interval
    from freehold.store.database import Store
    from freehold.store.deployments import Deployment, Share, Target

_WIDEST = 60
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

deploy = typer.Typer(no_args_is_help=True, add_completion=False, help="Public model names and what stands behind them.")

deploy.command("cascade")(cascade)
deploy.command("slo")(slo)
deploy.command("guard")(guard)
deploy.command("cache")(cache)


@deploy.command("list")
def list_deployments(json: JsonOption = False) -> None:
    """List what is deployed, and what share of its requests a cascade has passed on."""
    import msgspec

    from freehold.gateway.cascade import all_measured
    from freehold.store.deployments import all_current, target_name

    store = recorded()
    found = all_current(store)
    passed_on = all_measured(store)
    if json:
        return as_json([msgspec.to_builtins(each) | {"escalated": passed_on.get(name)} for name, each in found.items()])
    rows = []
    for name, each in found.items():
        canary = ", ".join(f"{share.share:.0%} {target_name(share.target)}" for share in each.shares) or "–"
        fallbacks = ", ".join(map(target_name, each.fallbacks)) or "–"
        rows.append([name, target_name(each.target), canary, fallbacks, _passed_on(each, passed_on.get(name))])
    table(["name", "target", "canary", "fallbacks", "cascade"], rows)


def _passed_on(deployment: "Deployment", share: "Interval | None") -> str:
    """What a cascade has passed on, as measured."""
    from freehold.store.deployments import target_name

    if deployment.cascade is None:
        return "–"
    to = target_name(deployment.cascade.to)
    if share is None:
        return f"to {to}; nothing asked yet"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.n:,} to {to}"


@deploy.command("remote")
def deploy_remote(
    name: Annotated[str, typer.Argument(help="The public model name.")],
    base_url: Annotated[str, typer.Argument(help="An OpenAI-compatible address, up to /v1.")],
    model: Annotated[str, typer.Argument(help="The model's name there.")],
    api_key: Annotated[str | None, typer.Option(help="A reference such as '${OPENAI_API_KEY}'.")] = None,
    speaks: Annotated[
        Literal["all", "chat"], typer.Option(help="What it is asked in: as it comes, or made a chat first.")
    ] = "all",
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy remote",
) -> None:
    """Let a name stand for a model behind somebody's API."""
    from freehold.store import deployments

    address = deployments.require_address(base_url, "BASE_URL")
    key = deployments.require_reference(api_key, "--api-key")
    target = deployments.RemoteTarget(base_url=address, model=model, api_key=key, speaks=speaks)
    deployments.deploy(recorded(), deployments.Deployment(name=name, target=target), reason)
    say(f"{name} stands for {deployments.target_name(target)}")


@deploy.command("base")
def deploy_base(
    name: Annotated[str, typer.Argument(help="The public model name.")],
    base: Annotated[str, typer.Argument(help="A base that is pulled, such as smollm2-135m-instruct.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy base",
) -> None:
    """Let a name stand for a base as it is: the caller's messages are all it sees."""
    from freehold.gateway.roster import require_base
    from freehold.store.deployments import BaseTarget

    target = BaseTarget(base=base)
    require_base(Workspace.here(), target)
    _deployed(name, target, reason)


@deploy.command("embedder")
def deploy_embedder(
    name: Annotated[str, typer.Argument(help="The public model name.")],
    base: Annotated[str, typer.Argument(help="An embedding model that is pulled, such as all-minilm-l6-v2.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy embedder",
) -> None:
    """Let a name stand for an embedding model: it answers /v1/embeddings and /v1/rerank."""
    from freehold.engines.llamacpp_embedder import embedder_of
    from freehold.store.deployments import EmbedderTarget

    embedder_of(Workspace.here().models / base)  # raises where it is none
    _deployed(name, EmbedderTarget(base=base), reason)


def _deployed(name: str, target: "Target", reason: str) -> None:
    from freehold.store import deployments

    deployments.deploy(recorded(), deployments.Deployment(name=name, target=target), reason)
    say(f"{name} stands for {deployments.target_name(target)}; a running gateway follows within a second")


@deploy.command("choose")
def choose_target(
    name: Annotated[str, typer.Argument(help="The public model name, such as a task's own.")],
    other: Annotated[str, typer.Argument(help="A deployed name, such as frontline-triage:classifier-tf-idf.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy choose",
) -> None:
    """Let a name stand for what another deployed name stands for: a person's choice, which the next run keeps."""
    from msgspec.structs import replace

    from freehold.store import deployments
    from freehold.store.taints import require_deployable

    store = recorded()
    chosen = deployments.current(store, other)
    require_deployable(Workspace.here(), chosen)
    row = deployments.deploy(store, replace(chosen, name=name), reason)
    say(
        f"{name} stands for {deployments.target_name(chosen.target)} (row {row}); a running gateway follows in a second"
    )


@deploy.command("set")
def set_deployment(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(help="The public model name.")],
    other: Annotated[
        str | None, typer.Option("--to", help="Another deployed name, whose target the canary or shadow asks.")
    ] = None,
    canary: Annotated[str | None, typer.Option(help="The share of sessions that --to answers, such as 10%.")] = None,
    shadow: Annotated[str | None, typer.Option(help="The share of requests that --to is asked beside.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Deployed names and their shares, such as 'a=30%,b=20%'; the rest stays.")
    ] = None,
    fallback: Annotated[str | None, typer.Option(help="Deployed names to fall back to, with commas.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy set",
) -> None:
    """Change shares, shadow or fallbacks while the gateway runs; each change is a row."""
    from msgspec.structs import replace

    from freehold.store import deployments
    from freehold.store.deployments import Share
    from freehold.store.taints import require_deployable

    store = recorded()
    deployment = deployments.current(store, name)
    if canary is None and shadow is None and fallback is None and weights is None:
        raise UserError("name what to change: --canary, --weights, --shadow or --fallback")
    if canary is not None and weights is not None:
        raise UserError("--canary and --weights both say who answers; name one of them")
    if weights is not None:
        deployment = replace(deployment, shares=_weighted(store, weights))
    for option, text in (("--canary", canary), ("--shadow", shadow)):
        if text is not None:
            share = share_of(text, option)
            if share > 0 and other is None:
                raise UserError(f"{option} needs --to: the deployed name whose target it asks")
            asked = (Share(target=deployments.current(store, other).target, share=share),) if share and other else ()
            change = {"shares": asked} if option == "--canary" else {"shadow": asked[0] if asked else None}
            deployment = replace(deployment, **change)
    if fallback is not None:
        names = [each.strip() for each in fallback.split(",") if each.strip()]
        targets = tuple(deployments.current(store, each).target for each in names)
        deployment = replace(deployment, fallbacks=targets)
    require_deployable(Workspace.here(), deployment)
    row = deployments.deploy(store, deployment, reason)
    say(f"{name} is changed (row {row}); a running gateway follows within a second")


def _weighted(store: "Store", weights: str) -> "tuple[Share, ...]":
    """`a=30%,b=20%` as shares of the targets that those names stand for."""
    from freehold.store import deployments

    shares = []
    for part in filter(None, map(str.strip, weights.split(","))):
        name, _, text = part.partition("=")
        share = share_of(text, f"--weights: {name}")
        shares.append(deployments.Share(target=deployments.current(store, name.strip()).target, share=share))
    if sum(each.share for each in shares) > 1 + 1e-9:
        raise UserError("--weights: the shares are over 100% together")
    return tuple(each for each in shares if each.share > 0)


@deploy.command("bounds")
def set_bounds(
    name: Annotated[str, typer.Argument(help="The public model name.")],
    bounds: Annotated[
        list[str] | None,
        typer.Argument(help="margin=0.05 error_rate=0.02 latency_ms=2000 slow_rate=0.05", metavar="[BOUND=VALUE…]"),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy bounds",
) -> None:
    """Fix what sends a canary back, before it starts; without any, show what holds."""
    from msgspec.structs import asdict, replace

    from freehold.store import deployments

    store = recorded()
    deployment = deployments.current(store, name)
    changed = deployment.bounds
    for bound in bounds or ():
        changed = replace(changed, **_bound(bound))
    if changed != deployment.bounds:
        deployments.deploy(store, replace(deployment, bounds=changed), reason)
    say("  ".join(f"{field}={value:g}" for field, value in asdict(changed).items()))


def _bound(text: str) -> dict[str, float]:
    name, _, value = text.partition("=")
    if name not in Bounds.__struct_fields__:
        raise UserError(f"{text}: {name} is not a bound; there are {', '.join(Bounds.__struct_fields__)}")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    most = float("inf") if name == "latency_ms" else 1.0
    if not 0 < number < most:
        raise UserError(f"{text}: write a number above 0{'' if name == 'latency_ms' else ' and below 1'}")
    return {name: number}


@deploy.command("review")
def review_disputed(
    name: Annotated[str, typer.Argument(help="The public model name whose canary went back.")],
    json: JsonOption = False,
) -> None:
    """Show what failed or was disputed when a canary went back: the next review queue."""
    from freehold.gateway.rollback import newest_queue
    from freehold.store import exchanges

    store = recorded()
    queue = newest_queue(Workspace.here(), name)
    disputed = [exchanges.found(store, each)[0] for each in queue.exchanges]
    if json:
        return as_json({"name": name, "row": queue.row, "reasons": queue.reasons, "exchanges": disputed})
    for reason in queue.reasons:
        say(f"  {reason}")
    table(
        ["exchange", "answered by", "asked", "answered"],
        [[each.id, each.answered_by, _short(each.request), _short(each.answer)] for each in disputed],
    )
    say("  say what is right: POST /freehold/v1/feedback; a correction becomes a reference")


def _short(text: str | None) -> str:
    """The beginning of a JSON text, or why there is none."""
    shown = text or "(not kept)"
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"


@deploy.command("rollback")
def roll_back(
    name: Annotated[str, typer.Argument(help="The public model name whose canary to rule on.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Explain, and change nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Send a canary back if it has crossed its bounds; a running gateway does so by itself."""
    from freehold.cli.canary import print_ruling
    from freehold.gateway import rollback
    from freehold.store.deployments import current

    store = recorded()
    deployment = current(store, name)
    ruling = rollback.ruling(store, deployment) if dry_run else rollback.go_back(Workspace.here(), store, name)
    print_ruling(ruling, json)
