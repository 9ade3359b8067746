"""TLS reports (RFC 8460): read as senders really write them, and summed up so that nothing is hidden."""
