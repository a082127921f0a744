"""Emits the compiled part of `thread_team.py`: threads that walk lists of calls together.

`scripts/compile_kernels.py` adds these functions to each library. Like the microkernels, this
module needs llvmlite, so no other one imports it.

A team is an array of int64 words, as `thread_team_layout` lays them out. A list is one member's
steps: two addresses each, of a kernel's adapter and of its words. A step without an adapter is a
barrier.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fcs_edge.kernels.runtime.thread_team_layout import (
    ARRIVED,
    ASLEEP,
    AWAKE,
    BASES,
    CORES,
    ENDED,
    FIRST_MEMBER,
    GAVE_UP,
    LENGTH,
    LIST,
    MAX_SLEEPS,
    MEMBER_WORDS,
    MEMBERS,
    OPEN,
    POSTED,
    RUN,
    SEMAPHORE,
    STATE,
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
_BASES = _I8.as_pointer().as_pointer()
_ADAPTER = ir.FunctionType(ir.VoidType(), [_BASES, _WORDS])


class _Writer:
    """A function in the making: its builder, and words of a team or of a member."""

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

    def semaphore(self, member: ir.Value) -> ir.Value:
        """Emit the address of a member's semaphore."""
        return self.b.bitcast(self.at(member, SEMAPHORE), _I8.as_pointer())

    def member(self, team: ir.Value, number: ir.Value) -> ir.Value:
        """Emit the address of a member's words."""
        start = self.b.add(_I64(FIRST_MEMBER), self.b.mul(number, _I64(MEMBER_WORDS)))
        return self.b.gep(team, [start])

    def pause(self, architecture: str) -> None:
        """Emit the instruction that makes a loop of waiting cheap."""
        if architecture == "x86_64":
            self.call("llvm.x86.sse2.pause", result=ir.VoidType())
        else:
            self.call("llvm.aarch64.isb", _I32(15), result=ir.VoidType())

    def crowded(self, team: ir.Value, number: ir.Value) -> ir.Value:
        """Emit whether another member runs on this one's core."""
        return self.is_equal(self.call("fcs_edge_crowded", team, number), 1)

    def each_other(self, team: ir.Value, do: Callable[[ir.Value, ir.Value], None]) -> None:
        """Emit a loop over all members but the first: ``do(member, number)``."""
        start, test, body, done = self.b.block, self.block(), self.block(), self.block()
        self.b.branch(test)
        self.b.position_at_end(test)
        number = self.b.phi(_I64)
        number.add_incoming(_I64(1), start)
        members = self.b.load(self.at(team, MEMBERS))
        self.b.cbranch(self.b.icmp_signed("<", number, members), body, done)
        self.b.position_at_end(body)
        do(self.member(team, number), number)
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
    """Emit ``crowded(team, number)``: note this member's core; return 1 where another one has it.

    A wait that pauses there keeps what it waits for from the core.
    """
    w = _Writer(module, "fcs_edge_crowded", 1)
    w.function.linkage = "internal"
    team, number = w.function.args
    core = w.b.sext(w.b.add(w.call("sched_getcpu"), _I32(1)), _I64)
    own = w.b.gep(team, [w.b.add(_I64(CORES), number)])
    with w.b.if_then(w.b.icmp_signed("!=", w.b.load_atomic(own, "monotonic", 8), core)):
        w.b.store_atomic(core, own, "monotonic", 8)
    start, test, body, found, done = w.b.block, *(w.block() for _ in range(4))
    w.b.branch(test)
    w.b.position_at_end(test)
    i = w.b.phi(_I64)
    i.add_incoming(_I64(0), start)
    w.b.cbranch(w.b.icmp_signed("<", i, w.b.load(w.at(team, MEMBERS))), body, done)
    w.b.position_at_end(body)
    word = w.b.load_atomic(w.b.gep(team, [w.b.add(_I64(CORES), i)]), "monotonic", 8)
    other = w.b.icmp_signed("!=", i, number)
    i.add_incoming(w.b.add(i, _I64(1)), body)
    w.b.cbranch(w.b.and_(other, w.b.icmp_signed("==", word, core)), found, test)
    w.b.position_at_end(found)
    w.b.ret(_I32(1))
    w.b.position_at_end(done)
    w.b.ret(_I32(0))


def _emit_barrier(module: ir.Module, architecture: str) -> None:
    """Emit ``barrier(team, number, target)``: arrive, and wait for `target` arrivals in all.

    Where another member has this one's core, the wait offers it at once. The result is the team's
    status: not 0 where a member has failed, or none has come for long.
    """
    w = _Writer(module, "fcs_edge_barrier", 2)
    w.function.linkage = "internal"
    team, number, target = w.function.args
    test, waiting, turning, pausing, later, yielding, sleeping, giving_up, done = (
        w.block() for _ in range(9)
    )
    w.b.atomic_rmw("add", w.at(team, ARRIVED), _I64(1), "acq_rel")
    first = w.b.select(w.crowded(team, number), _I64(_TURNS), _I64(0))
    start = w.b.block
    w.b.branch(test)
    w.b.position_at_end(test)
    turn = w.b.phi(_I64)
    turn.add_incoming(first, start)
    w.b.cbranch(w.b.icmp_signed(">=", w.load(team, ARRIVED), target), done, waiting)
    w.b.position_at_end(waiting)
    w.b.cbranch(w.is_equal(w.load(team, STATUS), 0), turning, done)
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
    last = w.b.add(w.b.load(w.at(team, MAX_SLEEPS)), _I64(_TURNS + _YIELDS))
    w.b.cbranch(w.b.icmp_signed("<", turn, last), test, giving_up)
    w.b.position_at_end(giving_up)
    w.replace(team, STATUS, 0, _I64(GAVE_UP))
    w.b.branch(done)
    w.b.position_at_end(done)
    w.b.ret(w.b.trunc(w.load(team, STATUS), _I32))


def _emit_walk(module: ir.Module) -> None:
    """Emit ``walk(team, number)``: make the calls of a member's list, and wait at its barriers."""
    w = _Writer(module, "fcs_edge_walk", 1)
    w.function.linkage = "internal"
    team, number = w.function.args
    test, body, barrier, calling, joined, done = (w.block() for _ in range(6))
    member = w.member(team, number)
    steps = w.b.inttoptr(w.b.load(w.at(member, LIST)), _WORDS)
    n = w.b.load(w.at(member, LENGTH))
    members = w.b.load(w.at(team, MEMBERS))
    bases = w.b.inttoptr(w.b.load(w.at(team, BASES)), _BASES)
    start = w.b.block
    w.b.branch(test)
    w.b.position_at_end(test)
    i, status = w.b.phi(_I64), w.b.phi(_I32)
    more = w.b.and_(w.b.icmp_signed("<", i, n), w.is_equal(status, 0))
    w.b.cbranch(more, body, done)
    w.b.position_at_end(body)
    at = w.b.mul(i, _I64(2))
    adapter = w.b.load(w.b.gep(steps, [at]))
    words = w.b.load(w.b.gep(steps, [w.b.add(at, _I64(1))]))
    w.b.cbranch(w.is_equal(adapter, 0), barrier, calling)
    w.b.position_at_end(barrier)
    target = w.b.add(w.b.load(w.at(member, TARGET)), members)
    w.b.store(target, w.at(member, TARGET))
    waited = w.call("fcs_edge_barrier", team, number, target)
    w.b.branch(joined)
    w.b.position_at_end(calling)
    called = w.b.inttoptr(adapter, _ADAPTER.as_pointer())
    w.b.call(called, [bases, w.b.inttoptr(words, _WORDS)])
    w.b.branch(joined)
    w.b.position_at_end(joined)
    outcome = w.b.phi(_I32)
    for value, block in ((waited, barrier), (_I32(0), calling)):
        outcome.add_incoming(value, block)
    for phi, first, then in ((i, _I64(0), w.b.add(i, _I64(1))), (status, _I32(0), outcome)):
        phi.add_incoming(first, start)
        phi.add_incoming(then, joined)
    w.b.branch(test)
    w.b.position_at_end(done)
    w.b.ret(status)


def _emit_open(module: ir.Module) -> None:
    """Emit ``open(team)``: create the semaphores.

    With a value of 0, and for one process, `sem_init` cannot fail.
    """
    w = _Writer(module, OPEN, 0)
    w.each_other(
        w.function.args[0],
        lambda member, number: w.call("sem_init", w.semaphore(member), _I32(0), _I32(0)),
    )
    w.b.ret(_I32(0))


def _post(w: _Writer, member: ir.Value) -> None:
    """Emit the notice to a member that a list is there; wake it where it sleeps."""
    old = w.swap(member, STATE, POSTED)
    with w.b.if_then(w.is_equal(old, ASLEEP)):
        w.call("sem_post", w.semaphore(member))


def _emit_run(module: ir.Module) -> None:
    """Emit ``run(team, lists, bases)``: let each member walk its list; this thread is the first.

    lists has an address and a number of steps for each member.
    """
    w = _Writer(module, RUN, 2)
    team, address, bases = w.function.args
    lists = w.b.inttoptr(address, _WORDS)
    w.b.store(bases, w.at(team, BASES))

    def assign(member: ir.Value, number: ir.Value) -> None:
        at = w.b.mul(number, _I64(2))
        w.b.store(w.b.load(w.b.gep(lists, [at])), w.at(member, LIST))
        w.b.store(w.b.load(w.b.gep(lists, [w.b.add(at, _I64(1))])), w.at(member, LENGTH))

    def send(member: ir.Value, number: ir.Value) -> None:
        assign(member, number)
        _post(w, member)

    assign(w.member(team, _I64(0)), _I64(0))
    w.each_other(team, send)
    w.b.ret(w.call("fcs_edge_walk", team, _I64(0)))


def _emit_work(module: ir.Module, architecture: str) -> None:
    """Emit ``work(team, number)``: walk lists until a member fails or the team ends."""
    w = _Writer(module, WORK, 1)
    team, number = w.function.args
    outer, test, turning, pausing, dozing, sleeping, taking, walking, done = (
        w.block() for _ in range(9)
    )
    member = w.member(team, number)
    w.b.branch(outer)
    w.b.position_at_end(outer)
    first = w.b.select(w.crowded(team, number), _I64(_TURNS), _I64(0))
    w.b.branch(test)
    w.b.position_at_end(test)
    turn = w.b.phi(_I64)
    turn.add_incoming(first, outer)
    w.b.cbranch(w.is_equal(w.load(member, STATE), POSTED), taking, turning)
    w.b.position_at_end(turning)
    w.b.cbranch(w.b.icmp_signed("<", turn, _I64(_TURNS)), pausing, dozing)
    w.b.position_at_end(pausing)
    w.pause(architecture)
    turn.add_incoming(w.b.add(turn, _I64(1)), pausing)
    w.b.branch(test)
    w.b.position_at_end(dozing)
    old = w.replace(member, STATE, AWAKE, _I64(ASLEEP))
    w.b.cbranch(w.is_equal(old, POSTED), taking, sleeping)
    w.b.position_at_end(sleeping)
    # A signal ends this too, and a wake-up may come twice: the state says what is true.
    w.call("sem_wait", w.semaphore(member))
    w.b.branch(outer)
    w.b.position_at_end(taking)
    w.swap(member, STATE, AWAKE)
    w.b.cbranch(w.is_equal(w.load(team, ENDED), 0), walking, done)
    w.b.position_at_end(walking)
    status = w.call("fcs_edge_walk", team, number)
    w.b.cbranch(w.is_equal(status, 0), outer, done)
    w.b.position_at_end(done)
    w.b.ret(_I32(0))


def _emit_stop(module: ir.Module) -> None:
    """Emit ``stop(team)``: let every `work` return."""
    w = _Writer(module, STOP, 0)
    team = w.function.args[0]
    w.swap(team, ENDED, 1)
    w.each_other(team, lambda member, number: _post(w, member))
    w.b.ret(_I32(0))
