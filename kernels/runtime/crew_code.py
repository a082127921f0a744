"""Emits the compiled part of `crew.py`: threads that walk lists of recorded calls together.

`scripts/compile_kernels.py` adds these functions to each library. Like the microkernels, this
module needs llvmlite, so no other one imports it.

A crew is an array of int64 words, a cache line or more for each word that several threads write
(`crew.py` has the layout). A list is one party's steps: two addresses each, of a function and of
its arguments. A step without a function is a barrier.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fcs_edge.kernels.runtime.crew_layout import (
    ARRIVED,
    ASLEEP,
    AWAKE,
    CORES,
    ENDED,
    FIRST_PARTY,
    GAVE_UP,
    LENGTH,
    LIST,
    MAIL,
    OPEN,
    PARTIES,
    PARTY_WORDS,
    PATIENCE,
    POSTED,
    RUN,
    SEMAPHORE,
    STATUS,
    STOP,
    TARGET,
    WORK,
)

LIBC = {"sched_getcpu", "sched_yield", "usleep", "sem_init", "sem_wait", "sem_post"}
"""What the functions call of the C library."""

_TURNS = 2000
"""Turns of a wait that only pause; about 50 us. Most waits are shorter."""
_YIELDS = 2000
"""Turns after those, each of which offers the core to other threads; later ones sleep."""
_SLEEP_MICROSECONDS = 100

_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_WORDS = _I64.as_pointer()
_ARGUMENTS = _I8.as_pointer().as_pointer()


class _Writer:
    """A function in the making: its builder, and words of a crew or of a party."""

    def __init__(self, module: ir.Module, name: str, n_arguments: int) -> None:
        kind = ir.FunctionType(_I32, [_WORDS, *[_I64] * n_arguments])
        self.function = ir.Function(module, kind, name)
        self.module = module
        self.b = ir.IRBuilder(self.function.append_basic_block())

    def block(self) -> ir.Block:
        """Add a block of code."""
        return self.function.append_basic_block()

    def at(self, words: ir.Value, word: int) -> ir.Value:
        """Emit the address of a word."""
        return self.b.gep(words, [_I64(word)])

    def load(self, words: ir.Value, word: int) -> ir.Value:
        """Emit an atomic load of a word; what others wrote before it is visible after it."""
        return self.b.load_atomic(self.at(words, word), "acquire", 8)

    def swap(self, words: ir.Value, word: int, value: int) -> ir.Value:
        """Emit an exchange of a word's value; return the old one."""
        return self.b.atomic_rmw("xchg", self.at(words, word), _I64(value), "acq_rel")

    def replace(self, words: ir.Value, word: int, expected: int, value: ir.Value) -> ir.Value:
        """Emit an exchange of a word that has an expected value; return the old one."""
        at = self.at(words, word)
        pair = self.b.cmpxchg(at, _I64(expected), value, "acq_rel", "acquire")
        return self.b.extract_value(pair, 0)

    def is_equal(self, value: ir.Value, number: int) -> ir.Value:
        """Emit a comparison with a number."""
        return self.b.icmp_signed("==", value, ir.Constant(value.type, number))

    def call(self, name: str, *arguments: ir.Value, result: ir.Type = _I32) -> ir.Value:
        """Emit a call of a function of this module, of LLVM or of the C library."""
        declared = self.module.globals.get(name)
        if declared is None:
            kind = ir.FunctionType(result, [a.type for a in arguments])
            declared = ir.Function(self.module, kind, name)
        return self.b.call(declared, arguments)

    def semaphore(self, party: ir.Value) -> ir.Value:
        """Emit the address of a party's semaphore."""
        return self.b.bitcast(self.at(party, SEMAPHORE), _I8.as_pointer())

    def party(self, crew: ir.Value, number: ir.Value) -> ir.Value:
        """Emit the address of a party's words."""
        start = self.b.add(_I64(FIRST_PARTY), self.b.mul(number, _I64(PARTY_WORDS)))
        return self.b.gep(crew, [start])

    def pause(self, architecture: str) -> None:
        """Emit the instruction that makes a loop of waiting cheap."""
        if architecture == "x86_64":
            self.call("llvm.x86.sse2.pause", result=ir.VoidType())
        else:
            self.call("llvm.aarch64.isb", _I32(15), result=ir.VoidType())

    def crowded(self, crew: ir.Value, number: ir.Value) -> ir.Value:
        """Emit whether another party runs on this one's core."""
        return self.is_equal(self.call("fcs_edge_crowded", crew, number), 1)

    def each_other(self, crew: ir.Value, do: Callable[[ir.Value, ir.Value], None]) -> None:
        """Emit a loop over all parties but the first: ``do(party, number)``."""
        start, test, body, done = self.b.block, self.block(), self.block(), self.block()
        self.b.branch(test)
        self.b.position_at_end(test)
        number = self.b.phi(_I64)
        number.add_incoming(_I64(1), start)
        parties = self.b.load(self.at(crew, PARTIES))
        self.b.cbranch(self.b.icmp_signed("<", number, parties), body, done)
        self.b.position_at_end(body)
        do(self.party(crew, number), number)
        number.add_incoming(self.b.add(number, _I64(1)), self.b.block)
        self.b.branch(test)
        self.b.position_at_end(done)


def emit(module: ir.Module, architecture: str) -> list[str]:
    """Emit the functions into a library's module; return the names of those that Python calls."""
    _emit_crowded(module)
    _emit_barrier(module, architecture)
    _emit_walk(module)
    _emit_open(module)
    _emit_run(module)
    _emit_work(module, architecture)
    _emit_stop(module)
    return [OPEN, RUN, WORK, STOP]


def _emit_crowded(module: ir.Module) -> None:
    """Emit ``crowded(crew, number)``: note this party's core; return 1 where another one has it.

    A wait that pauses there keeps what it waits for from the core.
    """
    w = _Writer(module, "fcs_edge_crowded", 1)
    w.function.linkage = "internal"
    crew, number = w.function.args
    core = w.b.sext(w.b.add(w.call("sched_getcpu"), _I32(1)), _I64)
    own = w.b.gep(crew, [w.b.add(_I64(CORES), number)])
    with w.b.if_then(w.b.icmp_signed("!=", w.b.load_atomic(own, "monotonic", 8), core)):
        w.b.store_atomic(core, own, "monotonic", 8)
    start, test, body, found, done = w.b.block, *(w.block() for _ in range(4))
    w.b.branch(test)
    w.b.position_at_end(test)
    i = w.b.phi(_I64)
    i.add_incoming(_I64(0), start)
    w.b.cbranch(w.b.icmp_signed("<", i, w.b.load(w.at(crew, PARTIES))), body, done)
    w.b.position_at_end(body)
    word = w.b.load_atomic(w.b.gep(crew, [w.b.add(_I64(CORES), i)]), "monotonic", 8)
    other = w.b.icmp_signed("!=", i, number)
    i.add_incoming(w.b.add(i, _I64(1)), body)
    w.b.cbranch(w.b.and_(other, w.b.icmp_signed("==", word, core)), found, test)
    w.b.position_at_end(found)
    w.b.ret(_I32(1))
    w.b.position_at_end(done)
    w.b.ret(_I32(0))


def _emit_barrier(module: ir.Module, architecture: str) -> None:
    """Emit ``barrier(crew, number, target)``: arrive, and wait for `target` arrivals in all.

    Where another party has this one's core, the wait offers it at once. The result is the crew's
    status: not 0 where a party has failed, or none has come for long.
    """
    w = _Writer(module, "fcs_edge_barrier", 2)
    w.function.linkage = "internal"
    crew, number, target = w.function.args
    test, waiting, turning, pausing, later, yielding, sleeping, giving_up, done = (
        w.block() for _ in range(9)
    )
    w.b.atomic_rmw("add", w.at(crew, ARRIVED), _I64(1), "acq_rel")
    first = w.b.select(w.crowded(crew, number), _I64(_TURNS), _I64(0))
    start = w.b.block
    w.b.branch(test)
    w.b.position_at_end(test)
    turn = w.b.phi(_I64)
    turn.add_incoming(first, start)
    w.b.cbranch(w.b.icmp_signed(">=", w.load(crew, ARRIVED), target), done, waiting)
    w.b.position_at_end(waiting)
    w.b.cbranch(w.is_equal(w.load(crew, STATUS), 0), turning, done)
    w.b.position_at_end(turning)
    w.b.cbranch(w.b.icmp_signed("<", turn, _I64(_TURNS)), pausing, later)
    w.b.position_at_end(pausing)
    w.pause(architecture)
    following = w.b.add(turn, _I64(1))
    turn.add_incoming(following, pausing)
    w.b.branch(test)
    w.b.position_at_end(later)
    w.b.cbranch(w.b.icmp_signed("<", turn, _I64(_TURNS + _YIELDS)), yielding, sleeping)
    w.b.position_at_end(yielding)
    w.call("sched_yield")
    turn.add_incoming(w.b.add(turn, _I64(1)), yielding)
    w.b.branch(test)
    w.b.position_at_end(sleeping)
    w.call("usleep", _I32(_SLEEP_MICROSECONDS))
    turn.add_incoming(w.b.add(turn, _I64(1)), sleeping)
    last = w.b.add(w.b.load(w.at(crew, PATIENCE)), _I64(_TURNS + _YIELDS))
    w.b.cbranch(w.b.icmp_signed("<", turn, last), test, giving_up)
    w.b.position_at_end(giving_up)
    w.replace(crew, STATUS, 0, _I64(GAVE_UP))
    w.b.branch(done)
    w.b.position_at_end(done)
    w.b.ret(w.b.trunc(w.load(crew, STATUS), _I32))


def _emit_walk(module: ir.Module) -> None:
    """Emit ``walk(crew, number)``: make the calls of a party's list, and wait at its barriers."""
    w = _Writer(module, "fcs_edge_walk", 1)
    w.function.linkage = "internal"
    crew, number = w.function.args
    called = ir.FunctionType(_I32, [_ARGUMENTS]).as_pointer()
    test, body, barrier, calling, joined, failed, done = (w.block() for _ in range(7))
    party = w.party(crew, number)
    steps = w.b.inttoptr(w.b.load(w.at(party, LIST)), _WORDS)
    n = w.b.load(w.at(party, LENGTH))
    parties = w.b.load(w.at(crew, PARTIES))
    start = w.b.block
    w.b.branch(test)
    w.b.position_at_end(test)
    i, status = w.b.phi(_I64), w.b.phi(_I32)
    more = w.b.and_(w.b.icmp_signed("<", i, n), w.is_equal(status, 0))
    w.b.cbranch(more, body, done)
    w.b.position_at_end(body)
    at = w.b.mul(i, _I64(2))
    entry = w.b.load(w.b.gep(steps, [at]))
    arguments = w.b.load(w.b.gep(steps, [w.b.add(at, _I64(1))]))
    w.b.cbranch(w.is_equal(entry, 0), barrier, calling)
    w.b.position_at_end(barrier)
    target = w.b.add(w.b.load(w.at(party, TARGET)), parties)
    w.b.store(target, w.at(party, TARGET))
    waited = w.call("fcs_edge_barrier", crew, number, target)
    w.b.branch(joined)
    w.b.position_at_end(calling)
    result = w.b.call(w.b.inttoptr(entry, called), [w.b.inttoptr(arguments, _ARGUMENTS)])
    w.b.cbranch(w.is_equal(result, 0), joined, failed)
    w.b.position_at_end(failed)
    w.replace(crew, STATUS, 0, w.b.sext(result, _I64))
    w.b.branch(joined)
    w.b.position_at_end(joined)
    outcome = w.b.phi(_I32)
    for value, block in ((waited, barrier), (result, calling), (result, failed)):
        outcome.add_incoming(value, block)
    for phi, first, then in ((i, _I64(0), w.b.add(i, _I64(1))), (status, _I32(0), outcome)):
        phi.add_incoming(first, start)
        phi.add_incoming(then, joined)
    w.b.branch(test)
    w.b.position_at_end(done)
    w.b.ret(status)


def _emit_open(module: ir.Module) -> None:
    """Emit ``open(crew)``: create the semaphores."""
    w = _Writer(module, OPEN, 0)
    w.each_other(
        w.function.args[0],
        lambda party, number: w.call("sem_init", w.semaphore(party), _I32(0), _I32(0)),
    )
    w.b.ret(_I32(0))


def _post(w: _Writer, party: ir.Value) -> None:
    """Emit a message to a party; wake it where it sleeps."""
    old = w.swap(party, MAIL, POSTED)
    with w.b.if_then(w.is_equal(old, ASLEEP)):
        w.call("sem_post", w.semaphore(party))


def _emit_run(module: ir.Module) -> None:
    """Emit ``run(crew, lists)``: let each party walk its list; this thread is the first one.

    lists has an address and a number of steps for each party.
    """
    w = _Writer(module, RUN, 1)
    crew = w.function.args[0]
    lists = w.b.inttoptr(w.function.args[1], _WORDS)

    def assign(party: ir.Value, number: ir.Value) -> None:
        at = w.b.mul(number, _I64(2))
        w.b.store(w.b.load(w.b.gep(lists, [at])), w.at(party, LIST))
        w.b.store(w.b.load(w.b.gep(lists, [w.b.add(at, _I64(1))])), w.at(party, LENGTH))

    def send(party: ir.Value, number: ir.Value) -> None:
        assign(party, number)
        _post(w, party)

    assign(w.party(crew, _I64(0)), _I64(0))
    w.each_other(crew, send)
    w.b.ret(w.call("fcs_edge_walk", crew, _I64(0)))


def _emit_work(module: ir.Module, architecture: str) -> None:
    """Emit ``work(crew, number)``: walk lists until a party fails or the crew ends."""
    w = _Writer(module, WORK, 1)
    crew, number = w.function.args
    outer, test, turning, pausing, dozing, sleeping, taking, walking, done = (
        w.block() for _ in range(9)
    )
    party = w.party(crew, number)
    w.b.branch(outer)
    w.b.position_at_end(outer)
    first = w.b.select(w.crowded(crew, number), _I64(_TURNS), _I64(0))
    w.b.branch(test)
    w.b.position_at_end(test)
    turn = w.b.phi(_I64)
    turn.add_incoming(first, outer)
    w.b.cbranch(w.is_equal(w.load(party, MAIL), POSTED), taking, turning)
    w.b.position_at_end(turning)
    w.b.cbranch(w.b.icmp_signed("<", turn, _I64(_TURNS)), pausing, dozing)
    w.b.position_at_end(pausing)
    w.pause(architecture)
    turn.add_incoming(w.b.add(turn, _I64(1)), pausing)
    w.b.branch(test)
    w.b.position_at_end(dozing)
    old = w.replace(party, MAIL, AWAKE, _I64(ASLEEP))
    w.b.cbranch(w.is_equal(old, POSTED), taking, sleeping)
    w.b.position_at_end(sleeping)
    # A signal ends this too, and a wake-up may come twice: the mail says what is true.
    w.call("sem_wait", w.semaphore(party))
    w.b.branch(outer)
    w.b.position_at_end(taking)
    w.swap(party, MAIL, AWAKE)
    w.b.cbranch(w.is_equal(w.load(crew, ENDED), 0), walking, done)
    w.b.position_at_end(walking)
    status = w.call("fcs_edge_walk", crew, number)
    w.b.cbranch(w.is_equal(status, 0), outer, done)
    w.b.position_at_end(done)
    w.b.ret(_I32(0))


def _emit_stop(module: ir.Module) -> None:
    """Emit ``stop(crew)``: let every `work` return."""
    w = _Writer(module, STOP, 0)
    crew = w.function.args[0]
    w.swap(crew, ENDED, 1)
    w.each_other(crew, lambda party, number: _post(w, party))
    w.b.ret(_I32(0))
