"""The arena: which model do people prefer, from blind side-by-side votes."""
