"""Messages of the Postgres wire (protocol 3): a type, a length, and a body of which little is held."""

from slotfill.collect.wire import Unreadable

LONGEST_KEPT = 8 << 10
"""Of a message's body; longer statements keep their beginning, longer parameters have no fingerprint."""
LONGEST_MESSAGE = 1 << 30


class Messages:
    """Cuts one direction into messages; of a body at most ``LONGEST_KEPT`` bytes are held, and only of wanted types."""

    def __init__(self, wanted: bytes, types: bytes) -> None:
        self._wanted, self._types = wanted, types
        self._header = b""
        self._kept = b""
        self._left = 0
        self._size = 0

    def feed(self, data: bytes) -> list[tuple[bytes, bytes, int]]:
        """The messages that end in ``data``: type, body as far as it is kept, bytes. Raises Unreadable."""
        found, at = [], 0
        while at < len(data):
            if not self._header and at + 5 <= len(data):  # most messages come in one piece
                kind, end = data[at : at + 1], at + 1 + self._length(data[at : at + 5])
                if end <= len(data):
                    body = data[at + 5 : min(end, at + 5 + LONGEST_KEPT)] if kind in self._wanted else b""
                    found.append((kind, body, end - at))
                    at = end
                    continue
            if self._left == 0:
                needed = 5 - len(self._header)
                self._header += data[at : at + needed]
                at += needed
                if len(self._header) < 5:
                    break
                length = self._length(self._header)
                self._left, self._size, self._kept = length - 4, length + 1, b""
            taken = min(len(data) - at, self._left)
            if self._header[:1] in self._wanted and len(self._kept) < LONGEST_KEPT:
                self._kept += data[at : at + min(taken, LONGEST_KEPT - len(self._kept))]
            at += taken
            self._left -= taken
            if self._left == 0:
                found.append((self._header[:1], self._kept, self._size))
                self._header = b""
        return found

    def _length(self, header: bytes) -> int:
        """What the message says of its length, its type's byte not counted."""
        length = int.from_bytes(header[1:], "big")
        if length < 4 or length > LONGEST_MESSAGE or header[:1] not in self._types:
            raise Unreadable("no Postgres message")
        return length
