"""What `mta-sts check` takes from runs before, and keeps for the next; nothing is looked at, so all is remembered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError

from mta_sts.checks.observe import Observer
from mta_sts.cli import main

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = "example.com"


def refusal(code: str) -> ClientError:
    """Return an answer of S3's that is no list."""
    return ClientError({"Error": {"Code": code, "Message": ""}}, "ListObjectVersions")


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the world fail."""

    async def look_at(*_: object) -> None:
        raise ValueError("nothing is there")

    monkeypatch.setattr(Observer, "look_at", look_at)


def handed_over(file: Path, max_age: int, **seen: str) -> Path:
    """Write the JSON of a run that saw MX hosts on some days, and a policy with that max_age."""
    policy = {"id": "1", "mode": "enforce", "mx": ["mx1.example.com"], "max_age": max_age}
    history = [policy | {"seen": "2026-11-01T00:00:00+00:00", "source": "https://mta-sts.example.com"}]
    hosts = [{"host": host, "seen": f"2026-11-{day}T00:00:00+00:00", "points": []} for host, day in seen.items()]
    document = {"domains": [{"domain": DOMAIN, "history": history, "smtp": hosts}]}
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def kept(file: Path, *arguments: str) -> dict[str, Any]:
    """Return what a run keeps of the domain."""
    assert 2 == main(["check", DOMAIN, "--no-smtp", "--resolver", "127.0.0.1:9", "--keep", str(file), *arguments])
    (found,) = json.loads(file.read_text(encoding="utf-8"))["domains"]
    return dict(found)


def test_of_each_mx_host_the_latest_look_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In whatever order runs are given; of policies the last one's word counts."""
    a = handed_over(tmp_path / "a.json", 100_000, mx1="03", mx2="01")
    b = handed_over(tmp_path / "b.json", 200_000, mx1="02", mx2="04", mx3="05")
    for first, last, max_age in ((a, b, 200_000), (b, a, 100_000)):
        found = kept(tmp_path / "kept.json", "--last-run", str(first), "--last-run", str(last))
        assert {"mx1": "03", "mx2": "04", "mx3": "05"} == {one["host"]: one["seen"][8:10] for one in found["smtp"]}
        assert [max_age] == [entry["max_age"] for entry in found["history"]]
    assert DOMAIN in capsys.readouterr().out


def test_one_file_goes_from_run_to_run(tmp_path: Path) -> None:
    """As in a cron line: it begins with no domain, and is read before it is written."""
    file = tmp_path / "state.json"
    file.write_text('{"domains": []}', encoding="utf-8")
    for _ in range(2):
        assert (
            [] == kept(file, "--last-run", str(file), "--format", "markdown", "-o", str(tmp_path / "said.md"))["smtp"]
        )
    assert "### example.com" in (tmp_path / "said.md").read_text(encoding="utf-8")


def test_where_results_can_not_be_kept_nothing_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A long run is not to end in that."""
    assert 64 == main(["check", DOMAIN, "--keep", str(tmp_path / "missing" / "kept.json")])
    assert f"--keep {tmp_path}/missing/kept.json: there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal("AccessDenied"), "S3 answered AccessDenied); grant s3:ListBucketVersions"),
        (refusal("NoSuchBucket"), "there is no bucket 'policies'; `pulumi stack output policy_bucket` names it"),
        (refusal("ExpiredToken"), "S3 answered ExpiredToken); see the AWS credentials"),
        (NoCredentialsError(), "Unable to locate credentials); see the AWS credentials"),
        (EndpointConnectionError(endpoint_url="https://s3.test/"), 's3.test/"); see the AWS credentials'),
        (ParamValidationError(report="no\nbucket"), "no bucket); see the AWS credentials"),
        (None, ""),
    ],
)
def test_the_bucket_is_read_for_each_domain_of_the_run(
    error: Exception | None, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a bucket that can't be read, or is not there, is none that remembers nothing: nothing is checked."""
    asked: list[tuple[str, str]] = []

    class Versions:
        def get_paginator(self, name: str) -> Versions:
            assert "list_object_versions" == name
            return self

        def paginate(self, **place: str) -> list[dict[str, Any]]:
            asked.append((place["Bucket"], place["Prefix"]))
            if error:
                raise error
            return []

    monkeypatch.setattr("boto3.client", lambda _: Versions())
    arguments = ["--no-smtp", "--bucket", "policies", "--resolver", "127.0.0.1:9"]
    assert (64 if error else 2) == main(["check", DOMAIN, "example.net", *arguments])
    domains = [DOMAIN, "example.net"]
    keys = [("policies", f"{domain}/.well-known/mta-sts.txt") for domain in domains]
    assert (keys[:1] if error else keys) == asked
    err = capsys.readouterr().err
    assert words in err
    assert (1 if error else 0) == err.count("error: ")


def test_an_aws_profile_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as a traceback."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert 64 == main(["check", DOMAIN, "--bucket", "policies"])
    assert "(The config profile (nobody) could not be found); see the AWS credentials" in capsys.readouterr().err
