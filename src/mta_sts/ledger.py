"""What the policy bucket remembers: the versions of a domain's policy object, and the id each was published under.

The bucket is the one place that still knows, after any failure or roll-back, which policies senders may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mta_sts.findings import Finding, MtaStsError
from mta_sts.identifier import content_id, policy_id
from mta_sts.policy import Mode, Policy, parse_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from types_boto3_s3 import S3Client

ID_METADATA = "sts-id"
"""Object metadata: the id that `_mta-sts` shows for this version."""
EPOCH_METADATA = "sts-epoch"
"""Object metadata: the epoch that went into that id."""
ADOPTED_METADATA = "sts-adopted"
"""Object metadata: ids of the DNS records that were imported before this version was written."""


LIVE_METADATA = "sts-live"
"""Object metadata: the id that `_mta-sts` showed when this version was planned, since when, and its TTL (`LiveId`)."""
UNKNOWN_ID = "?"
"""What stands for the id in `sts-live` where a domain was published before, and nothing shows an id."""
ABSENT_METADATA = "sts-absent"
"""Object metadata: since when no live MX host needs the patterns that are to leave the policy, in seconds since the
epoch, and a digest of them."""
STATED_METADATA = "sts-stated"
"""Object metadata: what the configuration's `history` states of the id in `sts-live`: the longest max_age, in seconds,
of its enforce policies, 0 where it has none."""
TXT_TTL_METADATA = "sts-txt-ttl"
"""Object metadata: the TTL, in seconds, that `_mta-sts` had under this id before it was lowered."""
MX_TTL_METADATA = "sts-mx-ttl"
"""Object metadata: the longest TTL, in seconds, that caches may give the domain's MX records for, where it is longer
than the declared one."""
HOST_TTL_METADATA = "sts-host-ttl"
"""Object metadata: the longest TTL, in seconds, that caches may have the record of the policy host for, where it is
longer than the declared one."""

FETCH_SECONDS = 60 + 300 + 60
"""Seconds between seeing an id and holding a body for it: a fetch, the pause after a failed one, and a fetch again."""
LONGEST_MAX_AGE = 31_557_600
"""Seconds after which nothing can be held any more (RFC 8461 §3.2)."""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a domain's policy object; a delete marker has neither body nor metadata.

    `written` and `ends` are in seconds since the epoch. One without a version id was never in the bucket: the
    configuration states it as `history`, and `ends` where it says until when that policy may be held.
    """

    version_id: str
    metadata: Mapping[str, str]
    written: float = 0.0
    body: str | None = None
    ends: float | None = None

    @property
    def policy(self) -> Policy | None:
        """The policy that this version states, None for a delete marker or for bytes that state none."""
        try:
            return None if self.body is None else parse_policy(self.body)
        except MtaStsError:
            return None

    @property
    def id(self) -> str:
        """The id that this version was published under, empty where nobody noted it."""
        return self.metadata.get(ID_METADATA, "")

    @property
    def noted(self) -> LiveId | None:
        """The id that was live when this version was planned."""
        return LiveId.parse(self.metadata.get(LIVE_METADATA, ""))

    def seconds(self, key: str, otherwise: int = 0) -> int:
        """Return the time that the metadata note under a key, or `otherwise`."""
        noted = self.metadata.get(key, "")
        return int(noted) if noted.isdecimal() else otherwise


@dataclass(frozen=True, slots=True)
class LiveId:
    """The id that `_mta-sts` shows, since when (seconds since the epoch), and the record's TTL in seconds."""

    id: str
    since: float
    ttl: int

    def __str__(self) -> str:
        return f"{self.id} {self.since:.0f} {self.ttl}"

    @classmethod
    def parse(cls, text: str) -> LiveId | None:
        """Return what `str` wrote, None for anything else."""
        try:
            identifier, since, ttl = text.split()
            return cls(identifier, float(since), int(ttl))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class HeldPolicy:
    """A policy that some sender may still hold; `until` is in seconds since the epoch, None while its id is visible."""

    policy: Policy
    id: str
    until: float | None


def shown_until(identifier: str, index: int, versions: Sequence[PolicyVersion], live: LiveId | None) -> float | None:
    """Return until when a cache may show the id that stood before `versions[:index]`, None while nothing bounds it.

    It went when a later id was first seen. A cache gives it on for the TTL that the record had *then*, whatever the
    later one's is: both are noted, and the longer counts; also the one from before a TTL was lowered under this id.
    """
    newer = versions[:index]
    seen = [note for note in (live, *(version.noted for version in newer)) if note is not None]
    # One id may stand for several bodies where edges differed before the domain came here.
    later = {version.id for version in newer} - {identifier}
    itself = [note for note in seen if note.id == identifier]
    ttl = max((note.ttl for note in itself), default=0)
    gone = [note.since + max(note.ttl, ttl) for note in seen if note.id in later]
    if not gone:
        return None
    before = max((version.seconds(TXT_TTL_METADATA) for version in versions if version.id == identifier), default=0)
    return max([min(gone), *(note.since + before for note in itself)])


def known_from(versions: Sequence[PolicyVersion], live: LiveId) -> float:
    """Return when every sender that looks knows the policy of the live id, in seconds since the epoch.

    No cache shows an earlier id any more, and a fetch is over, with the pause after a failed one. `versions` begin
    with the one of the live id.
    """
    earlier = [(version.id, index) for index, version in enumerate(versions)]
    earlier += [(note.id, index) for index, version in enumerate(versions, 1) if (note := version.noted) is not None]
    ends = [shown_until(identifier, index, versions, live) for identifier, index in earlier if identifier != live.id]
    return max([live.since + live.ttl, *(end for end in ends if end is not None)]) + FETCH_SECONDS


def held_policies(versions: Sequence[PolicyVersion], live: LiveId | None, now: float) -> list[HeldPolicy]:
    """Return every policy that some sender may hold now, newest first.

    A policy may be held until the last moment that its id was visible + the TTL it had + a fetch + its max_age:
    senders that see an unchanged id renew what they hold without fetching, so the end is when the id went, not when
    the bytes went. When an id went is known from later versions, which note the record as it was when they were
    planned; what nothing bounds counts as held. `versions` come newest first, those that the configuration states last.
    """
    held: list[HeldPolicy] = []
    for index, version in enumerate(versions):
        policy = version.policy
        if policy is None:
            continue
        shown = shown_until(version.id, index, versions, live)
        until = None if shown is None else shown + FETCH_SECONDS + policy.max_age
        until = version.ends if version.ends is not None else until
        if until is None or until > now:
            held.append(HeldPolicy(policy, version.id, until))
    return held


def unknown_until(versions: Sequence[PolicyVersion], live: LiveId | None) -> float | None:
    """Return until when some sender may hold a policy that is not known: 0 where none can, None: nothing bounds it.

    An id was seen in DNS that no version has and no `history` states: versions were lost, or the domain came from
    elsewhere. What was served under it may be an enforce policy, of the longest max_age that there is.
    """
    known = {version.id for version in versions}
    ends: list[float | None] = [None] if live is not None and live.id not in known else []
    for index, version in enumerate(versions, 1):
        if (note := version.noted) is not None and note.id not in known:
            shown = shown_until(note.id, index, versions, live)
            max_age = version.seconds(STATED_METADATA, LONGEST_MAX_AGE)
            ends.append(None if shown is None else shown + FETCH_SECONDS + max_age if max_age else 0.0)
    return last_end(ends)


def enforced_until(versions: Sequence[PolicyVersion], live: LiveId | None, now: float) -> float | None:
    """Return until when some sender may hold an enforce policy: 0 where none can, None while nothing bounds it."""
    unknown = unknown_until(versions, live)
    ends = [held.until for held in held_policies(versions, live, now) if held.policy.mode is Mode.ENFORCE]
    until = last_end([*ends, unknown])
    return 0.0 if until is not None and until <= now else until


def last_end(ends: Iterable[float | None]) -> float | None:
    """Return the last of these ends, 0 where there is none, None where one of them is not bounded."""
    known = list(ends)
    return None if None in known else max((end for end in known if end is not None), default=0.0)


def policy_key(domain: str) -> str:
    """Return the object key of a domain's policy; the policy host maps `mta-sts.DOMAIN` to it."""
    return f"{domain}/.well-known/mta-sts.txt"


class NoBucketError(MtaStsError):
    """There is no such bucket: before the first deploy nothing was served, later it is another bucket's name."""


def s3_client() -> S3Client:
    """Return an S3 client with the settings of the environment (`AWS_PROFILE`, …); raises MtaStsError."""
    import boto3  # noqa: PLC0415  heavy: only when S3 is read
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return boto3.client("s3")
    except (BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is no URL
        raise _unreadable("", "", error) from error


def read_versions(s3: S3Client, bucket: str, domain: str, key: str = "") -> list[PolicyVersion]:
    """Return the versions of a domain's policy object that can still matter, newest first.

    `key` is for objects that others named. Raises NoBucketError, or MtaStsError (`ledger-unreadable`) when S3 does not
    let us look: "no permission" must never read as "never served".
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only when S3 is read

    key = key or policy_key(domain)
    versions: list[PolicyVersion] = []
    try:
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        entries = [
            (entry["LastModified"].timestamp(), entry["IsLatest"], entry["VersionId"], kind)
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for entry in page.get(kind, [])  # type: ignore[attr-defined]
            if entry["Key"] == key
        ]
        # Sorting is stable and S3 lists newest first, so versions of one second stay in order.
        entries.sort(key=lambda entry: (entry[1], entry[0]), reverse=True)
        replaced = float("inf")
        for written, _, version_id, kind in entries:
            if replaced < entries[0][0] - 2 * LONGEST_MAX_AGE:
                break  # replaced so long ago that nobody can hold it
            replaced = written
            if kind == "DeleteMarkers":
                versions.append(PolicyVersion(version_id, {}, written))
                continue
            found = s3.get_object(Bucket=bucket, Key=key, VersionId=version_id)
            body = found["Body"].read().decode("utf-8", "replace")
            versions.append(PolicyVersion(version_id, found["Metadata"], written, body))
    except (BotoCoreError, ClientError) as error:
        raise _unreadable(bucket, key, error) from error
    return versions


def served_domains(s3: S3Client, bucket: str) -> list[str]:
    """Return the domains whose policy stands in a bucket, none where there is no bucket; raises as `read_versions`."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only when S3 is read

    try:
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Versions", []) if entry["IsLatest"]]
    except (BotoCoreError, ClientError) as error:
        unreadable = _unreadable(bucket, "", error)
        if isinstance(unreadable, NoBucketError):
            return []
        raise unreadable from error
    suffix = policy_key("")
    return sorted(key.removesuffix(suffix) for key in keys if key.endswith(suffix))


def _unreadable(bucket: str, key: str, error: Exception) -> MtaStsError:
    from botocore.exceptions import ClientError  # noqa: PLC0415  heavy: only when S3 is read

    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if code == "NoSuchBucket":
        message = f"there is no bucket {bucket!r}; `pulumi stack output policy_bucket` names it"
        return NoBucketError(f"bucket {bucket}", [Finding("bucket-missing", "host.bucket", message)])
    reason = f"S3 answered {code}" if code else " ".join(str(error).split())
    if "AccessDenied" in code or code == "403":
        way_out = (
            f"grant s3:ListBucketVersions on arn:aws:s3:::{bucket} and s3:GetObjectVersion on its objects "
            "(docs/permissions.md)"
        )
    else:
        way_out = "see the AWS credentials and settings of this environment, and whether S3 can be reached from here"
    place = f" in s3://{bucket}/{key}" if bucket else ""
    message = f"the served policies{place} can't be read ({reason}); {way_out}, then run again"
    return MtaStsError(f"bucket {bucket}".rstrip(), [Finding("ledger-unreadable", "host.bucket", message)])


def next_id(body: bytes, newest: PolicyVersion | None, epoch: str | None, otherwise: str) -> str:
    """Return the id to publish a body under: the one it already has, else one that was never used.

    `otherwise` is what the id is derived from where no version exists to be replaced: the live TXT id,
    or lacking that the UTC day. An id that was once visible is never visible again with another body,
    because some sender stored that other body under it (facts.md, discovery record).
    """
    if newest is None:
        return policy_id(body, otherwise, epoch)
    same_body = newest.id.startswith(content_id(body))
    if same_body and newest.metadata.get(EPOCH_METADATA, "") == (epoch or ""):
        return newest.id
    return policy_id(body, newest.version_id, epoch)
