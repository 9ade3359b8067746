"""Why a domain's plan can't be called safe although no harm was found: what decides and can't be told from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts.review.parts import Edge, Role
from mta_sts.review.words import Act, Reason, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta_sts.review.live import Live
    from mta_sts.review.parts import Part
    from mta_sts.review.world import Domain

_LOOK = Act("Run it with --live, which looks at what is published.")
_CHECK = Act("Do it in an update of its own, and run `mta-sts check` on the domain at once.")


def doubts(domain: Domain, live: Live | None) -> Iterator[Reason]:
    """Yield them, the plainest first."""
    if domain.unread:
        yield Reason(
            "not-read",
            f"Could not tell: {listed(domain.unread)} may be its record or policy host, and is of a kind that is not "
            "read here.",
            (Act("Run `mta-sts check` on the domain after the change."),),
        )
    changed = dict.fromkeys(name for part in domain.of(Role.EDGE) for name in _settings(part))
    if changed:
        yield Reason(
            "policy-host-changes",
            f"Could not tell: its policy host changes ({listed(changed)}), and no plan shows whether it serves the "
            "policy afterwards.",
            (_CHECK,),
        )
    if _file_moves(domain):
        yield Reason(
            "policy-host-changes",
            "Could not tell: its policy file moves to another bucket or key, and no plan shows whether the policy host "
            "reads it there.",
            (_CHECK,),
        )
    yield from _names(domain)
    yield from _file(domain, live)


def _settings(part: Part) -> list[str]:
    """Return the settings of a distribution that change; our component's own are known to serve."""
    both = isinstance(part.old, Edge) and isinstance(part.new, Edge)
    return part.new.differs(part.old) if both and part.changes and not part.ours else []


def _file_moves(domain: Domain) -> bool:
    """Whether the policy file will be in another place; our component's policy host finds it by the domain's name."""
    files = [part for part in domain.of(Role.OBJECT) if not part.ours]
    old = {part.identity[0] for part in files if part.old is not None}
    new = {part.identity[1] for part in files if part.new is not None}
    return bool(old and new) and old != new


def _names(domain: Domain) -> Iterator[Reason]:
    """Say where the policy host's name leads to, or came from, that the plan does not show."""
    moving = [part for part in domain.of(Role.NAME) if part.changes and not part.ours and _values(part)]
    for after, word in ((False, "led"), (True, "will lead")):
        there = [part for part in moving if (part.new if after else part.old) is not None]
        if any(not domain.leads_here(part, after=after) for part in there):
            yield Reason(
                "not-in-plan",
                f"Could not tell: the name of its policy host {word} to something that is not in the plan, so which "
                "policy is served there is not known.",
                (_CHECK,),
            )


def _values(part: Part) -> bool:
    """Whether a name leads elsewhere afterwards, not only for another time."""
    return bool(getattr(part.old, "values", part.old) != getattr(part.new, "values", part.new))


def _file(domain: Domain, live: Live | None) -> Iterator[Reason]:
    """Say where a policy may have been served from something that the plan does not show."""
    if live is not None and live.served and live.texts is not None:
        return
    published = any(part.old is not None for part in domain.of(Role.RECORD, Role.NAME))
    if published and domain.shows_file and not any(part.old is not None for part in domain.of(Role.OBJECT)):
        yield Reason(
            "not-in-plan",
            "Could not tell: it has a record or a policy host already, and which policy senders were served before is "
            "not in the plan.",
            (_LOOK,),
        )
