"""A small internet on loopback to deploy into: clouds, providers, DNS, HTTPS edge, mail hosts and senders."""
