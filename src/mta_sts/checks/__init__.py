"""Whether what a domain publishes is right, seen from outside: DNS, policy host, MX hosts."""
