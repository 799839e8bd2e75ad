"""Model files from strangers: read within bounds, refused in one sentence, never executed."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.catalogue import inspect, model
from freehold.catalogue.model import Fact
from freehold.errors import ModelFileError


@pytest.fixture
def safetensors(tmp_path: Path) -> Path:
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)}, path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 77}')
    return path


def test_a_gguf(tiny_gguf: Path) -> None:
    found = inspect.inspect(tiny_gguf)
    assert (found.format, found.architecture, found.parameters) == ("GGUF", "llama", 808)
    assert found.formats == {"F32": 808} and found.context_length == 128
    assert found.tokenizer_digest and found.template_digest


def test_a_safetensors(safetensors: Path) -> None:
    found = inspect.inspect(safetensors)
    assert (found.format, found.architecture, found.parameters, found.context_length) == ("safetensors", "bert", 17, 77)
    assert found.formats == {"F32": 12, "F16": 5}


def test_the_template_digest_tells_templates_apart(tiny_gguf: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(tiny_gguf.read_bytes().replace(b"{{ m['role'] }}", b"{{ m['rule'] }}"))
    one, other = inspect.inspect(tiny_gguf), inspect.inspect(changed)
    assert one.template_digest != other.template_digest
    assert one.tokenizer_digest == other.tokenizer_digest


def test_disagreement_with_the_catalogue_is_named(tiny_gguf: Path) -> None:
    entry = msgspec.structs.replace(
        model.find("gemma3-270m"), context_length=Fact(value=128, source="this test"), note=""
    )
    wrong = {each.field: each for each in inspect.disagreements(inspect.inspect(tiny_gguf), entry)}
    assert set(wrong) == {"parameters", "architecture"}
    assert wrong["parameters"].catalogue == "268098176" and wrong["parameters"].file == "808"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_crashes_it(data: st.DataObject, tiny_gguf: Path, safetensors: Path) -> None:
    source = data.draw(st.sampled_from([tiny_gguf, safetensors]))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = safetensors.parent / "damaged"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        inspect.inspect(path)
    except ModelFileError as error:
        assert str(path) in str(error)


def _gguf(*parts: bytes) -> bytes:
    return b"GGUF" + struct.pack("<I", 3) + b"".join(parts)


HOSTILE = {
    "no version": b"GGUF",
    "other version": b"GGUF" + struct.pack("<I", 99),
    "many tensors": _gguf(struct.pack("<QQ", 2**63, 0)),
    "many keys": _gguf(struct.pack("<QQ", 0, 2**63)),
    "long key": _gguf(struct.pack("<QQ", 0, 1), struct.pack("<Q", 2**62)),
    "long array": _gguf(struct.pack("<QQ", 0, 1), struct.pack("<Q", 1), b"k", struct.pack("<IIQ", 9, 4, 2**61)),
    "nested arrays": _gguf(struct.pack("<QQ", 0, 1), struct.pack("<Q", 1), b"k", struct.pack("<IIQ", 9, 9, 9) * 50),
    "texts without end": _gguf(struct.pack("<QQ", 0, 1), struct.pack("<Q", 1), b"k", struct.pack("<IIQ", 9, 8, 2**40)),
    "huge shape": _gguf(
        struct.pack("<QQ", 1, 0),
        struct.pack("<Q", 1),
        b"t",
        struct.pack("<IQQ", 2, 2**60, 2**60),
        struct.pack("<IQ", 0, 0),
    ),
    "long header": struct.pack("<Q", 2**60) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "deep JSON": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "wrong offsets": struct.pack("<Q", 52) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'[:52].ljust(52),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ModelFileError, match="hostile"):
        inspect.inspect(path)


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_pickle_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.bin").write_bytes(pickle.dumps(_Bomb()))
    with zipfile.ZipFile("torch.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Bomb()))
    for name in ("plain.bin", "torch.bin"):
        with pytest.raises(ModelFileError, match="can run code"):
            inspect.inspect(Path(name))
    assert not Path("exploded").exists()


def test_the_command(freehold: Callable[..., int], capsys: pytest.CaptureFixture[str], tiny_gguf: Path) -> None:
    assert freehold("inspect", tiny_gguf, "--as", "gemma3-270m", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inspection"]["parameters"] == 808
    assert {each["field"] for each in document["disagreements"]} == {"parameters", "architecture", "context_length"}
    assert freehold("inspect", tiny_gguf) == 0
    assert "808" in capsys.readouterr().out
    assert freehold("inspect", "absent.gguf") == 2
