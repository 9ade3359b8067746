"""What both providers share: the SDK's own properties and nothing else, replacement by table, errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import empty_pb2
from pulumi.provider.experimental import provider as engine
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN as WIRE_UNKNOWN

from sandbox.orphans import end_with_parent
from sandbox.providers.shapes import UNKNOWN, Properties, Shape

if TYPE_CHECKING:
    from sandbox.providers.sdk_types import SdkType


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One resource type: how the clouds make it, and what the real provider does on a change.

    `shape` holds the inputs that are carried out; any other is refused. `replaces` are those whose change replaces the
    resource, `changing` the outputs that become unknown in the preview of an update; `source` says where both are read.
    `create` returns the id; `read` what stands in the cloud, None where nothing does. `named` is the input that the
    provider fills from the resource's name where the program gives none.
    """

    sdk: SdkType
    source: str
    shape: Shape
    replaces: frozenset[str]
    create: Callable[[Properties], str]
    read: Callable[[str, Properties], Properties | None]
    delete: Callable[[str, Properties], None]
    update: Callable[[str, Properties, Properties], None] | None = None
    changing: frozenset[str] = field(default_factory=frozenset)
    named: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One provider function: the arguments that are carried out (any other is refused), and the call."""

    arguments: frozenset[str]
    call: Callable[[Properties], Properties]


def loopback(url: str, what: str) -> str:
    """Return the address; raises PermissionError for anything that is not loopback."""
    host = urlsplit(url).hostname or ""
    try:
        inside = ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise PermissionError(f"{what} is {url!r}: the sandbox's providers speak to loopback only; use `make up`")
    return url


class EmulatedProvider(engine.Provider):
    """A provider over tables of kinds and functions; `settings` is what it carries out of its configuration."""

    settings: frozenset[str] = frozenset()

    def __init__(self, kinds: Mapping[str, Kind], functions: Mapping[str, Function]) -> None:
        self._kinds = kinds
        self._functions = functions

    def words(self, error: Exception) -> str:
        """Return an error of the cloud in words: operation, code, request."""
        return str(error)

    def also_changed(self, kind: Kind, old: Properties, new: Properties) -> list[str]:  # noqa: ARG002
        """Return outputs that change though no input of the resource does: the provider's configuration has."""
        return []

    async def check_config(self, request: engine.CheckRequest) -> engine.CheckResponse:
        """Refuse configuration that would be ignored here, and not by the real provider."""
        known = self.settings | {"version", "pluginDownloadURL"}
        failures = [
            engine.CheckFailure(name, f"the sandbox does not carry out {name!r}; it knows {', '.join(sorted(known))}")
            for name in request.new_inputs
            if name not in known and not name.startswith("__")
        ]
        return engine.CheckResponse(request.new_inputs, failures)

    async def check(self, request: engine.CheckRequest) -> engine.CheckResponse:
        """Refuse what the official SDK's types do not know or miss, and what is not carried out here."""
        kind = self._kinds.get(_type(request))
        if kind is None:
            reason = f"the sandbox has no {_type(request)}; it knows {', '.join(sorted(self._kinds))}"
            return engine.CheckResponse(request.new_inputs, [engine.CheckFailure("", reason)])
        given = _plain_map(request.new_inputs)
        if kind.named and not given.get(kind.named):
            # As the real provider does: the resource's name and seven characters, kept from then on.
            kept = _plain_map(request.old_inputs).get(kind.named)
            given[kind.named] = kept or f"{request.name}-{request.random_seed.hex()[:7]}"
        failures = [engine.CheckFailure(path, reason) for path, reason in kind.sdk.problems(given, kind.shape.names())]
        return engine.CheckResponse(_wire_map(given), failures)

    async def diff(self, request: engine.DiffRequest) -> engine.DiffResponse:
        """Compare the inputs of then (`old_state`, see the servicer) and now, in normal form."""
        kind = self._kinds[_type(request)]
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        changed = _changed(kind, old, new, set(request.ignore_changes)) or self.also_changed(kind, old, new)
        replaces = [name for name in changed if name in kind.replaces]
        detail = {}
        for name in changed:
            what = "ADD" if name not in old else "DELETE" if name not in new else "UPDATE"
            suffix = "_REPLACE" if name in replaces else ""
            detail[name] = engine.PropertyDiff(engine.PropertyDiffKind[what + suffix], input_diff=True)
        return engine.DiffResponse(bool(changed), replaces, [], diffs=changed, detailed_diff=detail)

    async def create(self, request: engine.CreateRequest) -> engine.CreateResponse:
        """Make it; in a preview, say what is known."""
        kind, given = self._kinds[_type(request)], _plain_map(request.properties)
        if request.preview:
            unknown = dict.fromkeys(kind.sdk.decided() - given.keys(), UNKNOWN)
            return engine.CreateResponse(None, _wire_map({**unknown, **given}))
        resource_id = await self._do(request, "create", kind.create, given)
        return engine.CreateResponse(resource_id, await self._state(request, kind, resource_id, given))

    async def read(self, request: engine.ReadRequest) -> engine.ReadResponse:
        """Return what stands in the cloud; an empty id where it is gone."""
        kind = self._kinds[_type(request)]
        held, given = _plain_map(request.properties), _plain_map(request.inputs)
        found = await self._do(request, "read", kind.read, request.resource_id, held)
        if found is None:
            return engine.ReadResponse("", {}, {})
        resource_id = found.pop("id", request.resource_id)
        inputs = _refreshed(kind, given, found)
        unread = {name: held[name] for name in kind.shape.local if name in held}
        return engine.ReadResponse(
            resource_id, _wire_map(_complete(kind, _defaults(kind) | unread | found | inputs)), _wire_map(inputs)
        )

    async def update(self, request: engine.UpdateRequest) -> engine.UpdateResponse:
        """Change it in place."""
        kind = self._kinds[_type(request)]
        old, given = _plain_map(request.olds), _plain_map(request.news)
        if request.preview:
            kept = {name: value for name, value in old.items() if name in kind.sdk.decided()}
            return engine.UpdateResponse(_wire_map(kept | dict.fromkeys(kind.changing, UNKNOWN) | given))
        if kind.update is None:
            raise RuntimeError(f"{_type(request)} has no change in place; {kind.source}")
        await self._do(request, "update", kind.update, request.resource_id, old, given)
        return engine.UpdateResponse(await self._state(request, kind, request.resource_id, given))

    async def delete(self, request: engine.DeleteRequest) -> None:
        """Delete it."""
        kind = self._kinds[_type(request)]
        await self._do(request, "delete", kind.delete, request.resource_id, _plain_map(request.properties))

    async def invoke(self, request: engine.InvokeRequest) -> engine.InvokeResponse:
        """Answer a provider function."""
        function = self._functions.get(request.tok)
        if function is None:
            raise RuntimeError(f"the sandbox has no {request.tok}; it knows {', '.join(sorted(self._functions))}")
        given = _plain_map(request.args)
        failures = [
            engine.CheckFailure(path, f"the sandbox's {request.tok} does not carry out {path!r}")
            for path in sorted(_paths(given) - function.arguments)
        ]
        if failures:
            return engine.InvokeResponse({}, failures)
        try:
            return engine.InvokeResponse(_wire_map(await asyncio.to_thread(function.call, given)))
        except Exception as error:
            raise RuntimeError(self.words(error)) from error

    async def _state(self, request: Any, kind: Kind, resource_id: str, given: Properties) -> dict[str, PropertyValue]:
        """Return what stands after a change: the program's own words where it gave any, else the cloud's."""
        found = await self._do(request, "read", kind.read, resource_id, given)
        if found is None:
            raise RuntimeError(f"{_type(request)} {resource_id} is not there right after it was made")
        found.pop("id", None)
        return _wire_map(_complete(kind, _defaults(kind) | found | given))

    async def _do(self, request: Any, operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a cloud call in a thread; name what was attempted where it fails."""
        try:
            return await asyncio.to_thread(function, *arguments)
        except Exception as error:
            raise RuntimeError(f"{operation} {request.urn.rpartition('::')[2]}: {self.words(error)}") from error


def _changed(kind: Kind, old: Properties, new: Properties, ignored: set[str]) -> list[str]:
    """Return the inputs that differ in meaning; one no longer given, which the cloud decides then, stays as it is."""
    before, after = kind.shape.normal(old), kind.shape.normal(new)
    members = kind.shape.members
    left_to_the_cloud = {n for n in kind.sdk.decided() & members.keys() if n not in new and members[n].default is None}
    return [
        name for name in sorted({*before, *after} - ignored - left_to_the_cloud) if before.get(name) != after.get(name)
    ]


def _refreshed(kind: Kind, given: Properties, found: Properties) -> Properties:
    """Return the inputs as the cloud has them now, in the program's own words where they mean the same.

    With nothing given (an import), all that the cloud tells.
    """
    inputs = kind.sdk.inputs()
    now, then = kind.shape.normal({k: v for k, v in found.items() if k in inputs}), kind.shape.normal(given)
    refreshed: Properties = {}
    for name in kind.shape.members:
        if name in kind.shape.local or now.get(name) == then.get(name):
            value = given.get(name)
        elif given and name not in given and name in kind.sdk.decided():
            value = None  # never given: the cloud's to decide
        else:
            value = now.get(name)
        if value is not None:
            refreshed[name] = value
    return refreshed


def _defaults(kind: Kind) -> Properties:
    return {name: member.default for name, member in kind.shape.members.items() if member.default is not None}


def _complete(kind: Kind, known: Properties) -> Properties:
    """Add the outputs that the cloud leaves empty."""
    return {name: kind.sdk.empty(name) for name in kind.sdk.decided() - known.keys()} | known


def _type(request: Any) -> str:
    """Return the resource's own type: a child's URN names its parents' types too."""
    kind: str = request.type.rpartition("$")[2]
    return kind


def _paths(given: Properties, path: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in given.items():
        here = f"{path}.{name}" if path else name
        found |= _paths(value, here) if isinstance(value, dict) else {here}
    return found


def _plain_map(values: Mapping[str, PropertyValue]) -> Properties:
    return {name: _plain(value) for name, value in values.items() if not name.startswith("__")}


def _plain(value: PropertyValue) -> Any:
    inner = value.value
    if inner == WIRE_UNKNOWN:  # the SDK leaves it a text
        return UNKNOWN
    if isinstance(inner, Mapping):
        return {str(key): _plain(item) for key, item in inner.items()}
    if isinstance(inner, list | tuple):
        return [_plain(item) for item in inner]
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def _wire_map(values: Properties) -> dict[str, PropertyValue]:
    return {name: _wire(value) for name, value in values.items() if value is not None}


def _wire(value: Any) -> PropertyValue:
    if value is UNKNOWN:
        return PropertyValue(WIRE_UNKNOWN)
    if isinstance(value, dict):
        return PropertyValue({key: _wire(item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return PropertyValue([_wire(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


class _Servicer(ProviderServicer):
    """The SDK's server, with errors in our words only (its own adds a Python traceback to each), and old inputs."""

    async def Attach(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802  gRPC names
        # An engine that did not start this process has found it; the SDK's server has no such call.
        self._engine_address = request.address
        return empty_pb2.Empty()

    async def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC names
        # The SDK hands on the old state alone; what the program gave then stands in the request too.
        compared = provider_pb2.DiffRequest()
        compared.CopyFrom(request)
        compared.olds.CopyFrom(request.old_inputs)
        if "tagsAll" in request.olds:  # the only output that the provider's configuration decides
            compared.olds["tagsAll"] = request.olds["tagsAll"]
        return await _in_words(super().Diff(compared, context), context)

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Create(request, context), context)

    async def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Read(request, context), context)

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Update(request, context), context)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Delete(request, context), context)

    async def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Invoke(request, context), context)

    async def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _in_words(super().Configure(request, context), context)


async def _in_words(call: Awaitable[Any], context: Any) -> Any:
    try:
        return await call
    except Exception as error:  # noqa: BLE001  whatever it was, the engine hears it
        await context.abort(grpc.StatusCode.UNKNOWN, str(error).split(":\n  File", 1)[0])


def serve(provider: engine.Provider, version: str) -> None:
    """Serve a provider: print the port, and go on until ended or orphaned. An engine gives its own address."""
    end_with_parent()
    gc.set_threshold(100_000)  # the SDK's thousands of classes are no garbage: looking there takes a sixth of the start
    engine_address = "".join(sys.argv[1:2])

    async def run() -> None:
        server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
        servicer = _Servicer(sys.argv[1:], version, provider, engine_address=engine_address)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        try:
            await server.wait_for_termination()
        finally:
            # While the loop still runs: else the server complains of that at its end, and the engine reports it.
            await server.stop(None)

    with contextlib.suppress(KeyboardInterrupt):  # that is how the engine ends it
        asyncio.run(run())
