"""What both providers share: the SDK's own properties and nothing else, replacement by table, errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
from pulumi.provider.experimental import provider as engine
from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN as WIRE_UNKNOWN

if TYPE_CHECKING:
    from sandbox.providers.sdk_types import SdkType

Properties = dict[str, Any]

UNKNOWN = object()
"""A value that is not known before the update (the SDK's own `Computed` can be neither compared nor sent)."""

_PARENT_CHECK = 0.5
_INTERNAL = "__inputs"  # which properties the program gave, so that a removed one is seen as a change


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type: how the clouds make it, and what the real provider does on a change.

    `replaces` are the inputs whose change replaces the resource; `source` says where that is read. `computed` are the
    outputs that the cloud decides; of those, `changing` become unknown in the preview of an update.
    """

    sdk: SdkType
    source: str
    replaces: frozenset[str]
    create: Callable[[Properties], tuple[str, Properties]]
    read: Callable[[str, Properties], Properties | None]
    delete: Callable[[str, Properties], None]
    update: Callable[[str, Properties, Properties], Properties] | None = None
    computed: frozenset[str] = field(default_factory=frozenset)
    changing: frozenset[str] = field(default_factory=frozenset)


def loopback(variable: str) -> str:
    """Return the endpoint in a variable; raises PermissionError for anything that is not loopback."""
    url = os.environ.get(variable, "")
    host = urlsplit(url).hostname or ""
    try:
        inside = ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise PermissionError(f"{variable} is {url!r}: the sandbox's providers speak to loopback only; use `make up`")
    return url


class EmulatedProvider(engine.Provider):
    """A provider over a table of kinds and functions."""

    def __init__(self, kinds: Mapping[str, Kind], functions: Mapping[str, Callable[[Properties], Properties]]) -> None:
        self._kinds = kinds
        self._functions = functions

    async def check(self, request: engine.CheckRequest) -> engine.CheckResponse:
        """Refuse what the official SDK's types do not know or miss."""
        kind = self._kinds.get(_type(request))
        if kind is None:
            reason = f"the sandbox has no {_type(request)}; it knows {', '.join(sorted(self._kinds))}"
            return engine.CheckResponse(request.new_inputs, [engine.CheckFailure("", reason)])
        given = _plain_map(request.new_inputs)
        failures = [engine.CheckFailure(path, reason) for path, reason in kind.sdk.problems(given)]
        return engine.CheckResponse(request.new_inputs, failures)

    async def diff(self, request: engine.DiffRequest) -> engine.DiffResponse:
        """Compare what the program gave then and gives now."""
        kind = self._kinds[_type(request)]
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        before = {name: old.get(name) for name in old.get(_INTERNAL, old)}
        names = sorted(set(before) | set(new))
        ignored = set(request.ignore_changes)
        changed = [
            name
            for name in names
            if name not in ignored and not name.startswith("__") and before.get(name) != new.get(name)
        ]
        if _INTERNAL not in old:  # an imported or refreshed state: only what the program gives can differ
            changed = [name for name in changed if name in new]
        replaces = [name for name in changed if name in kind.replaces]
        detail = {}
        for name in changed:
            what = "ADD" if name not in before else "DELETE" if name not in new else "UPDATE"
            suffix = "_REPLACE" if name in replaces else ""
            detail[name] = engine.PropertyDiff(engine.PropertyDiffKind[what + suffix], input_diff=True)
        return engine.DiffResponse(bool(changed), replaces, [], diffs=changed, detailed_diff=detail)

    async def create(self, request: engine.CreateRequest) -> engine.CreateResponse:
        """Make it; in a preview, say what is known."""
        kind, given = self._kinds[_type(request)], _plain_map(request.properties)
        if request.preview:
            return engine.CreateResponse(None, _state(given, dict.fromkeys(kind.computed - given.keys(), UNKNOWN)))
        resource_id, computed = await self._do(request.urn, "create", kind.create, given)
        return engine.CreateResponse(resource_id, _state(given, computed))

    async def read(self, request: engine.ReadRequest) -> engine.ReadResponse:
        """Return what stands in the cloud; an empty id where it is gone."""
        kind = self._kinds[_type(request)]
        held = _plain_map(request.properties)
        found = await self._do(request.urn, "read", kind.read, request.resource_id, held)
        if found is None:
            return engine.ReadResponse("", {}, {})
        resource_id = found.pop("id", request.resource_id)
        inputs = _plain_map(request.inputs) or {
            name: value for name, value in found.items() if name not in kind.computed and value is not None
        }
        inputs = {name: found.get(name, value) for name, value in inputs.items()}
        return engine.ReadResponse(resource_id, _state(inputs, found), _wire_map(inputs))

    async def update(self, request: engine.UpdateRequest) -> engine.UpdateResponse:
        """Change it in place."""
        kind = self._kinds[_type(request)]
        old, given = _plain_map(request.olds), _plain_map(request.news)
        kept = {name: value for name, value in old.items() if name in kind.computed}
        if request.preview:
            return engine.UpdateResponse(_state(given, kept | dict.fromkeys(kind.changing, UNKNOWN)))
        if kind.update is None:
            raise RuntimeError(f"{_type(request)} has no change in place; {kind.source}")
        computed = await self._do(request.urn, "update", kind.update, request.resource_id, old, given)
        return engine.UpdateResponse(_state(given, kept | computed))

    async def delete(self, request: engine.DeleteRequest) -> None:
        """Delete it."""
        kind = self._kinds[_type(request)]
        await self._do(request.urn, "delete", kind.delete, request.resource_id, _plain_map(request.properties))

    async def invoke(self, request: engine.InvokeRequest) -> engine.InvokeResponse:
        """Answer a provider function."""
        function = self._functions.get(request.tok)
        if function is None:
            raise RuntimeError(f"the sandbox has no {request.tok}")
        answer = await asyncio.to_thread(function, _plain_map(request.args))
        return engine.InvokeResponse(_wire_map(answer))

    async def _do(self, urn: str, operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a cloud call in a thread; name what was attempted where it fails."""
        name = urn.rpartition("::")[2]
        try:
            return await asyncio.to_thread(function, *arguments)
        except Exception as error:
            raise RuntimeError(f"{operation} {name}: {error}") from error


def _type(request: Any) -> str:
    """Return the resource's own type: a child's URN names its parents' types too."""
    kind: str = request.type.rpartition("$")[2]
    return kind


def _state(inputs: Properties, computed: Properties) -> dict[str, PropertyValue]:
    return _wire_map({**inputs, **computed, _INTERNAL: sorted(name for name in inputs if not name.startswith("__"))})


def _plain_map(values: Mapping[str, PropertyValue]) -> Properties:
    return {name: plain(value) for name, value in values.items()}


def plain(value: PropertyValue) -> Any:
    """Return a value from the wire as plain data; whole numbers as int, what is not known yet as UNKNOWN."""
    inner = value.value
    if isinstance(inner, Computed):
        return UNKNOWN
    if isinstance(inner, Mapping):
        return {str(key): plain(item) for key, item in inner.items()}
    if isinstance(inner, list | tuple):
        return [plain(item) for item in inner]
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
    """The SDK's server, with errors in our words only: its own adds a Python traceback to each."""

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC names
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
    """Serve a provider to the engine that started this process: print the port, and go on until ended."""

    async def run() -> None:
        server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
        servicer = _Servicer(sys.argv[1:], version, provider, engine_address=sys.argv[1])
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        starter = os.getppid()
        # A killed engine can't end its providers.
        while os.getppid() == starter:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(_PARENT_CHECK)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
