"""Server-sent events: bytes in, the data of each event out."""

from __future__ import annotations

from collections.abc import Iterator

_MOST_BYTES = 8 << 20


class EventReader:
    """Cuts a byte stream into events (WHATWG HTML, section 9.2), however the network cut it into packets.

    Only \\n, \\r and \\r\\n end a line: U+2028 and its kind may stand inside the JSON.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of every event that is complete now. Raises ValueError when one grows beyond all measure."""
        buffered = self._rest + chunk
        held_back = b"\r" if buffered.endswith(b"\r") else b""  # its \n may be in the next packet
        lines = (
            buffered[: len(buffered) - len(held_back)]
            .replace(b"\r\n", b"\n")
            .replace(b"\r", b"\n")
            .split(b"\n")
        )
        self._rest = lines.pop() + held_back
        if len(self._rest) + sum(map(len, self._data)) > _MOST_BYTES:
            raise ValueError("an event without an end")
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield self._event()

    def finish(self) -> Iterator[str]:
        """The last event, where the stream ended without the blank line."""
        if self._rest.strip():
            self._field(self._rest.rstrip(b"\r"))
        self._rest = b""
        if self._data:
            yield self._event()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))

    def _event(self) -> str:
        text = b"\n".join(self._data).decode("utf-8", "replace")
        self._data.clear()
        return text
