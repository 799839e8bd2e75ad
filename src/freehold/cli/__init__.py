"""The terminal: a table of library functions. It prints, and never decides."""
