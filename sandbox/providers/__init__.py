"""The `aws` and `cloudflare` providers of the sandbox: small, honest, and never beyond loopback."""
