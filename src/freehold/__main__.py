"""`python -m freehold`: the same as the console script."""

from freehold.cli.main import main

main()
