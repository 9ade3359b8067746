"""docs/permissions.md: what it grants is what the components need."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pulumi_mta_sts.permissions import AWS, CLOUDFLARE, DOCUMENTS, main, policy

from tests.components.mocked import CALLER, RECORDS, ZONES
from tests.components.snapshots import FOLDER

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
PLACE = {"account": "111111111111", "bucket": "policies.example"}


def actions(document: str) -> set[str]:
    """Return every action that a policy document grants."""
    return {action for statement in policy(document, **PLACE)["Statement"] for action in statement["Action"]}


def test_the_table_has_every_type_that_is_created() -> None:
    """A new child without a row, and a row without a child, are both wrong."""
    snapshot = json.loads((FOLDER / "children.json").read_text(encoding="utf-8"))
    created = {kind for children in snapshot.values() for kind in children.values() if not kind.startswith("mta-sts:")}
    looked_up = {ZONES, RECORDS}  # the caller's identity needs no permission
    assert CALLER not in looked_up
    assert created | looked_up == {row.type for row in (*AWS, *CLOUDFLARE) if ":" in row.type}


def test_every_row_names_its_source() -> None:
    """An action that nobody can look up again is a guess."""
    assert all(row.source for row in (*AWS, *CLOUDFLARE))
    assert all(re.fullmatch(r"(s3|acm|cloudfront):[A-Z][A-Za-z]+", a) for row in AWS for a in (*row.read, *row.write))


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change: `python -m pulumi_mta_sts.permissions > docs/permissions.md`."""
    main([])
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")


def test_one_policy_is_printed_ready_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    """With the account and the bucket that are given."""
    main(["deploy", "--account", PLACE["account"], "--bucket", PLACE["bucket"]])
    assert policy("deploy", **PLACE) == json.loads(capsys.readouterr().out)


def test_each_document_grants_what_the_next_needs() -> None:
    """Check is part of preview, preview of deploy; removing for good is in none of them."""
    assert {"s3:ListBucketVersions", "s3:GetObjectVersion"} == actions("check")
    assert actions("check") < actions("preview") < actions("deploy")
    removing = {"s3:DeleteBucket", "s3:DeleteObject", "s3:DeleteObjectVersion", "cloudfront:DeleteDistribution"}
    assert removing <= actions("destroy") - actions("deploy")


def test_a_preview_changes_nothing() -> None:
    """Only reading actions, by AWS's own naming."""
    assert all(re.match(r"\w+:(Get|List|Describe)", action) for action in actions("preview"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_policy_is_limited_to_what_is_ours(document: str) -> None:
    """Every action that AWS lets be limited is: to the bucket, the account, the certificate's names and region."""
    for statement in policy(document, **PLACE)["Statement"]:
        if statement["Resource"] != "*":
            assert any(value in statement["Resource"] for value in PLACE.values())
            assert "policies-example-*" in statement["Resource"] or statement["Sid"] != "Functions"
        elif statement["Sid"] == "CertificateRequest":
            assert "mta-sts.*" == statement["Condition"]["ForAllValues:StringLike"]["acm:DomainNames"]
            assert "us-east-1" == statement["Condition"]["StringEquals"]["aws:RequestedRegion"]
        else:
            # The Service Authorization Reference knows no resource type for these.
            assert all(action.startswith("cloudfront:Create") for action in statement["Action"])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_policy_fits_a_managed_policy(document: str) -> None:
    """IAM counts 6144 characters without white space."""
    assert len(re.sub(r"\s", "", json.dumps(policy(document, **PLACE)))) <= 6144
