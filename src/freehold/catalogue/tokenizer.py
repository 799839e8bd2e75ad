"""A GGUF's vocabulary as a `tokenizers` tokenizer: the same ids as llama.cpp gives, without importing transformers.

Two families are made: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`). The split expressions are those of
llama.cpp's src/llama-vocab.cpp; `tests/catalogue/test_tokenizer_against_engine.py` holds both equal on hostile texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from freehold.catalogue.gguf_file import GgufFile
from freehold.errors import ModelFileError
from freehold.render import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SPLITS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
}


def build(file: GgufFile) -> "Tokenizer":
    """The tokenizer of a GGUF; raises `ModelFileError` for a vocabulary of another family."""
    family = file.metadata.get("tokenizer.ggml.model")
    makers = {"gpt2": _byte_level, "llama": _sentencepiece}
    if family not in makers:
        known = ", ".join(makers)
        raise ModelFileError(f"{file.path}: has a vocabulary of kind {family!r}; {known} can be read")
    tokenizer = makers[family](file)
    special, plain = _added(file)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)
    return tokenizer


def template(file: GgufFile, source: str | None = None, end: str | None = None) -> ChatTemplate:
    """The chat template that a GGUF carries, or `source` where its publisher gave none."""
    text = source or file.metadata.get("tokenizer.chat_template")
    if not isinstance(text, str):
        raise ModelFileError(f"{file.path}: carries no chat template, and the catalogue names none for it")
    tokens: Sequence[str] = _tokens(file)
    kinds = file.metadata.get("tokenizer.ggml.token_type", ())
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    return ChatTemplate(
        source=text,
        bos_token=_token(file, "bos_token_id"),
        eos_token=end or _token(file, "eos_token_id"),
        special_tokens=tuple(token for token in special if not token.startswith("<unused")),
    )


def _byte_level(file: GgufFile) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE

    merges = [_pair(merge) for merge in file.metadata.get("tokenizer.ggml.merges", ())]
    tokenizer = Tokenizer(BPE(vocab=_vocabulary(_tokens(file)), merges=merges))
    tokenizer.pre_tokenizer = _byte_split(file)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_split(file: GgufFile) -> "PreTokenizer":
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    kind = file.metadata.get("tokenizer.ggml.pre", "gpt-2")
    if kind not in _SPLITS:
        raise ModelFileError(f"{file.path}: splits text as {kind!r}; {', '.join(_SPLITS)} are known")
    splits = [Split(Regex(pattern), behavior="isolated") for pattern in _SPLITS[kind]]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])


def _sentencepiece(file: GgufFile) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    if file.metadata.get("tokenizer.ggml.add_space_prefix", True):
        raise ModelFileError(f"{file.path}: its vocabulary puts a space before every text; that is not supported")
    tokens = _tokens(file)
    merges = list(_derived_merges(file, tokens))
    model = BPE(vocab=_vocabulary(tokens), merges=merges, byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _derived_merges(file: GgufFile, tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every way to make a normal token of two, best score first: llama.cpp's SPM merges, written as BPE's."""
    scores: Sequence[float] = file.metadata.get("tokenizer.ggml.scores", ())
    kinds: Sequence[int] = file.metadata.get("tokenizer.ggml.token_type", ())
    known = set(tokens)
    normal = (at for at, kind in enumerate(kinds) if kind == _NORMAL and len(tokens[at]) > 1)
    for at in sorted(normal, key=lambda at: (-scores[at], at)):
        token = tokens[at]
        for cut in range(1, len(token)):
            if token[:cut] in known and token[cut:] in known:
                yield token[:cut], token[cut:]


def _added(file: GgufFile) -> "tuple[list[AddedToken], list[AddedToken]]":
    """Tokens that are matched whole in a text: control tokens, and those that the publisher defined."""
    from tokenizers import AddedToken

    kinds = file.metadata.get("tokenizer.ggml.token_type", ())
    pairs = list(zip(_tokens(file), kinds, strict=True))
    special = [AddedToken(token, normalized=False, special=True) for token, kind in pairs if kind == _CONTROL]
    plain = [AddedToken(token, normalized=False) for token, kind in pairs if kind == _USER_DEFINED]
    return special, plain


def _vocabulary(tokens: Iterable[str]) -> dict[str, int]:
    return {token: at for at, token in enumerate(tokens)}


def _tokens(file: GgufFile) -> list[str]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise ModelFileError(f"{file.path}: carries no vocabulary")
    return tokens


def _token(file: GgufFile, key: str) -> str:
    at = file.metadata.get(f"tokenizer.ggml.{key}")
    tokens = _tokens(file)
    return tokens[at] if isinstance(at, int) and 0 <= at < len(tokens) else ""


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
