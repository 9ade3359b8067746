"""Whether a plan is safe, domain by domain, with the reasons, the way out and a time-line that shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mta_sts.cloud_resources import UnseenError
from mta_sts.review.change import differs, judgeable
from mta_sts.review.doubts import doubts
from mta_sts.review.parts import Role
from mta_sts.review.plan import RECORD_WITH
from mta_sts.review.reading import find_domains
from mta_sts.review.reasons import explained, held_before, invalid
from mta_sts.review.remarks import grounds, remarks, told
from mta_sts.review.words import Act, Reason, duration, in_order, listed
from mta_sts.safety import Harm, Kind, prove
from mta_sts.safety.model import policy_of, publications
from mta_sts.safety.runs import after, present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mta_sts.review.change import Judgeable
    from mta_sts.review.live import Live
    from mta_sts.review.plan import Plan
    from mta_sts.review.world import Domain, Side
    from mta_sts.safety import Failure, Step, Verdict
    from mta_sts.safety.runs import State

LONG_IN_FORCE = (
    "This holds if what is published now has been so for as long as senders keep it: the review saw the plan alone "
    "(`mta-sts review --live` looks)."
)
"""The assumption of a review that sees the plan alone, in one line."""
LONG_IN_FORCE_UNREAD = (
    "The policies served so far could not be read: judged as if the plan's old state had been published long enough "
    "for every sender to know it."
)
"""The same where `--live` looked and had no ledger."""


class Grade(StrEnum):
    """What a review says, the mildest first."""

    SAFE = "safe"
    DEGRADED = "degraded"  # some sender does not use some MX host for a time; no mail is refused
    UNKNOWN = "unknown"  # it could not be told
    UNSAFE = "unsafe"  # refused, locked in, downgraded, or not valid

    @property
    def weight(self) -> int:
        """How bad it is, to be compared."""
        return list(Grade).index(self)


@dataclass(frozen=True, slots=True)
class Moment:
    """What happens `at` seconds after the update begins, and what senders are given from then on."""

    at: float
    what: str
    sees: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at one time: policy, id, MX hosts; a value that can't be told is in `untold` with the reason."""

    body: str | None = None
    id: str | None = None
    mx: tuple[str, ...] | None = None
    reports: str | None = None
    host: str | None = None
    edge_seconds: int | None = None
    grounds: str = ""
    """What our component was told that enforce rests on."""
    untold: Mapping[str, str] = field(default_factory=dict)

    @property
    def policy(self) -> Any:
        """What the body states, None where there is none, or none that is valid."""
        return policy_of(self.body) if self.body is not None else None


@dataclass(slots=True, kw_only=True)
class DomainReview:
    """What a reviewer needs to know of one domain."""

    domain: str
    grade: Grade = Grade.SAFE
    headline: str = ""
    stacks: tuple[str, ...] = ()
    ours: bool = False
    changes: bool = False
    before: Seen = field(default_factory=Seen)
    after: Seen = field(default_factory=Seen)
    retiring: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    remarks: tuple[Reason, ...] = ()
    """What a reviewer has to know whatever the verdict is, also where nothing else changes."""
    moments: tuple[Moment, ...] = ()
    """The shortest time-line that shows the harm; where there is none, the update as it would go."""
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    safe_from: float | None = None
    """Seconds from now from which the same change would be safe, None where waiting does not help or is not needed."""
    removable_from: str = ""
    """What our component said at the last update about taking the domain off."""
    remembered: bool = False
    """Whether what was served before could be read, so that nothing is assumed of it."""
    failures: tuple[Failure, ...] = ()

    @property
    def way_out(self) -> list[Act]:
        """What to do instead, as one recipe."""
        return in_order(act for reason in self.reasons for act in reason.way_out)


@dataclass(slots=True, kw_only=True)
class Review:
    """What is said of all plans together. `unseen` names changes that may be a domain's and could not be read."""

    domains: list[DomainReview] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Why a plan could not be read or judged at all; then nothing is safe."""
    said: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    live: bool = False

    @property
    def assumptions(self) -> list[str]:
        """What all verdicts rest on besides what was seen, a sentence each."""
        if not self.live:
            return [LONG_IN_FORCE]
        return [LONG_IN_FORCE_UNREAD] if any(one.changes and not one.remembered for one in self.domains) else []

    @property
    def grade(self) -> Grade:
        """The worst of all."""
        grades = [domain.grade for domain in self.domains]
        if self.problems or self.unseen:
            grades.append(Grade.UNKNOWN)
        return max(grades, key=lambda grade: grade.weight, default=Grade.SAFE)


def review(plans: Sequence[Plan], look: Callable[[Sequence[Domain]], Mapping[str, Live]] | None = None) -> Review:
    """Judge what these plans, one a stack, do to every mail domain in them.

    `look` returns what is published now of domains that change, by name; without it the plans must do.
    """
    domains, unseen = find_domains(plans)
    live = look([domain for domain in domains if domain.changes]) if look else {}
    found = Review(
        live=look is not None,
        domains=[_review(domain, live.get(domain.name)) for domain in domains],
        sources=[plan.source for plan in plans],
        said=_not_of(plans, {domain.name for domain in domains}),
        unseen=unseen,
    )
    for plan in plans:
        if plan.failed:
            found.problems.append(f"The preview of {plan.stack or plan.source} failed: {' · '.join(plan.failed)}")
        elif not plan.complete and not any(plan in domain.plans for domain in domains):
            found.problems.append(
                f"{plan.source} leaves out what stays the same, and shows nothing of MTA-STS. {_AGAIN}"
            )
    return found


def _not_of(plans: Sequence[Plan], names: set[str]) -> list[str]:
    """Return what our components have to say that is about no domain of these."""
    said = dict.fromkeys(said for plan in plans for said in plan.said)
    return [each for each in said if each.partition(": ")[0] not in names]


_AGAIN = f"Record it again with `{RECORD_WITH}`"


def _review(domain: Domain, live: Live | None) -> DomainReview:
    before, after_ = domain.side(after=False), domain.side(after=True)
    found = DomainReview(
        domain=domain.name,
        stacks=tuple(plan.stack or plan.source for plan in domain.plans),
        ours=domain.ours,
        before=_seen(before, grounds(domain, after=False)),
        after=_seen(after_, grounds(domain, after=True)),
        retiring=tuple(sorted(after_.leaving)),
        changes=domain.changes,
        removable_from=domain.removable_from,
        remarks=tuple(remarks(domain)),
        remembered=live is not None and live.ledger is not None,
        notes=(*_notes(domain), *_said(domain), *_drift(domain, live)),
    )
    if any(plan.failed for plan in domain.plans):
        return _unknown(found, "the preview failed, so what would happen is not known", "preview-failed")
    if not all(plan.complete for plan in domain.plans):
        return _unknown(found, "the plan leaves out what stays the same", "plan-incomplete", f"{_AGAIN}.")
    if found.changes:
        found = _graded(_judged(found, domain, live), tuple(invalid(domain, after_)))
    else:
        found.headline = "nothing changes for senders"
    return _doubted(found, tuple(doubts(domain, live)))


def _doubted(found: DomainReview, reasons: tuple[Reason, ...]) -> DomainReview:
    """Call nothing safe of which something is not known; harm that was found stays."""
    if reasons and found.grade.weight < Grade.UNKNOWN.weight:
        found.grade, found.reasons = Grade.UNKNOWN, reasons
        found.headline = reasons[0].text[:1].lower() + reasons[0].text[1:].removesuffix(".")
    return found


def _judged(found: DomainReview, domain: Domain, live: Live | None) -> DomainReview:
    """Ask for a proof in each world that the change may meet; the worst counts."""
    try:
        proofs = [(judged, _proof(judged)) for judged in judgeable(domain, live)]
    except UnseenError as error:
        return _unknown(found, f"{error}", "not-in-plan", "Run it with --live, which looks at what is published.")
    except ValueError as error:  # so many steps in any order, or no order that could be
        return _unknown(found, str(error), "not-judged", "Split the change.")
    if not proofs:
        found.headline = "nothing changes for mail delivery"
        return found
    judged, verdict = max(proofs, key=lambda proof: _harm(proof[1]))
    found.assumptions = judged.assumptions
    if verdict is None:
        found.headline = "it publishes no MTA-STS, so there is no policy that its MX records could offend"
    else:
        found = _proved(found, domain, judged, verdict)
    contradiction = differs(domain, live)
    if contradiction and found.grade.weight < Grade.UNKNOWN.weight:
        return _unknown(
            found,
            f"{contradiction}, and the policies served so far can't be read",
            "live-differs",
            "Review where AWS and the public DNS can be read; `pulumi refresh` brings the stack up to date.",
        )
    return found


def _proof(judged: Judgeable) -> Verdict | None:
    """Return the proof's verdict, None where no sender can hold a policy that MX records could offend."""
    if not publications(judged.world) and all(step.kind in _MX_KINDS for step in judged.change.steps):
        return None
    return prove(judged.world, judged.change)


def _harm(verdict: Verdict | None) -> int:
    """Return how bad a proof's verdict is, to be compared."""
    if verdict is None:
        return 0
    return max((2 + (failure.harm is not Harm.SKIPPED) for failure in verdict.failures), default=1)


def _unknown(found: DomainReview, why: str, rule: str, way_out: str = "") -> DomainReview:
    found.grade = Grade.UNKNOWN
    found.headline = f"could not tell: {why}"
    found.reasons = (Reason(rule, f"Could not tell: {why}.", (Act(way_out),) if way_out else ()),)
    return found


def _graded(found: DomainReview, wrong: Sequence[Reason]) -> DomainReview:
    """Add what is not valid: it is wrong whatever else is known."""
    if wrong:
        found.reasons = (*wrong, *found.reasons)
        if found.grade is not Grade.UNSAFE:
            found.headline = "what would be published is not valid, so senders would not use it"
        found.grade = Grade.UNSAFE
    return found


def _proved(found: DomainReview, domain: Domain, judged: Judgeable, verdict: Verdict) -> DomainReview:
    """Put the proof's verdict in words."""
    harmful = sorted(verdict.failures, key=lambda failure: _telling(failure, held_before(judged)))
    if not harmful:
        found.headline = "no sender refuses mail, or loses the policy"
        found.moments = tuple(_planned(judged))
        if domain.ours and len(judged.change.steps) > 1:
            found.notes += ("The component itself waits between these steps until senders can follow.",)
        found.notes += tuple(
            f"Senders that look for a new policy only when theirs ends pass {skip.host} by for up to "
            f"{duration(skip.until)}; they use the other hosts."
            for skip in verdict.skips
        )
        return found
    if not all(plan.ordered for plan in domain.plans) and not domain.ours:
        return _unknown(
            found,
            "this form of plan does not tell what waits for what, and in some order it would do harm",
            "order-unknown",
            f"Record it without streaming: `{RECORD_WITH}`.",
        )
    worst = harmful[0]
    found.failures = tuple(harmful)
    found.grade = Grade.DEGRADED if worst.harm is Harm.SKIPPED else Grade.UNSAFE
    skipping = worst.harm is Harm.SKIPPED
    found.reasons = explained(judged, [one for one in harmful if skipping or one.harm is not Harm.SKIPPED])
    found.headline = _HEADLINES[worst.harm] if worst.body or worst.harm is not Harm.REFUSED else _NO_MX
    found.moments = tuple(_shown(judged, worst))
    found.safe_from = verdict.safe_from
    return found


def _telling(failure: Failure, known: set[str]) -> tuple[int, bool, bool, bool, int, float]:
    """Return how little a failure tells: the worst harm first; of one kind what all hold, and needs no mishap."""
    rank = _RANK.index(failure.harm)
    return rank, not failure.body, failure.body not in known, bool(failure.run), len(failure.steps), failure.at


_MX_KINDS = (Kind.MX, Kind.MX_ADD, Kind.MX_REMOVE)
_RANK = (Harm.REFUSED, Harm.DOWNGRADED, Harm.LOCKED_IN, Harm.SKIPPED)
_HEADLINES = {
    Harm.REFUSED: "mail would be refused",
    Harm.DOWNGRADED: "mail would lose its protection",
    Harm.LOCKED_IN: "some senders would keep an outdated policy",
    Harm.SKIPPED: "some senders would not use an MX host for a time; no mail is refused",
}
_NO_MX = "no MX host would be in DNS, so mail would not arrive"


def _seen(side: Side, rests_on: str) -> Seen:
    """Return a side as it can be shown."""
    untold: dict[str, str] = {}

    def tell(name: str, read: Any) -> Any:
        try:
            return read()
        except UnseenError as error:
            untold[name] = str(error)
            return None

    return Seen(
        body=tell("policy", lambda: side.body),
        id=tell("id", lambda: side.id),
        mx=tell("mx", lambda: tuple(sorted(side.hosts))) if side.has(Role.MX) else None,
        reports=tell("reports", lambda: ", ".join(side.reports) or None),
        host=tell("host", lambda: ", ".join(sorted(side.names)) or None),
        edge_seconds=tell("edge", lambda: side.edge_seconds),
        grounds=rests_on,
        untold=untold,
    )


def _notes(domain: Domain) -> Iterator[str]:
    """Yield what a reviewer should know besides the verdict."""
    after_ = domain.side(after=True)
    for host in sorted(after_.leaving):
        yield f"{host} is no longer declared: the component keeps it until no sender needs it."
    body, wanted = told(lambda: domain.side(after=False).body), told(lambda: after_.body)
    if not domain.ours and body is not None and wanted is not None and body != wanted:
        yield "To roll this back, publish the old policy under a new id; an id that was used before must not come back."
    if body == wanted and any(part.changes for part in domain.of(Role.EDGE)):
        yield "The settings of its policy host change: look whether it serves the policy afterwards (`mta-sts check`)."
    if domain.removable_from and any(part.step.goes for part in domain.of(Role.RECORD)):
        yield f"At the last update the component said from when the domain may be taken off: {domain.removable_from}."


def _said(domain: Domain) -> Iterator[str]:
    """Yield what our component has to say of a domain."""
    for plan in domain.plans:
        for said in plan.said:
            if said.startswith(f"{domain.name}: "):
                yield f"The component says: {said.removeprefix(f'{domain.name}: ')}"


def _drift(domain: Domain, live: Live | None) -> Iterator[str]:
    """Yield how what is published differs from what the stack believes, and what could not be looked at."""
    if live is None:
        return
    before = domain.side(after=False)
    known, identifier = told(lambda: before.hosts) or frozenset(), told(lambda: before.id)
    if live.mx is not None and before.has(Role.MX):
        if live.mx - known:
            yield f"MX {listed(sorted(live.mx - known))} in DNS now and not in the stack: made by hand, or by others."
        if known - live.mx:
            yield f"MX {listed(sorted(known - live.mx))} in the stack and not in DNS now."
    if live.texts is not None and before.has(Role.RECORD) and live.id != identifier:
        yield f"_mta-sts shows {live.id or 'no usable record'} now, and {identifier or 'none'} in the stack."
    if live.served and before.has(Role.OBJECT) and live.body != told(lambda: before.body):
        yield "The policy host serves another policy now than the stack holds."
    yield from (f"Not looked at: {problem}." for problem in live.problems)


def _planned(judged: Judgeable) -> Iterator[Moment]:
    """Yield the update as it goes when nothing takes time but what waits."""
    ready: dict[str, float] = {}
    left = sorted(judged.change.steps, key=lambda step: step.deletion)
    while left:
        step = next(each for each in left if all(name in ready for name in each.after))
        left.remove(step)
        ready[step.name] = max([ready[name] + wait for name, wait in step.after.items()], default=0.0)
        if step.deletion:
            ready[step.name] = max([*ready.values()])
    yield from _moments(
        judged, [(ready[step.name], step) for step in sorted(judged.change.steps, key=lambda one: ready[one.name])]
    )


def _shown(judged: Judgeable, failure: Failure) -> Iterator[Moment]:
    """Yield the shortest time-line that shows a harm."""
    by_name = {step.name: step for step in judged.change.steps}
    begin = min((at for at, _ in failure.steps), default=0.0)
    taken = [(at - begin, by_name[name]) for at, name in failure.steps if name in by_name]
    yield from _moments(judged, taken)
    yield Moment(failure.at - begin, _end(failure))


def _end(failure: Failure) -> str:
    policy = policy_of(failure.body)
    holds = f"A sender that holds the policy for {listed(policy.mx)}" if policy else "A sender"
    hosts = listed(sorted(failure.hosts))
    return {
        Harm.REFUSED: f"{holds} finds {hosts} and refuses to deliver" if failure.hosts else "No MX host is left",
        Harm.DOWNGRADED: f"{holds} finds nothing to renew it with: when it ends, it delivers without a policy",
        Harm.LOCKED_IN: f"{holds} (the old one) has it under the id {failure.id}, and does not look again",
        Harm.SKIPPED: f"{holds} finds {hosts} and passes by those that it does not list",
    }[failure.harm]


def _moments(judged: Judgeable, taken: Iterable[tuple[float, Step]]) -> Iterator[Moment]:
    state = present(judged.world)
    yield Moment(-math.inf, "Before the update", _sees(state))
    for at, step in taken:
        state = after(state, step)
        name = step.name[0].upper() + step.name[1:] if step.name.startswith("the") else step.name
        yield Moment(at, name, _sees(state))


def _sees(state: State) -> str:
    """Return what senders are given, in a line."""
    policy = policy_of(state.policy) if state.policy is not None else None
    said = f"{policy.mode} for {listed(policy.mx)}" if policy else "no policy"
    return f"{said}; id {state.txt or 'none'}; MX {listed(sorted(state.mx)) or 'none'}"
