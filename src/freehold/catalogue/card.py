"""`NOTICE` and `MODEL_CARD.md` in a folder that may leave the company: what it holds, and what its licences ask.

The folder's reader needs nothing but these two files to keep the duties.
"""

from pathlib import Path

from freehold.catalogue import licence, openness, rights
from freehold.catalogue.rights import Behind, Verdict
from freehold.records import AdapterManifest
from freehold.spec import Use
from freehold.store.workspace import Workspace, write_atomically

NOTICE_FILE = "NOTICE"
CARD_FILE = "MODEL_CARD.md"


def write(folder: Path, manifest: AdapterManifest, use: Use, behind: Behind, workspace: Workspace) -> None:
    """Write both files beside an adapter, or beside what was exported from it."""
    passed_on = use.model_copy(update={"redistribute": True})
    verdict = rights.check(manifest.base, passed_on, behind, workspace)
    write_atomically(folder / NOTICE_FILE, notice(manifest, verdict).encode())
    write_atomically(folder / CARD_FILE, card(manifest, verdict, use).encode())


def notice(manifest: AdapterManifest, verdict: Verdict) -> str:
    """The prescribed lines, and every duty with its clause."""
    lines = [f"{manifest.task}: an adapter of {manifest.base}, made with Freehold.", ""]
    lines += _prescribed(verdict)
    lines += ["Duties of whoever passes this on:", ""]
    lines += [f"- {duty}" for duty in verdict.duties] or ["- none is known"]
    conditions = [reason for reason in verdict.reasons if reason.answer is not rights.Answer.ALLOWED]
    if conditions:
        lines += ["", "Conditions of use:", ""]
        lines += [f"- {each.sentence} ({each.licence}, {each.clause}; {each.concerns})" for each in conditions]
    licences = ", ".join(verdict.licences) or "not established"
    lines += ["", f"Licences: {licences}. Read on {verdict.read_on or 'no date'}. {verdict.notice.capitalize()}.", ""]
    return "\n".join(lines)


def card(manifest: AdapterManifest, verdict: Verdict, use: Use) -> str:
    """A model card: origin by digest, tuning, use and terms."""
    last = manifest.losses[-1] if manifest.losses else None
    stated = {key: value for key, value in use.model_dump(exclude={"override"}).items() if value is not None}
    judged = openness.of_model(manifest.base)
    rows = [
        ("task", manifest.task),
        ("base", f"{manifest.base}, digest {manifest.base_digest}"),
        ("dataset", f"digest {manifest.dataset}"),
        ("adapter", f"digest {manifest.digest}, weights SHA-256 {manifest.weights_sha256}"),
        ("recipe", ", ".join(f"{key} {value}" for key, value in manifest.recipe.items())),
        ("seed", str(manifest.seed)),
        ("loss at the end", f"{last.train:.3f} in training" if last else "not recorded"),
        ("versions", ", ".join(f"{key} {value}" for key, value in sorted(manifest.versions.items()))),
        ("licences", ", ".join(verdict.licences) or "not established"),
        ("may be passed on", verdict.headline),
        ("intended use", ", ".join(f"{key} {value}" for key, value in stated.items()) or "not stated"),
        ("openness of the base", "; ".join(f"{each.share:.0%} ({each.index})" for each in judged) or "not judged"),
    ]
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
    where = "How good it is stands in the report that its decision names; what its licences ask stands in"
    last_line = f"{where} `{NOTICE_FILE}`. {verdict.notice.capitalize()}."
    return f"# {manifest.task}\n\n| | |\n|---|---|\n{table}\n\n{last_line}\n"


def _prescribed(verdict: Verdict) -> list[str]:
    """Lines that a licence wants word for word."""
    by_title = {each.title: each for each in licence.licences().values()}
    texts = [by_title[title].notice for title in verdict.licences if title in by_title]
    return [line for text in texts if text for line in (text, "")]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
