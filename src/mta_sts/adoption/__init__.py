"""Moving a domain in that publishes MTA-STS elsewhere: look at it, and plan the move so that no sender notices."""
