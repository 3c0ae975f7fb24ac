"""What frozen layers below the first adapter make of each token, remembered over epochs.

A token's state there depends on the tokens before it in its row and on nothing else, so it is stored under a hash
of that path, whatever pack it is met in. Only remember() stores, and the loop calls it for the first epoch's packs
in order (again, when a run is resumed): numbers then do not depend on where a run was interrupted.
"""

from __future__ import annotations

import hashlib

import torch

from rolekit.train.packing import Pack

MOST_BYTES = 2 << 30
_GROWTH_ROWS = 4096


class PathCache:
    """Hidden rows [h] by path, at most MOST_BYTES of them."""

    def __init__(self, width: int) -> None:
        """width: h, the numbers in a row; rows are float32."""
        self._width = width
        self._places: dict[bytes, int] = {}
        self._rows = torch.empty(0, width)

    def lookup(self, pack: Pack) -> torch.Tensor | None:
        """The pack's hidden rows [n, h]; None unless all of them are known."""
        places = [self._places.get(key, -1) for key in path_keys(pack)]
        return None if -1 in places else self._rows[torch.tensor(places)]

    def remember(self, pack: Pack, hidden: torch.Tensor) -> None:
        """Store what is not known yet of the pack's hidden rows, as far as there is room."""
        new = [(at, key) for at, key in enumerate(path_keys(pack)) if key not in self._places]
        room = MOST_BYTES // (4 * self._width) - len(self._places)
        new = new[: max(room, 0)]
        have = len(self._places)
        if have + len(new) > len(self._rows):
            grown = torch.empty(have + max(len(new), _GROWTH_ROWS), self._width)
            grown[:have] = self._rows[:have]
            self._rows = grown
        for place, (at, key) in enumerate(new, start=have):
            self._places[key] = place
            self._rows[place] = hidden[at]


def path_keys(pack: Pack) -> list[bytes]:
    """For each token of the pack a digest of its row's tokens up to and with it."""
    keys: list[bytes] = []
    for tree in pack.layout:
        root = _extend(keys, pack, tree.start, tree.prefix, b"")
        at = tree.start + tree.prefix
        for length in tree.segments:
            _extend(keys, pack, at, length, root)
            at += length
    return keys


def _extend(keys: list[bytes], pack: Pack, start: int, length: int, before: bytes) -> bytes:
    for token in pack.ids[start : start + length].tolist():
        before = hashlib.blake2b(before + token.to_bytes(8, "little"), digest_size=16).digest()
        keys.append(before)
    return before
