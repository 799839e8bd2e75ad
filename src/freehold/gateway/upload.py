"""A file that a client uploads (multipart/form-data, RFC 7578), sealed onto the disk as it comes: memory stays flat."""

from collections.abc import Callable
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from freehold.gateway.faults import GatewayError
from freehold.store.sealed import Writer

LONGEST_FILE_BYTES = 512 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_LONGEST_FIELD_BYTES = 4096
_AROUND_BYTES = 64 * 1024  # boundaries, headers and fields beside the file


class Upload:
    """What a form said: its fields, the name of its file; the content went to the writer."""

    def __init__(self, boundary: bytes, writer: Callable[[], Writer]) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self._writer: Writer | None = None
        self._open = writer
        self._header = [b"", b""]
        self._name, self._is_file, self._field = "", False, b""
        self._held, self._number = bytearray(), 0
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }
        self._parser = MultipartParser(boundary, callbacks)
        self.whole = False

    def feed(self, data: bytes) -> None:
        """Take a piece of the body; raises `GatewayError` of 400 or 413."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise GatewayError(400, f"the form cannot be read: {error}", code="invalid_form") from None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self) -> None:
        self._name, self._is_file, self._field = "", False, b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        (name, value), self._header = self._header, [b"", b""]
        if name.lower() != b"content-disposition":
            return
        _, options = parse_options_header(value)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options and self._name == "file":
            if self.filename is not None:
                raise GatewayError(400, "file: stands twice; one file a request", code="invalid_form", param="file")
            self.filename = options[b"filename"].decode(errors="replace")
            self._is_file = True
            self._writer = self._open()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._field += data[start:end]
            if len(self._field) > _LONGEST_FIELD_BYTES:
                raise GatewayError(400, f"{self._name}: is too long", code="invalid_form", param=self._name)
            return
        self._held += data[start:end]
        self.size += end - start
        if self.size > LONGEST_FILE_BYTES:
            raise too_large()
        if len(self._held) >= _CHUNK_BYTES:
            self._write()

    def _end(self) -> None:
        if self._is_file:
            self._write()
        else:
            self.fields[self._name] = self._field.decode(errors="replace")

    def _whole(self) -> None:
        self.whole = True

    def _write(self) -> None:
        if self._held and self._writer is not None:
            self._writer.append(self._number, bytes(self._held))
            self._held, self._number = bytearray(), self._number + 1


async def received(scope: Scope, receive: Receive, writer: Callable[[], Writer]) -> Upload:
    """Read a form to its end; raises `GatewayError` where it is none, or holds no file, or too long a one."""
    headers = dict(scope["headers"])
    kind, options = parse_options_header(headers.get(b"content-type", b""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        what = "a file comes as multipart/form-data, with the fields purpose and file"
        raise GatewayError(400, what, code="invalid_form")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > LONGEST_FILE_BYTES + _AROUND_BYTES:
        raise too_large()
    upload = Upload(options[b"boundary"], writer)
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            upload.feed(message.get("body", b""))
            more = message.get("more_body", False)
    finally:
        upload.close()
    if not upload.whole:
        raise GatewayError(400, "the form broke off before its end", code="invalid_form")
    if upload.filename is None:
        raise GatewayError(400, "file is missing", code="missing_field", param="file")
    return upload


def too_large() -> GatewayError:
    """The refusal of a file that is too long."""
    what = f"the file is larger than {LONGEST_FILE_BYTES:,} bytes; send it as several, a batch each"
    return GatewayError(413, what, code="file_too_large", param="file")
