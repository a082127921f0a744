// wasm_fuzz.mjs MODULE MODEL SEED CALLS [HOSTILE ...]: random calls of the toy codec's streams,
// right and wrong ones, beside the same arithmetic in JavaScript; tests/toy_codec.py has it too.
// Guard bytes lie around all memory. HOSTILE are damaged models, each behind its size: opening one must do no harm.
import { readFileSync } from "node:fs";

const [modulePath, modelPath, seed, calls, ...hostile] = process.argv.slice(2);
const HOP = 4, CHUNK_TOKENS = 3, HOP_OUT = 2, CHUNK = 12, BITS = 11;
const SCALES = [0.5, 0.75, 0.25], GUARD = 64, PAINT = 0xa7;
const BAD_ARGUMENT = -1, BAD_ALIGNMENT = -2, SMALL_BUFFER = -3, SMALL_STATE = -4, BAD_STATE = -5,
  BAD_TOKEN = -6;
const f = Math.fround;

let random = Number(seed) >>> 0;
const below = (n) => {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  return Math.floor((random / 2 ** 32) * n);
};
const fail = (what) => {
  console.error(what);
  process.exit(1);
};
const check = (right, what) => right || fail(`${what}: seed ${seed}`);

const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(modulePath)));
const guards = [];
function take(size) {
  const at = exports.fcs_alloc(size + 2 * GUARD) + GUARD;
  const tail = (size + 63) & ~63;
  guards.push([at - GUARD, GUARD], [at + size, tail - size + GUARD]);
  return at;
}
let bytes, words, floats, halves;
function refresh() {
  const { buffer } = exports.memory;
  bytes = new Uint8Array(buffer);
  words = new Uint32Array(buffer);
  floats = new Float32Array(buffer);
  halves = new Uint16Array(buffer);
}
const paint = () => guards.forEach(([at, n]) => bytes.fill(PAINT, at, at + n));
const intact = () => guards.every(([at, n]) => bytes.subarray(at, at + n).every((b) => b === PAINT));

function opened(data) {
  const model = take(exports.fcs_model_size()), at = take(data.length);
  refresh();
  paint();
  bytes.set(data, at);
  const code = exports.fcs_model_open(model, at, data.length);
  check(intact() && data.equals(bytes.subarray(at, at + data.length)), "opening changes memory");
  return [code, model];
}

class Reference {
  constructor(encodes) {
    this.encodes = encodes;
    this.chunk = encodes ? CHUNK : CHUNK_TOKENS;
    this.reset();
  }
  reset() {
    this.past = f(1);
    this.items = [];
    this.bad = 0;
  }
  copy() {
    const other = new Reference(this.encodes);
    return Object.assign(other, { past: this.past, items: [...this.items], bad: this.bad });
  }
  run(n) {
    const items = this.items.splice(0, n);
    return this.encodes ? this.encode(items) : this.decode(items);
  }
  encode(items) {
    const out = [];
    for (let i = 0; i * HOP < items.length; i++) {
      let sum = f(0);
      for (let k = 0; k < HOP; k++) {
        const x = items[i * HOP + k] ?? 0;
        if (!Number.isFinite(x)) this.bad++;
        sum = f(sum + (Number.isFinite(x) ? x : 0));
      }
      this.past = f(f(this.past + f(SCALES[i % CHUNK_TOKENS] * sum)) / 2);
      out.push(Math.trunc(f(this.past * 1000)) & 2047);
    }
    return out;
  }
  decode(items) {
    return items.flatMap((token) =>
      [0, 1].map(() => (this.past = f(f(this.past + token) / 4))),
    );
  }
  push(items) {
    this.items.push(...items);
    return this.run(this.items.length - (this.items.length % this.chunk));
  }
  flush() {
    const out = this.run(this.items.length);
    this.reset();
    return out;
  }
}

const [code, model] = opened(readFileSync(modelPath));
check(code === 0, "the model opens");
const MOST = 40 * CHUNK;
const input = take(4 * MOST), output = take(4 * MOST * HOP_OUT), count = take(4);
const call = (name, ...rest) => exports[name](model, ...rest);

class Pair {
  constructor(encodes, chunks) {
    Object.assign(this, { encodes, chunks, name: encodes ? "fcs_encoder" : "fcs_decoder" });
    this.size = call(`${this.name}_size`, chunks);
    this.state = take(this.size);
    this.reference = new Reference(encodes);
  }
  start() {
    check(call(`${this.name}_init`, this.state, this.size, this.chunks) === 0, "a stream starts");
  }
  draw(n) {
    if (!this.encodes) return Array.from({ length: n }, () => below(1 << BITS));
    const x = Array.from({ length: n }, () => f(below(2000) / 1000 - 1));
    if (n && below(4) === 0) x[below(n)] = [NaN, Infinity, -Infinity][below(3)];
    return x;
  }
  put(items) {
    (this.encodes ? floats : halves).set(items, input >> (this.encodes ? 2 : 1));
  }
  compare(returned, expected, what) {
    check(returned === 0, `${this.name} ${what} gave ${returned}`);
    const n = words[count >> 2], [view, at] = this.encodes ? [halves, output >> 1] : [floats, output >> 2];
    check(n === expected.length, `${this.name} ${what} wrote ${n}, not ${expected.length}`);
    check(expected.every((x, i) => Object.is(x, view[at + i])), `${this.name} ${what}: other numbers`);
  }
  push() {
    const items = this.draw(below(4) === 0 ? below(MOST) : below(2 * this.reference.chunk));
    this.put(items);
    const first = this.encodes ? "tokens" : "samples";
    const promised = call(`${this.name}_${first}`, this.state, items.length);
    const expected = this.reference.push(items);
    check(promised === expected.length, `${this.name}_${first}`);
    const out = [output, expected.length, count];
    this.compare(call(`${this.name}_push`, this.state, input, items.length, ...out), expected, "push");
  }
  flush() {
    this.compare(call(`${this.name}_flush`, this.state, output, MOST, count), this.reference.flush(), "flush");
  }
  wrong() {
    const items = this.draw(2 * this.reference.chunk), push = `${this.name}_push`, n = items.length;
    if (!this.encodes) items[below(n)] = 1 << BITS;
    this.put(items);
    const room = below(this.encodes ? CHUNK_TOKENS : HOP_OUT * CHUNK_TOKENS);
    const cases = [
      [() => call(push, this.state, input, n, output, this.encodes ? room : MOST, count), [this.encodes ? SMALL_BUFFER : BAD_TOKEN]],
      [() => call(push, this.state + 4, input, n, output, MOST, count), [BAD_ALIGNMENT]],
      [() => call(push, this.state, input + 1, n, output, MOST, count), [BAD_ALIGNMENT]],
      [() => call(push, this.state, 0, n, output, MOST, count), [BAD_ARGUMENT]],
      [() => call(push, this.state, input, -1, output, MOST, count), [BAD_ARGUMENT]],
      [() => call(push, 0, input, n, output, MOST, count), [BAD_ARGUMENT]],
      [() => call(push, input, input, n, output, MOST, count), [BAD_STATE]],
      [() => call(`${this.name}_init`, this.state, this.size - 1, this.chunks), [SMALL_STATE]],
      [() => call(`${this.name}_init`, this.state, this.size, 3), [BAD_ARGUMENT]],
    ];
    const [run, codes] = cases[below(cases.length)], got = run();
    check(codes.includes(got), `${this.name}: ${run} gave ${got}`);
  }
}

refresh();
const pairs = [1, 8].flatMap((n) => [true, true, false, false].map((encodes) => new Pair(encodes, n)));
refresh();
paint();
pairs.forEach((pair) => pair.start());
for (let i = 0; i < Number(calls); i++) {
  const which = below(pairs.length), pair = pairs[which], action = below(20);
  if (action < 12) pair.push();
  else if (action < 14) pair.flush();
  else if (action < 15) {
    check(call(`${pair.name}_reset`, pair.state) === 0, "reset");
    pair.reference.reset();
  } else if (action < 17) {
    // A copy to other memory: the neighbour is a stream of the same kind.
    const other = pairs[which ^ 1];
    bytes.copyWithin(other.state, pair.state, pair.state + pair.size);
    other.reference = pair.reference.copy();
  } else pair.wrong();
  check(call(`${pair.name}_n_pending`, pair.state) === pair.reference.items.length, "pending");
  check(i % 50 || intact(), "guard bytes are as they were");
}
check(intact(), "guard bytes are as they were");

// A damaged file with a right checksum is refused or opens, and opening it writes nothing else.
let refused = 0;
for (const path of hostile) {
  const data = readFileSync(path);
  for (let at = 0; at < data.length; ) {
    const size = data.readUInt32LE(at);
    const [result] = opened(data.subarray(at + 4, at + 4 + size));
    at += 4 + size;
    check(result <= 0, `opening gave ${result}`);
    if (result !== 0) refused++;
  }
}
console.log(JSON.stringify({ refused, memory: exports.memory.buffer.byteLength }));
