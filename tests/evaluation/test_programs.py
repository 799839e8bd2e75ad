"""pass@k: every problem sampled with seeds, run on a leash, and averaged as the paper does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.engines.chat import Chat
from freehold.engines.engine import Answer
from freehold.errors import DataError, UserError
from freehold.evaluation.asking import Asked
from freehold.evaluation.benchmarks import programs
from freehold.store.answers import Answers


class Coder:
    """Right for the first seeds of every problem, as many as its number says."""

    def chat(self, request: Chat) -> Answer:
        rights = int(request.messages[-1].content.split()[-1])
        right = (request.sampling.seed or 0) < rights
        text = f"```python\ndef double(x):\n    return x {'*' if right else '-'} 2\n```"
        return Answer(text=text, input_tokens=9, output_tokens=9, cached_tokens=0, finish_reason="stop", latency_ms=1.0)


def test_pass_at_k(answers: Answers) -> None:
    problems = [programs.Problem(prompt=f"double, right {n}", tests="assert double(3) == 6") for n in (0, 2, 4)]
    found = programs.measure(Asked("coder", "coder", Coder(), answers), problems, samples=4)
    assert found.right == (0, 2, 4)
    assert found.at(1).value == pytest.approx(0.5) and found.at(2).value == pytest.approx((0 + 5 / 6 + 1) / 3)
    with pytest.raises(UserError, match=r"pass@5 needs at least 5 samples"):
        found.at(5)


def test_bad_files(tmp_path: Path, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text('{"prompt": "x", "tests": "y"}\n{"prompt": "x"}\n')
    with pytest.raises(DataError, match=r"problems.jsonl:2: .*missing required field `tests`"):
        programs.read(path)
    path.write_text("")
    assert freehold("benchmark", "programs", path, "smollm2") == 2
    assert "holds no problems" in capsys.readouterr().err
