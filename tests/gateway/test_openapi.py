"""`/openapi.json` says what is served: every route is in it, and what schemathesis makes of it finds no fault."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.gateway import openapi
from freehold.gateway.operations import JSON, Operation, Says

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"


def test_every_route_of_the_gateway_is_in_the_document(gateway: House) -> None:
    document = _document(gateway)
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/audio/speech", "/v1/batches/{id}/cancel", "/metrics"):
        assert path in paths, path
    assert set(paths["/v1/files"]) == {"get", "post"}
    assert set(paths["/v1/files/{id}"]) == {"get", "delete"}
    assert "/openapi.json" in paths


def test_every_reference_in_it_leads_somewhere(gateway: House) -> None:
    document = _document(gateway)
    schemas = document["components"]["schemas"]
    assert set(_references(document)) <= {f"#/components/schemas/{name}" for name in schemas}


def test_the_schema_is_that_of_the_type_that_decodes() -> None:
    made = openapi.document([Operation("POST", "/here/{id}", _nothing, Says("Do.", {JSON: str}, {JSON: int}, (404,)))])
    said = made["paths"]["/here/{id}"]["post"]
    assert said["requestBody"]["content"] == {"application/json": {"schema": {"type": "string"}}}
    assert said["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "integer"}}}
    assert [each["name"] for each in said["parameters"]] == ["id"]
    assert set(said["responses"]) == {"200", "404"}


def test_a_method_that_is_not_taken_is_told_which_are(gateway: House) -> None:
    request = urllib.request.Request(f"{gateway.url}/v1/files", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 405
    assert caught.value.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "options",
    [
        ["--phases", "coverage,fuzzing", "--max-examples", "3"],
        pytest.param(["--phases", "coverage,fuzzing,stateful", "--max-examples", "40"], marks=pytest.mark.slow),
    ],
)
def test_schemathesis_finds_no_fault(
    house: House, upstream: RunningUpstream, tmp_path: Path, options: list[str]
) -> None:
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
        command += [f"{house.url}/openapi.json", "--checks", "all"]
        more = ["--seed", "4", "--no-color", "--max-response-time", "20", "--warnings", "off"]
        ran = subprocess.run([*command, *more, *options], capture_output=True, cwd=tmp_path, timeout=550)
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-6000:] + ran.stderr.decode(errors="replace")


def _nothing() -> None: ...


def _document(house: House) -> dict[str, Any]:
    with urllib.request.urlopen(f"{house.url}/openapi.json") as answer:
        assert answer.headers["content-type"] == "application/json"
        found: dict[str, Any] = json.load(answer)
    return found


def _references(value: Any) -> list[str]:  # noqa: ANN401 (any JSON value)
    if isinstance(value, list):
        return [found for each in value for found in _references(each)]
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in _references(each)]
    return []
