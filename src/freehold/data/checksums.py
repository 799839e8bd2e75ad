"""Check digits of published numbers: whether a run of digits can be what it looks like.

Every function takes the characters without separators. Sources: ISO/IEC 7812 (Luhn), ISO 13616 and ISO 7064 (IBAN,
MOD 97-10), Verhoeff 1969 (Aadhaar), and each country's own publication for the weighted sums.
"""

from collections.abc import Sequence
from datetime import date

_VERHOEFF_MULTIPLY = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PERMUTE = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of digit times weight, as far as the shorter goes."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0


def verhoeff(digits: str) -> bool:
    """Verhoeff's dihedral check."""
    check = 0
    for at, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_MULTIPLY[check][int(_VERHOEFF_PERMUTE[at % 8][int(digit)])])
    return check == 0


def iban_length(country: str) -> int | None:
    """How many characters an IBAN of a country has, where the country issues them."""
    return _IBAN_LENGTHS.get(country.upper())


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and MOD 97-10 equal to one."""
    moved = text[4:] + text[:4]
    return len(text) == iban_length(text[:2]) and int("".join(str(int(each, 36)) for each in moved)) % 97 == 1


def card(digits: str) -> bool:
    """An issuer's prefix, its length, and Luhn."""
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    issued = (
        (digits[0] == "4" and size in (16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in (34, 37) and size == 15)
        or ((two in (36, 38, 39) or 300 <= three <= 305) and size == 14)
        or ((four == 6011 or two == 65 or 644 <= three <= 649 or 3528 <= four <= 3589) and size == 16)
        or (two in (50, 56, 57, 58, 62, 63, 67) and 16 <= size <= 19)
    )
    return issued and luhn(digits)


def real_date(year: str, month: str, day: str) -> bool:
    """Whether two or four digits of a year, a month and a day make a date."""
    try:
        date(int(year) if len(year) == 4 else 2000 + int(year), int(month), int(day))
    except ValueError:
        return False
    return True
