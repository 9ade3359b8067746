"""The components as a Pulumi plugin: `pulumi package add` gives them to programs in any language."""

from importlib.metadata import version

from pulumi.provider.experimental import component_provider_host
from pulumi_mta_sts import MtaSts, PolicyHost

if __name__ == "__main__":
    component_provider_host(components=[MtaSts, PolicyHost], name="mta-sts", version=version("pulumi-mta-sts"))
