"""What is kept: the only SQL, and artefacts by digest on disk."""
