"""One run's look at the live world, through the providers that the component itself uses.

Everything here is read synchronously and before any resource is registered: a refusal that comes out
of `apply` comes after other resources were made.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import grpc
import pulumi
from google.protobuf import struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime._context import wrap_with_context
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import get_monitor

# Pulumi's own synchronous invokes stand on this; taken directly, many invokes can wait at once.
from pulumi.runtime.sync_await import _sync_await

from mta_sts import Finding

T = TypeVar("T")

_WRONG_ACCOUNT = re.compile(r"account id not allowed", re.IGNORECASE)
# HTTP statuses and Cloudflare's codes for a token (9103 to 9109, 10000, 10001), AWS's words for credentials.
_DENIED = re.compile(
    r"\b(40[13]|91\d\d|1000[01])\b|access ?denied|forbidden|authenticat|authori[sz]|token|credential",
    re.IGNORECASE,
)
_LONGEST_REASON = 300  # characters
_MOST_AT_ONCE = 64

_runs: WeakKeyDictionary[Any, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


def once_a_run(key: tuple[Any, ...], read: Callable[[], T]) -> T:
    """Return what `read` found earlier in this run under `key`, else read it now.

    A run is known by its engine connection: in the Automation API several share one process.
    """
    seen = _runs.setdefault(get_monitor(), {})
    if key not in seen:
        seen[key] = read()
    found: T = seen[key]
    return found


def provider_for(package: str, opts: pulumi.ResourceOptions | None) -> pulumi.ProviderResource | None:
    """Return the provider that children of a component with these options will use, None for the default one."""
    opts = opts or pulumi.ResourceOptions()
    named = opts.providers or []
    candidates = list(named.values() if isinstance(named, dict) else named)  # a Mapping or a Sequence
    if opts.provider is not None:
        candidates.insert(0, opts.provider)
    for candidate in candidates:
        if isinstance(candidate, pulumi.ProviderResource) and candidate.package == package:
            return candidate
    return opts.parent.get_provider(f"{package}:") if opts.parent is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """A provider function to call: what it reads and what that takes, in words."""

    function: str
    args: dict[str, Any]
    cloud: str
    reads: str
    needs: str


async def look(look_up: LookUp, provider: pulumi.ProviderResource | None) -> Any:
    """Call a provider function now; raises what the provider answered.

    As `pulumi.runtime.invoke_async`, but in threads of its own: the SDK's all wait for the engine when it registers
    many resources, and the engine waits for a barrier that asks something here.
    """
    reference = ""
    if provider is not None:
        urn, identifier = await pulumi.Output.all(provider.urn, provider.id).future() or ("", None)
        if not identifier:
            raise LookupError("the provider's configuration is not known yet in this preview")
        reference = f"{urn}::{identifier}"
    arguments = struct_pb2.Struct()
    arguments.update(look_up.args)
    request = resource_pb2.ResourceInvokeRequest(
        tok=look_up.function,
        args=arguments,
        provider=reference,
        # The SDK's version, as its resources name it: else the engine starts a second default provider for invokes.
        version=version(f"pulumi-{look_up.function.partition(':')[0]}"),
        acceptResources=True,
    )
    monitor: Any = get_monitor()
    asked = wrap_with_context(monitor.Invoke)  # type: ignore[no-untyped-call]
    threads = once_a_run(("threads",), lambda: ThreadPoolExecutor(_MOST_AT_ONCE, "mta-sts-look-up"))
    try:
        answer = await asyncio.get_running_loop().run_in_executor(threads, asked, request)
    except grpc.RpcError as error:
        raise RuntimeError(f"invoke of {look_up.function} failed: {error.details()}") from error
    if answer.failures:
        reasons = "; ".join(f"{failure.reason} ({failure.property})" for failure in answer.failures)
        raise RuntimeError(f"invoke of {look_up.function} failed: {reasons}")
    return rpc.deserialize_properties(getattr(answer, "return"))


def look_all(look_ups: Sequence[LookUp], provider: pulumi.ProviderResource | None) -> tuple[list[Any], list[Finding]]:
    """Call provider functions, all at once; None stands for the answer of one that failed, and a finding says why."""

    async def gather() -> list[Any]:
        return await asyncio.gather(*(look(look_up, provider) for look_up in look_ups), return_exceptions=True)

    answers = _sync_await(gather()) if look_ups else []
    findings = [
        unreadable(look_up, answer)
        for look_up, answer in zip(look_ups, answers, strict=True)
        if isinstance(answer, BaseException)
    ]
    return [None if isinstance(answer, BaseException) else answer for answer in answers], findings


def unreadable(look_up: LookUp, error: BaseException) -> Finding:
    """Return the finding for a look-up that failed: what was asked, what came back, the way out."""
    reason = " ".join(str(error).split())
    denied = bool(_DENIED.search(reason))
    wrong_account = bool(_WRONG_ACCOUNT.search(reason))
    reason = reason[-_LONGEST_REASON:]
    if wrong_account:
        way_out = (
            "the credentials lead to an account that `aws:allowedAccountIds` does not list; use this stack's "
            "profile or role"
        )
        return Finding("wrong-account", look_up.cloud, f"{look_up.reads} can't be read ({reason}): {way_out}")
    way_out = look_up.needs if denied else "look at the connection and the service's status, then run again"
    rule = "look-up-denied" if denied else "look-up-failed"
    return Finding(rule, look_up.cloud, f"{look_up.reads} can't be read ({reason}): {way_out}")


def all_behind(value: pulumi.Input[Any]) -> pulumi.Output[pulumi.Resource]:
    """Return something to depend on that stands for every resource behind a value."""
    return cast("pulumi.Output[pulumi.Resource]", pulumi.Output.from_input(value).apply(lambda _: None))
