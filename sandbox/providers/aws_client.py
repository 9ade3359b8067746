"""How the sandbox's `aws` provider speaks to the emulator: clients, tags, what is not there, waiting."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from sandbox.providers.emulated import loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.providers.shapes import Properties

TERRAFORM = "terraform-provider-aws internal/service/"
"""Where the real provider's schema says what replaces (`ForceNew`)."""
REGION = "; region: terraform-provider-aws website/docs/guides/enhanced-region-support, a change replaces"

_WAIT_LIMIT = 20.0  # real seconds: the emulator is done at once, or never
_PAUSE = 0.1


@dataclass(slots=True)
class Settings:
    """The provider's configuration."""

    region: str = ""
    default_tags: dict[str, str] = field(default_factory=dict)


SETTINGS = Settings()


@cache
def _client(service: str, region: str) -> Any:
    import boto3  # noqa: PLC0415  heavy: a preview without look-ups needs none
    from botocore.config import Config  # noqa: PLC0415

    loopback(os.environ.get("AWS_ENDPOINT_URL", ""), "AWS_ENDPOINT_URL")
    # The real provider tries 25 times; here a fault should show, not last.
    retries = Config(retries={"mode": "standard", "max_attempts": 3})
    return boto3.Session().client(service, region_name=region, config=retries)  # type: ignore[call-overload]


def client(service: str, properties: Properties | None = None) -> Any:
    """Return a client of a service, in the region of a resource or else the provider's."""
    return _client(service, region_of(properties or {}))


def region_of(properties: Properties) -> str:
    """Return the region of a resource."""
    return str(properties.get("region") or SETTINGS.region)


def cloudfront() -> Any:
    """Return the client of CloudFront, which is global."""
    return _client("cloudfront", "us-east-1")


def missing(error: Exception, *codes: str) -> bool:
    """Whether an error says that something is not there."""
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    return code in codes or code == "404" or code.startswith("NoSuch")


def or_none(read: Callable[[], Properties], *codes: str) -> Properties | None:
    """Return what is read, None where it is not there."""
    try:
        return read()
    except Exception as error:
        if missing(error, *codes):
            return None
        raise


def wait(done: Callable[[], bool], what: str) -> None:
    """Wait until something is done; raises TimeoutError soon, since the emulator does not dawdle."""
    deadline = time.monotonic() + _WAIT_LIMIT
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_WAIT_LIMIT:.0f} seconds: {what}")
        time.sleep(_PAUSE)


def all_tags(properties: Properties) -> dict[str, str]:
    """Return a resource's tags with the provider's `defaultTags` under them."""
    return SETTINGS.default_tags | (properties.get("tags") or {})


def as_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags as most of AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def tag_facts(listed: list[dict[str, str]]) -> Properties:
    """Return `tags` (without the provider's own) and `tagsAll` from a list of AWS."""
    found = {tag["Key"]: tag["Value"] for tag in listed}
    own = {key: value for key, value in found.items() if SETTINGS.default_tags.get(key) != value}
    return {"tagsAll": found, **({"tags": own} if own else {})}


def gone(old: Properties, new: Properties) -> list[str]:
    """Return the keys of tags that are to be taken away."""
    return sorted(set(old.get("tagsAll") or {}) - all_tags(new).keys())
