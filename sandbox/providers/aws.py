"""The `aws` provider of the sandbox: the resource types that the components use, over boto3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pulumi.provider.experimental import provider as engine

from sandbox.providers import acm, cloudfront, s3
from sandbox.providers.aws_client import SETTINGS, all_tags, client
from sandbox.providers.emulated import EmulatedProvider, Function, serve
from sandbox.providers.sdk_types import load_lightly
from sandbox.providers.shapes import UNKNOWN

if TYPE_CHECKING:
    from sandbox.providers.emulated import Kind
    from sandbox.providers.shapes import Properties

KINDS = s3.KINDS | cloudfront.KINDS | acm.KINDS


def _identity(_arguments: Properties) -> Properties:
    found = client("sts").get_caller_identity()
    return {"accountId": found["Account"], "arn": found["Arn"], "userId": found["UserId"], "id": found["Account"]}


FUNCTIONS = {"aws:index/getCallerIdentity:getCallerIdentity": Function(arguments=frozenset(), call=_identity)}


class AwsProvider(EmulatedProvider):
    """Checks account, region and profile before it does anything, as the real provider does."""

    settings = frozenset(("region", "profile", "allowedAccountIds", "forbiddenAccountIds", "defaultTags"))

    def also_changed(self, kind: Kind, old: Properties, new: Properties) -> list[str]:
        """Return `tagsAll` where the provider's `defaultTags` have changed."""
        tagged = "tags" in kind.shape.members and "tagsAll" in old
        return ["tagsAll"] if tagged and new.get("tags") is not UNKNOWN and old["tagsAll"] != all_tags(new) else []

    def words(self, error: Exception) -> str:
        """Return an error of AWS as the real provider shows it: operation, status, request, code, message."""
        answer: dict[str, Any] = getattr(error, "response", {})
        if "Error" not in answer:
            return str(error)
        about = answer.get("ResponseMetadata", {})
        operation = getattr(error, "operation_name", "")
        return (
            f"operation {operation}, https response error StatusCode: {about.get('HTTPStatusCode')}, "
            f"RequestID: {about.get('RequestId', '')}, api error {answer['Error']['Code']}: "
            f"{answer['Error'].get('Message', '')}"
        )

    async def configure(self, request: engine.ConfigureRequest) -> engine.ConfigureResponse:
        """Take the configuration; raises RuntimeError where it leads to the wrong account or nowhere."""
        given = {name: _known(value.value) for name, value in request.args.items()}
        region, profile = given.get("region"), given.get("profile")
        if not region:
            raise RuntimeError("missing region information: set it, e.g. `pulumi config set aws:region us-west-2`")
        if profile:
            import botocore.session  # noqa: PLC0415  heavy

            if profile not in botocore.session.Session().available_profiles:
                raise RuntimeError(f"failed to get shared config profile, {profile}")
        SETTINGS.region = str(region)
        SETTINGS.default_tags = dict((given.get("defaultTags") or {}).get("tags") or {})
        allowed, forbidden = given.get("allowedAccountIds") or [], given.get("forbiddenAccountIds") or []
        if allowed or forbidden:
            found = _identity({})["accountId"]
            if found in forbidden or (allowed and found not in allowed):
                raise RuntimeError(f"AWS account ID not allowed: {found}")
        return engine.ConfigureResponse(supports_preview=True)


def _known(value: Any) -> Any:
    """Return a configuration value: plain, or as JSON text where it is a list or an object."""
    if isinstance(value, list | tuple):
        return [_known(item.value) for item in value]
    if isinstance(value, dict):
        return {key: _known(item.value) for key, item in value.items()}
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return value


if __name__ == "__main__":
    load_lightly("pulumi_aws")
    serve(AwsProvider(KINDS, FUNCTIONS), "7.51.1")
