"""What a reviewer has to know of a domain besides the verdict, and must not have to look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta_sts.cloud_resources import UnseenError, get
from mta_sts.ledger import FETCH_SECONDS
from mta_sts.policy import Mode
from mta_sts.review.parts import Role
from mta_sts.review.words import Act, Reason, duration, listed
from mta_sts.safety.model import policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mta_sts.policy import Policy
    from mta_sts.review.world import Domain, Side

_TTL = 300  # of a record whose own can't be seen


def remarks(domain: Domain) -> Iterator[Reason]:
    """Yield them, the most important first."""
    before, after = domain.side(after=False), domain.side(after=True)
    old, new = _policy(before), _policy(after)
    yield from _protection(domain, before, old)
    if new is not None and new.mode is Mode.ENFORCE and (old is None or old.mode is not Mode.ENFORCE):
        rests_on = grounds(domain, after=True)
        yield Reason(
            "enforce-begins",
            "This starts to enforce: from now on senders refuse MX hosts that the policy does not list, or whose "
            f"certificate is not good. {rests_on[:1].upper()}{rests_on[1:] or _NO_GROUNDS}.",
        )
    if old is not None and old.mode is Mode.ENFORCE and new is not None and new.mode is not Mode.ENFORCE:
        yield Reason(
            "enforce-ends",
            f"This ends enforcing: the mode becomes {new.mode}, and senders that have seen it deliver to any MX host, "
            "also without a good certificate. Is that meant?",
        )
    asked, asks = told(lambda: before.reports), told(lambda: after.reports)
    if asked and asks == [] and new is not None and new.mode is not Mode.NONE:
        yield Reason(
            "reports-end",
            f"TLS reports end while the policy is in {new.mode}: nobody is told any more when mail is not delivered.",
            (Act("Keep the `_smtp._tls` record as long as there is a policy."),),
        )


def _protection(domain: Domain, before: Side, policy: Policy | None) -> Iterator[Reason]:
    """Say what may be deleted from now on, and from when that would do no harm."""
    # Of what our component makes, the record stands for all: the rest is let go with it.
    steps = [part.step for part in domain.lifted() if not part.ours or part.role is Role.RECORD]
    names = [step.urn.rpartition("::")[2] for step in (*steps, *domain.unprotected_buckets)]
    if not names:
        return
    lifted = f"Protection from deletion is lifted from {listed(names)}."
    if policy is None:
        yield Reason("protection-lifted", f"{lifted} The plan does not show which policy senders may hold.", (_LOOK,))
    elif policy.mode is Mode.NONE:
        said = f" The component says from when the domain may be taken off: {domain.removable_from}."
        yield Reason(
            "protection-lifted",
            f"{lifted} The policy is taken back already.{said if domain.removable_from else ''}",
            () if domain.removable_from else (_LOOK,),
        )
    else:
        seconds = policy.max_age + before.ttl(Role.RECORD, _TTL) + FETCH_SECONDS
        lose = "mail would lose its protection" if policy.mode is Mode.ENFORCE else "no mail would be lost"
        yield Reason(
            "protection-lifted",
            f"{lifted} Senders may hold the {policy.mode} policy for {duration(policy.max_age)} after its record has "
            f"gone; {lose}.",
            (
                Act("Before anything is deleted, publish `mode: none` with max_age 86400 and a new id."),
                Act("Delete what is to go.", seconds),
            ),
        )


_LOOK = Act("Delete nothing before `--live` shows that no sender can hold a policy any more.")


_NO_GROUNDS = "Nothing in the plan tells whether TLS reports show that mail would arrive"


def grounds(domain: Domain, *, after: bool) -> str:
    """Return what enforce rests on, as our component was told it; empty where it was told nothing."""
    state = domain.component and (domain.component.new if after else domain.component.old)
    window = told(lambda: get(state.props, "evidence")) if state else None
    reason = told(lambda: get(state.props, "acknowledge")) if state else None
    parts = [_window(window)] if isinstance(window, dict) else ["without evidence from reports"] if reason else []
    return "; ".join([*parts, *([f"acknowledged: {reason}"] if reason else [])])


def _window(window: Mapping[str, Any]) -> str:
    from mta_sts.evidence import shown_window  # noqa: PLC0415  heavy, and few plans take the step

    return f"on {shown_window(window)}"


def _policy(side: Side) -> Policy | None:
    body = told(lambda: side.body)
    return policy_of(body) if body else None


def told(read: Callable[[], Any]) -> Any:
    """Return what is read, None where the plan can't tell."""
    try:
        return read()
    except UnseenError:
        return None
