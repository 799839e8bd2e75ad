"""Amounts of money as people write them, and the store that several commands of the gateway read."""

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from freehold.errors import UserError
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.store.database import Store

PICO = 10**12


def recorded() -> "Store":
    """The workspace's store, with everything in it that the journal still holds."""
    from freehold.gateway.keeper import recover
    from freehold.store.database import connect

    workspace = Workspace.here()
    store = connect(workspace.database_url)
    recover(workspace.root / "journal", store)
    return store


def amount(text: str, option: str) -> tuple[Decimal, str]:
    """`50 USD` as an amount and its currency."""
    number, _, currency = text.strip().partition(" ")
    currency = currency.strip() or "USD"
    try:
        amount = Decimal(number)
    except InvalidOperation:
        raise UserError(f"{option}: {text!r} is not an amount; write one such as '50 USD'") from None
    if not amount.is_finite() or amount < 0 or len(currency) != 3 or not currency.isalpha():
        raise UserError(f"{option}: {text!r} is not an amount; write one such as '50 USD'")
    return amount, currency.upper()


def exact(pico: int) -> str:
    """Pico-units as an exact decimal number."""
    return format((Decimal(pico) / PICO).normalize(), "f")
