"""What a pickle would build, read from its opcodes: nothing is imported, called or built.

A pickle is a program for a small stack machine. This machine runs the opcodes that make plain containers and stands in
for all others: a named object is a :class:`Global`, calling one gives a :class:`Call`. So every name that a file uses
is known, and the shapes of tensors can be read from the arguments of the calls that would rebuild them.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from circuit_artifacts.errors import CircuitArtifactsError, FormatError

__all__ = ["MOST_OPCODES", "Call", "Global", "Pairs", "PersistentId", "Pickle", "read_pickle"]

MOST_OPCODES = 4_000_000
"""Where reading stops, unless the caller says otherwise."""
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_BROKEN = (ValueError, TypeError, LookupError, OverflowError, AttributeError, StopIteration)


@dataclass(frozen=True, slots=True)
class Global:
    """An object that the pickle names, as ``module.name``."""

    name: str


@dataclass(eq=False, slots=True)
class Pairs:
    """A dictionary, as the pairs it was filled with: a broken file may have keys that cannot be hashed."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class PersistentId:
    """What the pickle keeps elsewhere, by its key; torch keeps the numbers of tensors so."""

    key: Any


@dataclass(eq=False, slots=True)
class Call:
    """A call that loading the pickle would make, with what would be put into its result.

    Attributes:
        function: a `Global`, or whatever else the file would call.
        arguments: a tuple, in an ordinary file.
        state: what would be set on the result; None if nothing.
        members: what would be appended or added to the result.
        pairs: what would be set in the result by key.
    """

    function: Any
    arguments: Any
    state: Any = None
    members: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the function; a question mark if the file computes it."""
        return self.function.name if isinstance(self.function, Global) else "?"


@dataclass(frozen=True)
class Pickle:
    """A pickle that was read.

    Attributes:
        value: made of literals, lists, tuples and the classes of this module. It may contain itself.
        globals: every name, in the order of first use.
        kept_elsewhere: every reference to what is not in the pickle.
        objects: every call and dictionary that loading would make, also those that are no part of the value.
        complete: False if reading stopped for the number of opcodes; the rest is then what was met before.
    """

    value: Any
    globals: tuple[str, ...]
    kept_elsewhere: tuple[PersistentId, ...]
    objects: tuple[Call | Pairs, ...]
    complete: bool


def read_pickle(
    stream: IO[bytes], *, most_opcodes: int = MOST_OPCODES, file: object = None, where: object = None
) -> Pickle:
    """Read one pickle from a stream; the stream is left behind it.

    Args:
        stream: in memory, or bounded (`circuit_artifacts.formats.bounded`): an opcode may ask for any number of bytes.
        most_opcodes: where to stop.
        file: name for messages.
        where: member of an archive, for messages.

    Raises:
        FormatError: truncated, or not a pickle.
    """
    machine = _Machine()
    complete = True
    try:
        for count, (opcode, argument, _position) in enumerate(pickletools.genops(stream)):
            if count == most_opcodes:
                complete = False
                break
            machine.run(opcode.name, argument)
        names, references, objects = tuple(machine.globals), tuple(machine.kept_elsewhere), tuple(machine.objects)
        return Pickle(machine.bottom(), names, references, objects, complete)
    except CircuitArtifactsError:
        raise
    except _BROKEN as error:
        problem = "not a complete pickle"
        raise FormatError(problem, file=file, where=where, found=error) from error


class _Machine:
    """The stack, the memo, and one method per kind of opcode."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.globals: dict[str, None] = {}
        self.kept_elsewhere: list[PersistentId] = []
        self.objects: list[Call | Pairs] = []
        self._memo: dict[int, Any] = {}
        self._marked: list[list[Any]] = []
        """Stacks that lie below the marks."""

    def run(self, name: str, argument: Any) -> None:
        if name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif argument is not None:  # a number, text, or bytes
            self.stack.append(argument)
        else:
            problem = f"opcode {name} is unknown"
            raise ValueError(problem)

    def bottom(self) -> Any:
        """What was put on the stack first: the whole value, at the end."""
        return next(stack for stack in [*self._marked, self.stack] if stack)[0]

    def ignore(self, _argument: Any) -> None:
        pass

    def mark(self, _argument: Any) -> None:
        self._marked.append(self.stack)
        self.stack = []

    def to_mark(self, _argument: Any = None) -> list[Any]:
        members, self.stack = self.stack, self._marked.pop()
        return members

    def pop(self, _argument: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def duplicate(self, _argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def put(self, argument: Any) -> None:
        self._memo[len(self._memo) if argument is None else argument] = self.stack[-1]

    def get(self, argument: Any) -> None:
        self.stack.append(self._memo[argument])

    def empty_list(self, _argument: Any) -> None:
        self.stack.append([])

    def empty_dictionary(self, _argument: Any) -> None:
        self._push_object(Pairs())

    def list_(self, _argument: Any) -> None:
        members = self.to_mark()
        self.stack.append(members)

    def dictionary(self, _argument: Any) -> None:
        members = self.to_mark()
        self._push_object(Pairs(_paired(members)))

    def tuple_(self, _argument: Any) -> None:
        members = self.to_mark()
        self.stack.append(tuple(members))

    def append(self, _argument: Any) -> None:
        member = self.stack.pop()
        self._members().append(member)

    def extend(self, _argument: Any) -> None:
        members = self.to_mark()
        self._members().extend(members)

    def set_item(self, _argument: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1].pairs.append((key, value))

    def set_items(self, _argument: Any) -> None:
        pairs = _paired(self.to_mark())
        self.stack[-1].pairs.extend(pairs)

    def name(self, argument: str) -> None:
        self._push_global(argument.replace(" ", ".", 1))

    def name_on_stack(self, _argument: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        known = isinstance(module, str) and isinstance(attribute, str)
        self._push_global(f"{module}.{attribute}" if known else "a name that the file computes")

    def extension(self, argument: int) -> None:
        self._push_global(f"copyreg extension {argument}")

    def reference(self, argument: Any) -> None:
        self._push_reference(argument or "an out-of-band buffer")

    def reference_on_stack(self, _argument: Any) -> None:
        self._push_reference(self.stack.pop())

    def call(self, _argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self._push_object(Call(function, arguments))

    def call_with_keywords(self, _argument: Any) -> None:
        keywords, arguments, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._push_object(Call(function, (arguments, keywords)))

    def call_named(self, argument: str) -> None:
        members = self.to_mark()
        self.name(argument)
        self._push_object(Call(self.stack.pop(), tuple(members)))

    def call_marked(self, _argument: Any) -> None:
        function, *members = self.to_mark()
        self._push_object(Call(function, tuple(members)))

    def build(self, _argument: Any) -> None:
        state = self.stack.pop()
        call = self.stack[-1]
        if not isinstance(call, Call) or call.state is not None:  # which no writer of pickles does
            problem = "a state is set on what cannot have one, or has one already"
            raise ValueError(problem)
        call.state = state

    def _members(self) -> list[Any]:
        """What is appended to: the list on the stack, or the members of the call there."""
        top = self.stack[-1]
        members: list[Any] = top if isinstance(top, list) else top.members
        return members

    def _push_object(self, made: Call | Pairs) -> None:
        self.objects.append(made)
        self.stack.append(made)

    def _push_global(self, name: str) -> None:
        self.globals[name] = None
        self.stack.append(Global(name))

    def _push_reference(self, key: Any) -> None:
        self.kept_elsewhere.append(PersistentId(key))
        self.stack.append(self.kept_elsewhere[-1])


def _tuple_of(size: int) -> Callable[[_Machine, Any], None]:
    def run(machine: _Machine, _argument: Any) -> None:
        if len(machine.stack) < size:
            problem = "the stack is too short"
            raise ValueError(problem)
        members = tuple(machine.stack[-size:])
        del machine.stack[-size:]
        machine.stack.append(members)

    return run


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER", "STOP"), _Machine.ignore),
    "MARK": _Machine.mark,
    "POP_MARK": _Machine.to_mark,
    "POP": _Machine.pop,
    "DUP": _Machine.duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), _Machine.empty_list),
    "EMPTY_DICT": _Machine.empty_dictionary,
    **dict.fromkeys(("LIST", "FROZENSET"), _Machine.list_),
    "DICT": _Machine.dictionary,
    "TUPLE": _Machine.tuple_,
    **{f"TUPLE{size}": _tuple_of(size) for size in (1, 2, 3)},
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.extend),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.extension),
    **dict.fromkeys(("PERSID", "NEXT_BUFFER"), _Machine.reference),
    "BINPERSID": _Machine.reference_on_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "INST": _Machine.call_named,
    "OBJ": _Machine.call_marked,
    "BUILD": _Machine.build,
}


def _paired(members: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(members[::2], members[1::2], strict=True))
