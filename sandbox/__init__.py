"""A small internet on loopback to deploy into: clouds, providers, DNS, HTTPS edge, mail hosts and senders."""


class SandboxError(RuntimeError):
    """What a person can mend; the message says how, and no traceback is shown."""
