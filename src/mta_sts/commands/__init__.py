"""The commands of `mta-sts`, one module each: `add_parser` declares it, what it runs imports what it needs."""
