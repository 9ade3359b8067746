"""The changes of the campaign: what a domain declares before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DAY = 86_400
ZONE = "example.com"
_REASON = "the campaign begins where others have watched reports"
_RUA = f"mailto:tls-reports@{ZONE}"


@dataclass(frozen=True, slots=True)
class DomainChange:
    """One declared change of one domain; None: it is not declared.

    `standing` are MX hosts that others manage, `by_hand` those that they add right before the change, and `taken`
    those that they take away then.
    """

    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    standing: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def domain(self) -> str:
        """The mail domain that it happens to."""
        return f"{self.name.replace(' ', '-').replace('_', '-')}.{ZONE}"

    @property
    def is_long(self) -> bool:
        """Whether it takes more than three calls that change something, may take more updates, or changes the host."""
        if self.before is None or self.after is None:
            return True
        before, after = (
            {entry if isinstance(entry, str) else entry["host"] for entry in declared["mx"]}
            for declared in (self.before, self.after)
        )
        return bool(before - after) or len(after - before) > 1 or "adopt" in self.after

    def declared(self, *, after: bool) -> dict[str, Any] | None:
        """Return the configuration of the domain before or after."""
        chosen = self.after if after else self.before
        return None if chosen is None else {"domain": self.domain} | chosen


def host(label: str) -> str:
    """Return the name of an MX host."""
    return f"{label}.{ZONE}"


def own(hosts: str, mode: str = "enforce", **more: Any) -> dict[str, Any]:
    """Return the configuration of a domain that manages its MX records; `hosts` are labels, first one preferred."""
    mx = [{"host": host(label), "preference": 10 * place} for place, label in enumerate(hosts.split(), 1)]
    return _with({"mx": mx, "manage_mx": True}, mode, more)


def others(patterns: str, mode: str = "enforce", **more: Any) -> dict[str, Any]:
    """Return the configuration of a domain whose MX records others manage."""
    return _with({"mx": [host(label) for label in patterns.split()]}, mode, more)


def _with(config: dict[str, Any], mode: str, more: dict[str, Any]) -> dict[str, Any]:
    acknowledged = {"acknowledge": _REASON} if mode == "enforce" else {}
    return config | acknowledged | {"mode": mode, "reports": _RUA, "max_age": 10 * DAY} | more


AB = own("mx1 mx2")
TESTING = own("mx1 mx2", "testing")
NONE = own("mx1 mx2", "none", max_age=DAY)

CHANGES = (
    DomainChange("host added", own("mx1"), AB),
    DomainChange("two hosts added", own("mx1"), own("mx1 mx2 mx3")),
    DomainChange("first host removed", AB, own("mx2")),
    DomainChange("last host removed", AB, own("mx1")),
    DomainChange("two of three removed", own("mx1 mx2 mx3"), own("mx2")),
    DomainChange("one host replaced", AB, own("mx1 mx3")),
    DomainChange("the only host replaced", own("mx1"), own("mx3")),
    DomainChange("all hosts replaced", AB, own("mx3 mx4")),
    DomainChange("all replaced and max-age lowered", AB, own("mx3 mx4", max_age=2 * DAY)),
    DomainChange("all replaced and max-age raised", AB, own("mx3 mx4", max_age=20 * DAY)),
    DomainChange("all replaced and ttl lowered", own("mx1 mx2", mx_ttl=3600, txt_ttl=3600), own("mx3 mx4")),
    DomainChange("all replaced and ttl raised", AB, own("mx3 mx4", mx_ttl=3600, txt_ttl=3600)),
    DomainChange("hosts reordered", AB, own("mx2 mx1")),
    DomainChange("explicit to wildcard", others("mx1 mx2"), others("*"), standing=("mx1", "mx2")),
    DomainChange("wildcard to explicit", others("*"), others("mx1 mx2"), standing=("mx1", "mx2")),
    DomainChange("pattern added", others("mx1"), others("mx1 mx2"), standing=("mx1",)),
    DomainChange("pattern added for a host that others added", others("mx1"), others("mx1 mx2"), ("mx1",), ("mx2",)),
    DomainChange("pattern removed", others("mx1 mx2"), others("mx1"), standing=("mx1",)),
    DomainChange(
        "pattern removed as others take the host", others("mx1 mx2"), others("mx1"), ("mx1", "mx2"), (), ("mx2",)
    ),
    DomainChange(
        "all moved by others below a wildcard", others("*"), others("*", max_age=20 * DAY), ("mx1",), ("mx2",), ("mx1",)
    ),
    DomainChange("max-age raised", AB, AB | {"max_age": 30 * DAY}),
    DomainChange("max-age lowered", AB, AB | {"max_age": DAY}),
    DomainChange("max-age raised and host added", own("mx1"), AB | {"max_age": 30 * DAY}),
    DomainChange("max-age lowered and host removed", AB, own("mx1", max_age=DAY)),
    DomainChange("testing to enforce", TESTING, AB),
    DomainChange("testing to enforce with a new host", own("mx1", "testing"), AB),
    DomainChange("testing to none", TESTING, NONE),
    DomainChange("none to testing", NONE, TESTING),
    DomainChange("none to enforce", NONE, AB),
    DomainChange("enforce to testing", AB, TESTING),
    DomainChange("enforce to testing and all replaced", AB, own("mx3 mx4", "testing")),
    DomainChange("enforce to testing and host removed", AB, own("mx1", "testing")),
    DomainChange("enforce to none", AB, NONE),
    DomainChange("enforce to none and all replaced", AB, own("mx3 mx4", "none", max_age=DAY)),
    DomainChange("host added in testing", own("mx1", "testing"), TESTING),
    DomainChange("all replaced in testing", TESTING, own("mx3 mx4", "testing")),
    DomainChange("epoch set", AB, AB | {"epoch": "2"}),
    DomainChange("epoch changed and host added", own("mx1", epoch="1"), AB | {"epoch": "2"}),
    DomainChange("reports changed", AB, AB | {"reports": f"mailto:new@{ZONE}"}),
    DomainChange("reports removed", AB, {key: value for key, value in AB.items() if key != "reports"}),
    DomainChange("txt ttl raised", AB, AB | {"txt_ttl": 3600}),
    DomainChange("txt ttl lowered", AB | {"txt_ttl": 3600}, AB),
    DomainChange("mx ttl raised", AB, AB | {"mx_ttl": 3600}),
    DomainChange("cname ttl raised", AB, AB | {"cname_ttl": 3600}),
    DomainChange("mx no longer managed", AB, others("mx1 mx2")),
    DomainChange("mx managed from now on", others("mx1 mx2"), AB | {"adopt": True}, standing=("mx1", "mx2")),
    DomainChange("domain removed", NONE, None),
    # Its certificate name makes a new certificate for every domain of the host.
    DomainChange("domain added", None, TESTING),
    DomainChange("domain added in enforce", None, AB),
)
