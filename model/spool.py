"""Long lists that are not held in memory: items made when they are asked for, or read back from a file.

Knows nothing of what the items are.
"""

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar, overload

T = TypeVar("T")


class View(Sequence[T]):
    """A list whose items are made anew each time they are asked for."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        """`make` gives the item at a place from 0 to `length` - 1, always an equal one."""
        self._length, self._make = length, make

    def __len__(self) -> int:
        """How many items there are."""
        return self._length

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> "View[T]": ...
    def __getitem__(self, place: int | slice) -> "T | View[T]":
        """The item at a place; a slice is a view again."""
        found = range(self._length)[place]
        return self._item(found) if isinstance(found, int) else View(len(found), lambda i: self._item(found[i]))

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence has equal items in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # as of lists

    def _item(self, place: int) -> T:
        return self._make(place)


class Spool(View[T]):
    """A list on the disk, a line of JSON an item; in memory are eight bytes each.

    Its file has no name unless one is given: it goes with the list, or with the process, however that ends.
    """

    def __init__(self, made: Callable[..., T], *, folder: Path | None = None, file: Path | None = None) -> None:
        """`made` gives an item from the fields it was appended with. `file` is read as it stands; else one is made in `folder`."""
        self._made, self._folder = made, folder
        self._length = 0
        self._ends = array("q", [0])
        self._file: IO[bytes] | None = None
        if file is not None:
            self._file = file.open("rb")
            weakref.finalize(self, self._file.close)
            for line in self._file:
                self._count(line)

    def append(self, fields: Mapping[str, object]) -> None:
        """Adds an item, by the fields that it is made from."""
        if self._file is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 # closed with the list
            weakref.finalize(self, self._file.close)
        line = json.dumps(fields, default=list).encode("ascii") + b"\n"
        self._file.write(line)
        self._count(line)

    def _count(self, line: bytes) -> None:
        self._ends.append(self._ends[-1] + len(line))
        self._length += 1

    def _item(self, place: int) -> T:
        assert self._file is not None  # nosec B101 # an item was appended to it
        self._file.flush()
        begin, end = self._ends[place], self._ends[place + 1]
        return self._made(**json.loads(os.pread(self._file.fileno(), end - begin, begin)))
