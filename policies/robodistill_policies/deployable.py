"""What may run on a robot: nothing that only a simulator knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.spec import TermSpec


def check_deployable(groups: Iterable[str], terms: Mapping[str, Sequence[TermSpec]]) -> None:
    """Refuse ``groups`` that hold a privileged term; ``terms`` is the spec's ``groups``."""
    for group in groups:
        if group not in terms:
            raise SpecError(unknown("group", group, terms))
        for term in terms[group]:
            if term.source == "privileged":
                raise SpecError(
                    f"group {group!r}: term {term.name!r} is privileged, a robot cannot measure it; "
                    "remove it from what the student reads"
                )
