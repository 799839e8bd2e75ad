"""National ids of the main countries: a shape, a check, and, for bare digits, a word that must stand near.

A bare run of nine to sixteen digits is more often an order number: without its word (`BSN`, `PESEL`, …) it is left.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from freehold.data.checksums import luhn, real_date, verhoeff, weighted

_NEAR = 48  # characters before a number in which its word may stand


class NationalId(NamedTuple):
    """One country's number. `valid` is asked with the number's letters and digits only, in capitals.

    `form` is in capitals, and without what may stand around it.
    """

    name: str
    form: str
    valid: Callable[[str], bool]
    word: re.Pattern[str] | None = None

    @property
    def sign(self) -> str:
        """Matches in every text with such a number; no look-around, so that RE2 takes it."""
        return f"(?i){self.form}"


def find_id(wanted: NationalId, text: str) -> Iterator[tuple[int, int]]:
    """Where one country's numbers stand, as (start, end)."""
    for match in free_matches(_shape(wanted.form), text):
        bare = "".join(filter(str.isalnum, match.group())).upper()
        near = wanted.word is None or wanted.word.search(text, max(0, match.start() - _NEAR), match.start())
        if near and wanted.valid(bare):
            yield match.span()


def free_matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches with no letter or digit right before them, overlapping ones too: a match that fails its check hides none.

    A look-behind would say the same, but keeps `re` from skipping to the first possible character: five times slower.
    """
    start = 0
    while match := pattern.search(text, start):
        start = match.start() + 1
        before = text[match.start() - 1] if match.start() else " "
        if not (before.isascii() and before.isalnum()):
            yield match


@cache
def _shape(form: str) -> re.Pattern[str]:
    return re.compile(rf"{form}(?![0-9A-Za-z])", re.IGNORECASE | re.ASCII)


def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _ssn(number: str) -> bool:
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def _nino(number: str) -> bool:
    return number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _nhs(number: str) -> bool:
    return weighted(number, range(10, 0, -1)) % 11 == 0


def _steuer_id(number: str) -> bool:
    """ISO 7064 MOD 11,10."""
    product = 10
    for digit in number[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return number[0] != "0" and (11 - product) % 10 == int(number[10])


def _nir(number: str) -> bool:
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(number[13:])


def _dni(number: str) -> bool:
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return digits.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


_CODICE_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _codice_fiscale(number: str) -> bool:
    places = [int(each) if each.isdigit() else ord(each) - ord("A") for each in number]
    total = sum(_CODICE_ODD[place] if at % 2 == 0 else place for at, place in enumerate(places[:15]))
    return total % 26 == places[15]


def _bsn(number: str) -> bool:
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _rijksregister(number: str) -> bool:
    return any(97 - int(century + number[:9]) % 97 == int(number[9:]) for century in ("", "2"))


def _pesel(number: str) -> bool:
    return weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _personnummer(number: str) -> bool:
    ten = number[-10:]
    return real_date(ten[:2], ten[2:4], ten[4:6]) and luhn(ten)


def _hetu(number: str) -> bool:
    digits = number[:6] + number[-4:-1]
    return digits.isdigit() and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == number[-1]


def _fodselsnummer(number: str) -> bool:
    first = weighted(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    return first == 0 and weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _cpr(number: str) -> bool:
    return real_date(number[4:6], number[2:4], number[:2])


def _cpf(number: str) -> bool:
    sums = (weighted(number[:size], range(size + 1, 1, -1)) * 10 % 11 % 10 for size in (9, 10))
    return len(set(number)) > 1 and all(each == int(digit) for each, digit in zip(sums, number[9:], strict=True))


def _resident_id(number: str) -> bool:
    """GB 11643-1999."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    right = "10X98765432"[weighted(number[:17], weights) % 11]
    return right == number[17] and real_date(number[6:10], number[10:12], number[12:14])


def _rrn(number: str) -> bool:
    return (11 - weighted(number[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == int(number[12])


def _ahv(number: str) -> bool:
    return weighted(number, (1, 3) * 6 + (1,)) % 10 == 0


def _south_african(number: str) -> bool:
    return real_date(number[:2], number[2:4], number[4:6]) and luhn(number)


def _curp(number: str) -> bool:
    letters = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(letters.index(each) * (18 - at) for at, each in enumerate(number[:17]))
    return -total % 10 == int(number[17])


def _tckn(number: str) -> bool:
    digits = [int(each) for each in number]
    tenth = (sum(digits[0:9:2]) * 7 - sum(digits[1:8:2])) % 10
    return number[0] != "0" and tenth == digits[9] and sum(digits[:10]) % 10 == digits[10]


def _nik(number: str) -> bool:
    day = int(number[6:8]) % 40
    return real_date(number[10:12], number[8:10], str(day))


def _nric(number: str) -> bool:
    if number[0] == "M":
        return True
    total = weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + (4 if number[0] in "TG" else 0)
    return ("JZIHGFEDCBA" if number[0] in "ST" else "XWUTRQPNMLK")[total % 11] == number[8]


def _any(_number: str) -> bool:
    return True


NATIONAL_IDS = (
    NationalId("GB NINO", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", _nino),
    NationalId("ES DNI, NIE", r"(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]", _dni),
    NationalId("IT codice fiscale", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", _codice_fiscale),
    NationalId("IN PAN", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", _any),
    NationalId("MX CURP", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", _curp),
    NationalId("SG NRIC", r"[STFGM]\d{7}[A-Z]", _nric),
    NationalId("US SSN", r"\d{3}-\d{2}-\d{4}", _ssn),
    NationalId("US SSN", r"\d{9}", _ssn, _word(r"ssn|social security")),
    NationalId("GB NHS", r"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs, _word(r"\bnhs\b")),
    NationalId("DE Steuer-ID", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _steuer_id, _word(r"steuer|idnr|tax id")),
    NationalId("FR NIR", r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _nir),
    NationalId("NL BSN", r"\d{4}\.?\d{2}\.?\d{3}", _bsn, _word(r"\bbsn\b|burgerservice|sofi")),
    NationalId("BE NRN", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _rijksregister),
    NationalId("BE NRN", r"\d{11}", _rijksregister, _word(r"rijksregister|registre national|niss|insz")),
    NationalId("PL PESEL", r"\d{11}", _pesel, _word(r"pesel")),
    NationalId("SE personnummer", r"(?:19|20)?\d{6}[-+]\d{4}", _personnummer),
    NationalId("FI henkilötunnus", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _hetu),
    NationalId("NO fødselsnummer", r"\d{6} ?\d{5}", _fodselsnummer, _word(r"f[øo]dselsnummer|personnummer|fnr")),
    NationalId("DK CPR", r"\d{6}-?\d{4}", _cpr, _word(r"\bcpr")),
    NationalId("BR CPF", r"\d{3}\.\d{3}\.\d{3}-\d{2}", _cpf),
    NationalId("BR CPF", r"\d{11}", _cpf, _word(r"\bcpf\b")),
    NationalId("IN Aadhaar", r"[2-9]\d{3} ?\d{4} ?\d{4}", verhoeff, _word(r"aadha+r|adhar|uidai|आधार")),
    NationalId("CN resident id", r"\d{17}[\dX]", _resident_id),
    NationalId("KR RRN", r"\d{6}-[1-8]\d{6}", _rrn),
    NationalId("CH AHV", r"756\.?\d{4}\.?\d{4}\.?\d{2}", _ahv),
    NationalId("CA SIN", r"\d{3}[ -]?\d{3}[ -]?\d{3}", luhn, _word(r"\bsin\b|social insurance")),
    NationalId("ZA ID", r"\d{13}", _south_african, _word(r"\bid\b|identity")),
    NationalId("TR TCKN", r"\d{11}", _tckn, _word(r"kimlik|tckn")),
    NationalId("ID NIK", r"\d{16}", _nik, _word(r"\bnik\b|\bktp\b")),
    NationalId("SA national id", r"[12]\d{9}", luhn, _word(r"هوي|إقامة|اقامة|iqama|national id")),
)
