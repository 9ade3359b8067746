"""The AWS account behind the component's provider, and S3 read with the same, explicit, credentials."""

from typing import TYPE_CHECKING, Any

import pulumi

from mta_sts import Finding, MtaStsError
from pulumi_mta_sts.live import LookUp, look_all, once_a_run, provider_for

if TYPE_CHECKING:
    from boto3.session import Session
    from types_boto3_s3 import S3Client

PACKAGE = "aws"

_CALLER = LookUp(
    function="aws:index/getCallerIdentity:getCallerIdentity",
    args={},
    cloud="aws",
    reads="the AWS account",
    needs="give the stack an `aws:profile`, or working credentials in the environment (docs/permissions.md)",
)


def account(opts: pulumi.ResourceOptions | None) -> str:
    """Return the account id that the component's AWS provider works in; raises MtaStsError where it can't say."""
    provider = provider_for(PACKAGE, opts)

    def read() -> str:
        (answer,), findings = look_all([_CALLER], provider)
        if findings:
            raise MtaStsError("AWS account", findings)
        return str(answer["accountId"])

    return once_a_run(("account", provider), read)


def s3_client(opts: pulumi.ResourceOptions | None) -> "S3Client":
    """Return an S3 client with the stack's `aws:` profile, keys, roles and region.

    Raises MtaStsError: `ledger-credentials` where they don't work, and `ledger-account` where they lead to another
    account than the provider's: what that account's bucket remembers would be believed for this one.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only where a ledger is read

    provider_account = account(opts)

    def connect() -> "S3Client":
        try:
            session = _session()
            own_account = session.client("sts").get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as error:
            message = (
                f"the `aws:` configuration of this stack gives no working credentials ({error}); the policies already "
                "served are read with it: set `aws:profile`, or refresh what is in the environment"
            )
            raise MtaStsError("AWS account", [Finding("ledger-credentials", "aws", message)]) from error
        if own_account != provider_account:
            message = (
                f"the `aws:` configuration of this stack leads to account {own_account}, the component's AWS "
                f"provider to {provider_account}; give both the same profile or role, so that the policies "
                "already served are read where they are written"
            )
            raise MtaStsError("AWS account", [Finding("ledger-account", "aws", message)])
        return session.client("s3")

    return once_a_run(("s3", provider_account), connect)


def _session() -> "Session":
    """Return a boto3 session made from the stack's configuration of the AWS provider."""
    from boto3.session import Session  # noqa: PLC0415  heavy: only where a ledger is read

    config = pulumi.Config("aws")
    region = config.get("region")
    session = Session(
        profile_name=config.get("profile"),
        region_name=region,
        aws_access_key_id=config.get("accessKey"),
        aws_secret_access_key=config.get("secretKey"),
        aws_session_token=config.get("token"),
    )
    roles: list[dict[str, Any]] = config.get_object("assumeRoles") or []
    for role in roles:
        assumed = session.client("sts").assume_role(
            RoleArn=role["roleArn"],
            RoleSessionName=role.get("sessionName", "pulumi-mta-sts"),
            **({"ExternalId": role["externalId"]} if "externalId" in role else {}),
        )["Credentials"]
        session = Session(
            region_name=region,
            aws_access_key_id=assumed["AccessKeyId"],
            aws_secret_access_key=assumed["SecretAccessKey"],
            aws_session_token=assumed["SessionToken"],
        )
    return session
