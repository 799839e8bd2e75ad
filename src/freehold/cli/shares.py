"""A share as people write it."""

from freehold.errors import UserError


def share_of(text: str, option: str) -> float:
    """`10%` or `0.1` → 0.1; raises `UserError` naming the option."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UserError(f"{option}: {text!r} is not a share; write one such as 10% or 0.1") from None
    if not 0 <= share <= 1:
        raise UserError(f"{option}: {text!r} is not between 0% and 100%")
    return share
