"""Standard benchmarks, read from local files: what a model knows besides its task, and what tuning took of it."""
