"""A small task of two labels."""

_ADJECTIVES = ("big", "small", "old", "new", "odd", "plain", "cheap", "lost", "third", "spare", "other", "broken")


def things() -> list[tuple[str, str]]:
    """Ninety-six short messages of two labels, no two alike."""
    kinds = {
        "animal": ("horse", "sparrow", "crocodile", "mosquito"),
        "tool": ("hammer", "screwdriver", "pliers", "saw"),
    }
    return [
        (f"{adjective} {noun} seen near gate {at}{len(noun)}", kind)
        for kind, nouns in kinds.items()
        for noun in nouns
        for at, adjective in enumerate(_ADJECTIVES)
    ]
