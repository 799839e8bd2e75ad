"""Which detectors can find anything in a text at all: one pass over it with all their signs at once.

RE2 makes one automaton of every sign (https://github.com/google/re2), so most texts cost one look instead of fifty
searches, and none takes longer than its length.
"""

from collections.abc import Sequence

import re2

_MEMORY_BYTES = 64 << 20


class Screen:
    """Holds a sign for each detector, by its place; one without a sign is always worth asking."""

    def __init__(self, signs: Sequence[str | None]) -> None:
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        self._every = range(len(signs))
        self._always = len(signs)  # the last of the set matches anything: without it, the automaton has given up
        self._set = re2.Set.SearchSet(options)
        for sign in signs:
            self._set.Add(sign or "")
        self._set.Add("")
        self._set.Compile()

    def worth_asking(self, text: str) -> Sequence[int]:
        """The places of the detectors that may find something, in their order; all of them where it cannot be told."""
        try:
            signs: list[int] = self._set.Match(text)
        except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 has no bytes for
            return self._every
        if len(signs) == 1 and signs[0] == self._always:
            return ()
        if self._always not in signs:
            return self._every
        return sorted(signs)[:-1]
