"""`freehold forget`, `retention`, `backup` and `restore`: what a workspace keeps, for how long, and where else."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say
from freehold.cli.progress import Terminal
from freehold.cli.task import JsonOption
from freehold.store.workspace import Workspace


def forget(
    subject: Annotated[str, typer.Argument(help="The id that the person's rows carry.")],
    json: JsonOption = False,
) -> None:
    """Take one person's data out again, everywhere in this workspace."""
    from freehold.data import forget as forgetting

    done = forgetting.forget(Workspace.here(), subject)
    if json:
        return as_json(done)
    say(f"{len(done.exchanges):,} exchanges emptied · {sum(map(len, done.examples.values())):,} examples erased")
    say(f"{len(done.reports):,} reports stripped · {done.cached_answers:,} cached answers dropped")
    for each in done.adapters:
        say(f"tainted: adapter {each.adapter[:12]} on {each.base}; training it took {each.seconds:,.0f} s")
    for digest in done.classifiers:
        say(f"tainted: classifier {digest[:12]}")
    if done.adapters or done.classifiers:
        say(f"training anew without them takes about {done.retraining_seconds:,.0f} s, as measured: `freehold run`")
    if done.deployments:
        say(f"no longer served from what is tainted: {', '.join(done.deployments)}")
    if done.sources_to_clean:
        say(f"yours to clean: {', '.join(done.sources_to_clean)}")
    if done.journals_to_close:
        say("a gateway's journal may still hold them: stop the gateway, start it again, and repeat this command")
    if done.backups_to_delete:
        say(f"backups hold them still: {', '.join(done.backups_to_delete)}")
    say(f"certificate .freehold/certificates/forgotten-{done.digest[:12]}.json")


def retention(
    keep: Annotated[str | None, typer.Option(help="How long raw exchanges are kept from now on, such as 90d.")] = None,
    json: JsonOption = False,
) -> None:
    """Erase raw exchanges that are older than the policy allows; a running gateway does so every hour."""
    from freehold.data import retention as keeping

    workspace = Workspace.here()
    if keep is not None:
        keeping.set_policy(workspace, keeping.days(keep))
    done = keeping.apply(workspace)
    if json:
        return as_json(done)
    if done is None:
        return say("everything is kept; `freehold retention --keep 90d` sets a policy")
    say(f"raw exchanges are kept for {done.days:,} days: {done.exchanges:,} older ones lost their words")
    if done.examples:
        erased = sum(done.examples.values())
        say(f"{erased:,} examples made of them were erased, tombstones kept; {done.reports:,} reports stripped")


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write, such as freehold.tar.")],
    models: Annotated[bool, typer.Option(help="Bases too; they can be pulled again.")] = True,
    json: JsonOption = False,
) -> None:
    """Write the whole workspace into one file; a gateway may go on serving."""
    from freehold.store import backup as backups

    made = backups.backup(Workspace.here(), target, models, Terminal())
    size = sum(each.size for each in made.files)
    if json:
        return as_json({"digest": made.digest, "files": len(made.files), "bytes": size, "models": models})
    say(f"{len(made.files):,} files, {size / 1e6:,.1f} MB, in {target}")
    say(f"digest {made.digest}")
    say("it holds the workspace's keys: store it as you would store them")


def restore(
    source: Annotated[Path, typer.Argument(help="A file that `freehold backup` wrote.")],
    json: JsonOption = False,
) -> None:
    """Bring a backup back into an empty workspace, every file's digest checked."""
    from datetime import UTC, datetime

    from freehold.store import backup as backups

    workspace = Workspace.here()
    made = backups.restore(source, workspace, Terminal())
    if json:
        return as_json({"digest": made.digest, "files": len(made.files), "taken_at": made.taken_at})
    when = datetime.fromtimestamp(made.taken_at, UTC)
    say(f"{len(made.files):,} files restored to {workspace.root}, as of {when:%Y-%m-%d %H:%M:%S} UTC, digests verified")
    if not made.models:
        say("bases were left out; `freehold pull` fetches them by the lock file")
    say("whoever was forgotten since then must be forgotten again; the certificates name the pseudonyms")
