"""What must not be stored in the clear: secrets, e-mail, IBAN, IP, card and telephone numbers, national ids.

A detector takes a text and gives the places it claims. Where two claim the same place, the one listed first has it.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from freehold.data.checksums import card, iban, iban_length
from freehold.data.national_ids import NATIONAL_IDS, find_id, free_matches
from freehold.errors import UserError

Span = tuple[int, int]


class Detector(NamedTuple):
    """A kind, as its placeholder spells it, and where it stands in a text.

    `sign` is a pattern of RE2 (no look-around) that matches in every text in which `find` can find anything, also one
    whose other claims are blanked; None: it has to be asked.
    """

    kind: str
    find: Callable[[str], Iterator[Span]]
    sign: str | None = None


# Every repetition below is bounded or cannot begin again inside itself, so that no text takes quadratic time.
# Scripts that write no space between a word and an address that follows it.
_UNSPACED = r"\u0E00-\u0FFF\u2E80-\u9FFF\uAC00-\uD7AF\uFF00-\uFFEF"
# An address is found by its @: its first half is read backwards from there, and its second forwards.
_BEFORE_AT = re.compile(rf"(?:[^\W{_UNSPACED}]|[.!#$%&'*+/=?^`{{|}}~-]){{0,63}}[^\W{_UNSPACED}]")
_BEHIND_AT = re.compile(
    rf"[^\W_{_UNSPACED}]{{1,63}}(?:[.-][^\W_{_UNSPACED}]{{1,63}}){{0,8}}\.[^\W\d_{_UNSPACED}]{{2,63}}"
)

_KEYS = (
    r"sk-[A-Za-z0-9_-]{20,}", r"[srp]k_(?:live|test)_[A-Za-z0-9]{16,}", r"fh_[A-Za-z0-9_-]{20,}",
    r"gh[opsur]_[A-Za-z0-9]{30,}", r"github_pat_[A-Za-z0-9_]{30,}", r"glpat-[A-Za-z0-9_-]{16,}",
    r"hf_[A-Za-z0-9]{30,}", r"npm_[A-Za-z0-9]{30,}", r"pypi-[A-Za-z0-9_-]{30,}", r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"A[KS]IA[0-9A-Z]{16}", r"AIza[A-Za-z0-9_-]{30,}", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{30,}",
)  # fmt: skip
_JWT = r"eyJ[A-Za-z0-9_-]{8,512}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,1024}"
_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join((*_KEYS, _JWT))})")
_KEY_SIGN = "|".join((*_KEYS, r"eyJ[A-Za-z0-9_-]{8,512}\."))
_PEM_SIGN = r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
_PEM = re.compile(rf"{_PEM_SIGN}(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.DOTALL)
_BEARER = re.compile(r"\bbearer\s+([A-Za-z0-9._~+/=-]{16,})", re.IGNORECASE)
_IN_URL = re.compile(r"://[^\s:/@]+:([^\s@/]+)@")
_SECRET_WORDS = (
    "password", "passwd", "passwort", "passcode", "passphrase", "pwd", "mot de passe", "contraseña", "senha",
    "wachtwoord", "hasło", "lösenord", "şifre", "kata sandi", "密码", "密碼", "パスワード", "비밀번호",
    "كلمة المرور", "كلمة السر", "пароль", "api_key", "api-key", "api key", "apikey", "secret", "token",
)  # fmt: skip
_NAMED_SIGN = rf"(?i)(?:{'|'.join(_SECRET_WORDS)})"
_NAMED = re.compile(
    rf"{_NAMED_SIGN}(?:[_ -](?:access[_ -])?key)?"
    r"[\"']?(?:\s*[:=：]\s*|\s+(?:is|ist|est|es|é)\s+)[\"']?([^\s\"',;]{6,})"
)
_TELLING = re.compile(r"[0-9]")

_IBAN_START = re.compile(r"[A-Za-z]{2}[0-9]{2}(?=[ -]?[0-9A-Za-z])")
_CARD_SIGN = r"[2-6](?:[ -]?[0-9]){13}"
_CARD = re.compile(r"[2-6](?:[ -]?[0-9]){13,18}(?![0-9A-Za-z])")
_IPV4_SIGN = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_IPV4 = re.compile(rf"{_IPV4_SIGN}(?![0-9A-Za-z]|\.[0-9])")
_IPV6_SIGN = r"[0-9A-Fa-f]:{1,2}[0-9A-Fa-f]{1,4}:|[0-9A-Fa-f]::[0-9A-Fa-f]"
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?![0-9A-Za-z:])|"
                   r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{1,4}::[0-9A-Fa-f]{1,4}(?![0-9A-Za-z:])")  # fmt: skip

_PHONES = (  # a shape, and what may not stand right before it
    (r"\+[0-9]{1,3}(?:[ ./-]{0,2}\(?[0-9]\)?){6,13}", "+(.,/-"),  # international
    (r"\([0-9]{3}\) ?[0-9]{3}[-. ][0-9]{4}", ""),  # North America
    (r"[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}", "-."),
    (r"\([0-9]{2}\) ?9?[0-9]{4}[- ]?[0-9]{4}", ""),  # Brazil
    (r"0[1-9](?:(?: / |[ ./-])?[0-9]){7,10}", ".,/-"),  # with a trunk zero
    (r"1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}", ""),  # China, mobile
)
_PHONE_WORD = re.compile(
    r"(?:phone|mobile|cell|\btel|telefon|téléphone|handy|whatsapp|\bfax|\bsms|\bdial|\bhp)\W[^\d\n]{0,20}$",
    re.IGNORECASE,
)
_PHONE_BARE_SIGN = r"[1-9](?:[ .-]?[0-9]){8}"
_PHONE_BARE = re.compile(r"[1-9](?:[ .-]?[0-9]){8,11}(?![0-9A-Za-z])")
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d")
_WORD_BEFORE = 32


def own_pattern(kind: str, pattern: str) -> Detector:
    """A user's own detector; `kind` names its placeholder. Raises `UserError` for a pattern that cannot be used."""
    if not re.fullmatch(r"[A-Z][A-Z_]{0,23}", kind):
        raise UserError(f"redaction pattern {kind!r}: its name must be capital letters, such as STAFF_NUMBER")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"redaction pattern {kind}: is not a regular expression ({error})") from None
    if compiled.match(""):
        raise UserError(f"redaction pattern {kind}: matches the empty text; it would hide nothing and everything")
    return Detector(kind, lambda text: (match.span() for match in compiled.finditer(text)))


def _all(pattern: re.Pattern[str], group: int, text: str) -> Iterator[Span]:
    return (match.span(group) for match in pattern.finditer(text))


def _named(text: str) -> Iterator[Span]:
    """`password: …`, `api_key=…`: what follows the name of a secret, where a digit says that it is no common word."""
    for match in _NAMED.finditer(text):
        value = match.group(1).rstrip(".)]}")
        if _TELLING.search(value):
            yield match.start(1), match.start(1) + len(value)


def _emails(text: str) -> Iterator[Span]:
    at, end = text.find("@"), 0
    while at >= 0:
        before = _BEFORE_AT.match(text[max(end, at - 64) : at][::-1])
        behind = _BEHIND_AT.match(text, at + 1) if before else None
        if before and behind:
            end = behind.end()
            yield at - before.end(), end
        at = text.find("@", max(at + 1, end))


def _ibans(text: str) -> Iterator[Span]:
    for match in free_matches(_IBAN_START, text):
        end = _iban_end(text, match.start())
        if end is not None:
            yield match.start(), end


def _iban_end(text: str, start: int) -> int | None:
    """Where an IBAN that begins at `start` ends: letters and digits counted to its country's length."""
    want = iban_length(text[start : start + 2])
    kept, at = "", start
    while want and at < len(text) and len(kept) < want and (text[at] in " -" or text[at].isalnum()):
        kept += text[at] if text[at].isalnum() else ""
        at += 1
    ends = at == len(text) or not text[at].isalnum() or not text[at].isascii()
    return at if want and kept.isascii() and ends and len(kept) == want and iban(kept) else None


def _cards(text: str) -> Iterator[Span]:
    for match in free_matches(_CARD, text):
        digits = [at for at in range(*match.span()) if text[at].isdigit()]
        for size in range(len(digits), 13, -1):  # a number that follows may have been taken along
            whole = size == len(digits) or digits[size] > digits[size - 1] + 1
            if whole and card("".join(text[at] for at in digits[:size])):
                yield match.start(), digits[size - 1] + 1
                break


def _ipv4(text: str) -> Iterator[Span]:
    for match in _free(_IPV4, text, "."):
        if all(int(octet) < 256 for octet in match.group().split(".")):
            yield match.span()


def _ipv6(text: str) -> Iterator[Span]:
    if "::" not in text and text.count(":") < 7:
        return
    for match in _IPV6.finditer(text):
        try:
            IPv6Address(match.group())
        except AddressValueError:
            continue
        yield match.span()


def _phones(pattern: re.Pattern[str], unlike: str, text: str) -> Iterator[Span]:
    return (match.span() for match in _free(pattern, text, unlike) if not _DATE.match(match.group()))


def _bare_phones(text: str) -> Iterator[Span]:
    for match in _free(_PHONE_BARE, text, ".,/+-"):
        if _PHONE_WORD.search(text[max(0, match.start() - _WORD_BEFORE) : match.start()]):
            yield match.span()


def _free(pattern: re.Pattern[str], text: str, unlike: str) -> Iterator[re.Match[str]]:
    """Matches with no letter, digit or `unlike` character right before them."""
    return (
        match for match in free_matches(pattern, text) if not match.start() or text[match.start() - 1] not in unlike
    )


DETECTORS = (
    Detector("SECRET", partial(_all, _PEM, 0), _PEM_SIGN),
    Detector("SECRET", partial(_all, _KEY, 0), _KEY_SIGN),
    Detector("SECRET", partial(_all, _BEARER, 1), "(?i)bearer"),
    Detector("SECRET", partial(_all, _IN_URL, 1), "://"),
    Detector("SECRET", _named, _NAMED_SIGN),
    Detector("EMAIL", _emails, "@"),
    Detector("IBAN", _ibans, r"[A-Za-z]{2}[0-9]{2}[ -]?[0-9A-Za-z]"),
    Detector("IP", _ipv4, _IPV4_SIGN),
    Detector("IP", _ipv6, _IPV6_SIGN),
    Detector("CARD", _cards, _CARD_SIGN),
    *(Detector("ID", partial(find_id, each), each.sign) for each in NATIONAL_IDS),
    *(
        Detector("PHONE", partial(_phones, re.compile(rf"{shape}(?![0-9A-Za-z])"), unlike), shape)
        for shape, unlike in _PHONES
    ),
    Detector("PHONE", _bare_phones, _PHONE_BARE_SIGN),
)
