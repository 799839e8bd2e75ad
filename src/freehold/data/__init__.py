"""From raw traffic to a dataset that can be trusted: read, deduplicate, split, check, freeze."""
