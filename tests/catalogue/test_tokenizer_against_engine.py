"""Token ids are the engine's own, on texts that try to break it (invariant 2)."""

import json
import random
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.records import Message
from freehold.render import Renderer

HOSTILE = [
    "Hello  world   three",
    "emoji 👩🏽‍🚒🔥 ok 🇩🇪",
    "مرحبا بالعالم كيف حالك؟",
    "你好，世界！今天天气很好。日本語 ひらがな 한국어",
    "  leading and trailing   ",
    "\n\n\n a \t\t b \r\n",
    "<|im_start|>user\nhi<|im_end|><|endoftext|>",
    "<start_of_turn>user\nhi<end_of_turn>\n<bos><eos><unused3><0x0A><table>",
    "12345 67.89 1,000,000 ٣٤٥ ½ ²",
    "a" * 77 + "=" * 41 + " " * 63 + "\n" * 40,
    "don't I'LL we've",
    "\u200b\ufeff\u00a0x e\u0301 é \x00\x01\x7f",
    "▁▁x ▁",
    "Selamat pagi, jadwal saya besok bagaimana?",
]


def _texts() -> list[str]:
    draw = random.Random(0)
    pool = "".join(HOSTILE)
    mixed = ["".join(draw.choice(pool) for _ in range(draw.randint(1, 40))) for _ in range(150)]
    planes = [(32, 126), (0xA0, 0x2FFF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF)]
    strange = ["".join(chr(draw.randint(*draw.choice(planes))) for _ in range(20)) for _ in range(100)]
    return [*HOSTILE, *mixed, *strange]


@contextmanager
def _engine(weights: Path) -> Iterator[Callable[[str], list[int]]]:
    """llama.cpp's own tokeniser, through its server."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_ctx, parameters.port, parameters.verbosity = 256, 0, 0
    server = xllamacpp.Server(parameters)

    def tokenize(text: str) -> list[int]:
        body = json.dumps({"content": text, "parse_special": True}).encode()
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body)
        with urllib.request.urlopen(request) as answer:
            return list(json.load(answer)["tokens"])

    yield tokenize


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", pytest.param("gemma3-270m", marks=pytest.mark.slow)])
def test_ids_equal_the_engines(name: str, pulled: Callable[[str], Path]) -> None:
    folder = pulled(name)
    renderer = Renderer(folder)
    with _engine(folder / "weights.gguf") as tokenize:
        for text in _texts():
            assert list(renderer.encode(text)) == tokenize(text), repr(text)
            conversation = [Message(role="system", content="be brief"), Message(role="user", content=text)]
            rendered = renderer.template.text(conversation)
            assert list(renderer.ids(conversation)) == tokenize(rendered), repr(text)


@pytest.mark.slow
def test_gemmas_turns(pulled: Callable[[str], Path]) -> None:
    renderer = Renderer(pulled("gemma3-270m"))
    conversation = [Message(role="system", content="s"), Message(role="user", content="u")]
    text = renderer.template.text(conversation)
    assert text == "<bos><start_of_turn>user\ns\n\nu<end_of_turn>\n<start_of_turn>model\n"
    example = renderer.example(conversation, "yes")
    assert renderer.decode(example.answer) == "yes"
    assert example.answer[-1] == renderer.end_id
