"""Freehold's own keys: kept as SHA-256, shown once when they are made. What a key may do stands beside it."""

import hashlib
import secrets
import time
from typing import Literal

from sqlalchemy import func, insert, select, update

from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.records import Record, canonical, from_json
from freehold.store.database import Store
from freehold.store.schema import keys, usage

PREFIX = "fh_"


class Allowance(Record, frozen=True, kw_only=True):
    """What a key may do. What is None is not limited.

    `budget` is in pico-units of `currency` a `period` (UTC days and calendar months). `expires_at` is in microseconds.
    `origins` makes a publishable key: one that stands in the pages of these sites, and answers only their chat widget.
    """

    models: tuple[str, ...] | None = None
    budget: int | None = None
    currency: str = "USD"
    period: Literal["day", "month", "ever"] = "month"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at: int | None = None
    origins: tuple[str, ...] | None = None


class Key(Record, frozen=True, kw_only=True):
    """A key as it is kept: never the secret."""

    id: str
    name: str
    sha256: str
    allowance: Allowance
    created_at: int
    revoked_at: int | None = None


def create(store: Store, name: str, allowance: Allowance) -> tuple[Key, str]:
    """A new key and its secret, which is in no other place; raises `UserError` where a living key has that name."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=secrets.token_hex(8),
        name=name,
        sha256=hashed(secret),
        allowance=allowance,
        created_at=time.time_ns() // 1000,
    )
    with store.begin() as connection:
        living = select(keys.c.id).where(keys.c.name == name, keys.c.revoked_at.is_(None))
        if connection.execute(living).first() is not None:
            raise UserError(f"there is a key named {name} already; revoke it first, or choose another name")
        row = {
            "id": key.id,
            "name": key.name,
            "sha256": key.sha256,
            "config": canonical(allowance).decode(),
            "created_at": key.created_at,
        }
        connection.execute(insert(keys).values(row))
    return key, secret


def every(store: Store) -> list[Key]:
    """All keys, the revoked ones too, oldest first."""
    with store.connect() as connection:
        rows = connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id)).mappings()
        return [
            Key(
                id=row["id"],
                name=row["name"],
                sha256=row["sha256"],
                allowance=from_json(row["config"], Allowance),
                created_at=row["created_at"],
                revoked_at=row["revoked_at"],
            )
            for row in rows
        ]


def revoke(store: Store, name: str) -> None:
    """End a key by its name or id; raises `NotFoundError` naming a near one."""
    with store.begin() as connection:
        living = keys.c.revoked_at.is_(None)
        change = update(keys).where(((keys.c.name == name) | (keys.c.id == name)) & living)
        if connection.execute(change.values(revoked_at=time.time_ns() // 1000)).rowcount == 0:
            names = connection.execute(select(keys.c.name).where(living)).scalars()
            raise NotFoundError(f"there is no living key {name}{did_you_mean(name, names)}; see `freehold keys list`")


def spent(store: Store, key: str, currency: str, since_us: int) -> int:
    """Pico-units that a key has cost since a time."""
    query = select(func.coalesce(func.sum(usage.c.cost), 0)).where(
        usage.c.key == key, usage.c.currency == currency, usage.c.at >= since_us
    )
    with store.connect() as connection:
        return int(connection.execute(query).scalar_one())


def hashed(secret: str) -> str:
    """SHA-256 (hex): the secret has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode()).hexdigest()
