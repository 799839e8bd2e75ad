"""Facts about models: licence, openness, lineage, size; the rights gate; fit; pull."""
