import pulumi
from pulumi_mta_sts import MtaSts

mail = MtaSts(
    "shop",
    {
        "domain": "shop.example",
        "mx": ["mx1.shop.example", "mx2.shop.example"],
        "reports": ["mailto:tls-reports@shop.example"],
    },
)
pulumi.export("policy", mail.policy_url)
