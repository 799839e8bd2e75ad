"""From files and traffic to a frozen dataset: import, redact, deduplicate, split, check."""
