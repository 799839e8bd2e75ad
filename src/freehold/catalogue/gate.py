"""The rights gate as the pipeline passes it: what was asked, what the verdict was, and who went on in spite of it.

Every verdict is kept with the use it was for, under `rights/` in the workspace, named by its digest.
"""

from collections.abc import Mapping

from freehold.catalogue import rights
from freehold.catalogue.rights import Verdict
from freehold.errors import RefusedError, UndeterminedError
from freehold.records import Record, digest
from freehold.spec import Use
from freehold.store.workspace import Workspace, write_record


class Passage(Record, frozen=True, kw_only=True):
    """A verdict on record. `overridden_by` and `reason` are given where somebody answers for going on regardless."""

    digest: str
    task: str
    use: Mapping[str, object]
    verdict: Verdict
    overridden_by: str | None
    reason: str | None

    @property
    def sentence(self) -> str:
        """What the gate says, in one line."""
        said = f"{self.verdict.headline} ({', '.join(self.verdict.licences) or 'no licence text'})"
        return said if self.overridden_by is None else f"{said}; overridden by {self.overridden_by}: {self.reason}"


def passed(verdict: Verdict, task: str, use: Use, workspace: Workspace) -> Passage:
    """Keep the verdict and go on; raises `RefusedError` or `UndeterminedError` where nobody overrides it."""
    refused = verdict.exit_code != 0
    if refused and use.override is None:
        try:
            rights.enforce(verdict)
        except (RefusedError, UndeterminedError) as error:
            hint = "where you hold a licence that allows it, state use.override with by and reason"
            raise type(error)(f"{error}; {hint}") from None
    override = use.override if refused else None
    stated = use.model_dump(mode="json", exclude={"override"})
    by, reason = (override.by, override.reason) if override else (None, None)
    identity = digest([task, stated, verdict, by, reason])
    passage = Passage(digest=identity, task=task, use=stated, verdict=verdict, overridden_by=by, reason=reason)
    write_record(workspace.root / "rights" / f"{identity}.json", passage)
    return passage
