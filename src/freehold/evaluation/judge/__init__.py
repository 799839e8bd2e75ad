"""A language model as a judge, and how far people may trust it."""
