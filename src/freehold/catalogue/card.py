"""`NOTICE` and `MODEL_CARD.md` in a folder that may leave the company: what it holds, and what its licences ask.

The folder's reader needs nothing but these two files to keep the duties. Beside an adapter also stands what it was made
for (`use.json`), so that whatever is exported from it later is held to the same use.
"""

from pathlib import Path

from freehold.catalogue import licence, openness, rights
from freehold.catalogue.rights import Behind, Verdict
from freehold.records import AdapterManifest, Record
from freehold.spec import Use
from freehold.store.workspace import Workspace, read_record, write_atomically, write_record

NOTICE_FILE = "NOTICE"
CARD_FILE = "MODEL_CARD.md"
USE_FILE = "use.json"
_ADAPTER = "an adapter"


class MadeFor(Record, frozen=True, kw_only=True):
    """The use that an adapter was tuned for, and what stands behind it beside its base."""

    use: dict[str, object]
    behind: Behind


def write(folder: Path, manifest: AdapterManifest, use: Use, behind: Behind, workspace: Workspace) -> None:
    """Write both files beside an adapter, and what it was made for."""
    made_for = MadeFor(use=use.model_dump(mode="json", exclude={"override"}), behind=behind)
    write_record(folder / USE_FILE, made_for)
    _write(folder, manifest, made_for, _ADAPTER, workspace)


def write_beside(folder: Path, manifest: AdapterManifest, form: str, workspace: Workspace) -> None:
    """Write both files into a folder that is exported from an adapter.

    `form` says what it holds, such as "a merged model in GGUF". Without a record of what the adapter was made for, the
    terms are those of a use of which nothing is stated.
    """
    kept = workspace.adapters / manifest.digest / USE_FILE
    made_for = read_record(kept, MadeFor) if kept.exists() else MadeFor(use={}, behind=Behind())
    _write(folder, manifest, made_for, form, workspace)


def _write(folder: Path, manifest: AdapterManifest, made_for: MadeFor, form: str, workspace: Workspace) -> None:
    passed_on = Use.model_validate(made_for.use | {"redistribute": True})
    verdict = rights.check(manifest.base, passed_on, made_for.behind, workspace)
    write_atomically(folder / NOTICE_FILE, notice(manifest, verdict, form).encode())
    write_atomically(folder / CARD_FILE, card(manifest, verdict, made_for.use, form).encode())


def notice(manifest: AdapterManifest, verdict: Verdict, form: str = _ADAPTER) -> str:
    """The prescribed lines, and every duty with its clause."""
    lines = [f"{manifest.task}: {form} of {manifest.base}, modified by tuning and made with Freehold.", ""]
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


def card(manifest: AdapterManifest, verdict: Verdict, use: dict[str, object], form: str = _ADAPTER) -> str:
    """A model card: origin by digest, tuning, use and terms."""
    last = manifest.losses[-1] if manifest.losses else None
    stated = {key: value for key, value in use.items() if value is not None}
    judged = openness.of_model(manifest.base)
    rows = [
        ("task", manifest.task),
        ("what this is", form),
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
    """Lines that a licence wants word for word; a wording that nobody has compared with the text says so."""
    by_title = {each.title: each for each in licence.licences().values()}
    lines = []
    for text in (by_title[title] for title in verdict.licences if title in by_title):
        if text.notice and not text.notice_source:
            lines.append(f"The next line's wording was not compared with the text of the {text.title}:")
        lines += [text.notice, ""] if text.notice else []
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
