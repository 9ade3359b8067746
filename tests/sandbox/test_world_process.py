"""The world's process: loopback only, nothing acknowledged is lost by a kill, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import SandboxError
from sandbox.world.client import World
from tests.sandbox.clouds import KEY, Clouds, policy
from tests.sandbox.conftest import REASON

if TYPE_CHECKING:
    from collections.abc import Callable

ZONE = "example.com"
_LIMIT = 10.0


def wait_until(met: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + _LIMIT
    while not met():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; one of our own is waited for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def everything(world: World) -> dict[str, Any]:
    """Return what both clouds hold, in full."""
    clouds = Clouds(world)
    versions = clouds.s3.list_object_versions(Bucket="policies-example")["Versions"]
    (summary,) = clouds.cloudfront.list_distributions()["DistributionList"]["Items"]
    functions = clouds.cloudfront.list_functions()["FunctionList"]["Items"]
    certificates = clouds.acm.list_certificates()["CertificateSummaryList"]
    zone = clouds.cloudflare.zone(ZONE)
    return {
        "now": world.now(),
        "versions": versions,
        "metadata": [
            clouds.s3.head_object(Bucket="policies-example", Key=version["Key"], VersionId=version["VersionId"])[
                "Metadata"
            ]
            for version in versions
        ],
        "bodies": [
            clouds.s3.get_object(Bucket="policies-example", Key=version["Key"], VersionId=version["VersionId"])[
                "Body"
            ].read()
            for version in versions
        ],
        "bucket policy": clouds.s3.get_bucket_policy(Bucket="policies-example")["Policy"],
        "versioning": clouds.s3.get_bucket_versioning(Bucket="policies-example")["Status"],
        "distribution": clouds.cloudfront.get_distribution(Id=summary["Id"])["Distribution"],
        "functions": functions,
        "code": clouds.cloudfront.get_function(Name=functions[0]["Name"], Stage="LIVE")["FunctionCode"].read(),
        "access": clouds.cloudfront.list_origin_access_controls()["OriginAccessControlList"]["Items"],
        "certificates": [clouds.described(found["CertificateArn"]) for found in certificates],
        "records": clouds.cloudflare.call("GET", f"/zones/{zone}/dns_records"),
    }


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Object versions with metadata, distribution, function, certificate, records, clock and time-line are there."""
    with World(tmp_path) as world:
        clouds = Clouds(world)
        clouds.publish(ZONE, ZONE, policy("mx1.example.com"), "1")
        world.advance(100)
        clouds.put("policies-example", ZONE, policy("mx2.example.com"), Metadata={"sts-id": "2"})
        waiting = clouds.request("mta-sts.lists.example.com")
        before, events = everything(world), world.timeline()
        pid = world.endpoints.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gone(pid))
    with World(tmp_path) as world:
        assert pid != world.endpoints.pid
        assert before == everything(world)
        assert ["2", None] == [metadata.get("sts-id") for metadata in before["metadata"]]
        assert events == world.timeline()
        clouds = Clouds(world)
        clouds.prove(ZONE, waiting)
        assert "ISSUED" == clouds.described(waiting)["Status"]
        clouds.s3.delete_object(Bucket="policies-example", Key=f"{ZONE}/{KEY}")
        last = world.timeline()[-1]
        assert ("policy", None) == (last["kind"], last["value"])


def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    """Every socket of the process is on 127.0.0.1 or ::1, and is one that world.json names."""
    sockets = Path("/proc/net")
    if not sockets.exists():
        pytest.skip("the machine shows no process's sockets under /proc")
    with World(tmp_path) as world:
        Clouds(world).publish(ZONE, ZONE, policy("mx1.example.com"), "1")
        places = world.endpoints
        held = {str(link.readlink()) for link in Path(f"/proc/{places.pid}/fd").iterdir() if link.is_symlink()}
        listening = set()
        for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
            for line in (sockets / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state and f"socket:[{fields[9]}]" in held:
                    listening.add(fields[1])
    loopback = ("0100007F", "00000000000000000000000001000000")
    assert {address.partition(":")[0] for address in listening} <= set(loopback)
    urls = (places.aws, places.cloudflare, places.control, places.proxy)
    ports = {int(url.split(":")[2].partition("/")[0]) for url in urls} | {places.dns["port"], *places.edge.values()}
    ports |= {port for by_address in places.name_servers.values() for port in by_address.values()}
    ports |= {port for by_address in places.mx.values() for port in by_address.values()}
    assert ports == {int(address.partition(":")[2], 16) for address in listening}


def test_the_end_of_the_starter_is_the_end_of_the_world(tmp_path: Path) -> None:
    """A starter that is killed leaves no process; one that has detached leaves it running, to be found again."""
    for detach, stays in (("", False), ("world.detach()", True)):
        folder = tmp_path / f"stays-{stays}"
        code = (
            f"from pathlib import Path; from sandbox.world.client import World; world = World(Path({str(folder)!r})); "
        )
        code += f"print(world.endpoints.pid, flush=True); {detach or 'pass'}; print('done', flush=True); input()"
        starter = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert starter.stdin is not None
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert "done\n" == starter.stdout.readline()
        starter.kill()
        starter.communicate()
        if stays:
            with World(folder) as found:
                assert pid == found.endpoints.pid
            assert not gone(pid)
            World.stop_running(folder)
        wait_until(lambda: gone(pid))  # noqa: B023  called at once
        assert not (folder / "world.json").exists()


def test_one_world_a_folder(tmp_path: Path) -> None:
    """Started twice at the same time it runs once; two folders are two worlds that share nothing."""
    worlds: list[World] = []
    threads = [threading.Thread(target=lambda: worlds.append(World(tmp_path / "one"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len({world.endpoints.pid for world in worlds})
    with World(tmp_path / "two") as other:
        Clouds(other).bucket("policies")
        other.advance(86_400)
        assert [] == Clouds(worlds[0]).s3.list_buckets()["Buckets"]
        assert other.now() > worlds[0].now() + 86_000
    World.stop_running(tmp_path / "one")
    for world in worlds:
        world.__exit__()


def test_the_clock_moves_only_when_somebody_waits(world: World) -> None:
    """It stands still by itself, goes forward as asked, and never back."""
    before = world.now()
    assert before == world.now()
    assert before + 60 == world.advance(60) == world.now()
    with pytest.raises(SandboxError, match="can't go back"):
        world.advance(-1)


def test_a_world_that_can_not_start_says_why(tmp_path: Path) -> None:
    """The end of its log is in the error."""
    (tmp_path / "clock.json").write_text(REASON)
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*JSONDecodeError"):
        World(tmp_path)
