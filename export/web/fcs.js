// FocalCodec-Stream in WebAssembly: `loadCodec` gives encoders, decoders, resamplers and `.fcs`
// files. Types and comments for callers are in fcs.d.ts. It runs in pages, workers and Node.

export const NO_MEMORY = -201;
export const NO_FILE = -202;
export const CLOSED = -203;
export const BAD_MODULE = -204;

const SMALL_BUFFER = -3;
const WARM_UP_CHUNKS = 20;
const SELF_TESTS = 400;
// Where a model's file has its settings, whose lowest bits are the kind of weights: docs/program.md.
const SETTINGS = 72;
// Tokens that a call of the file writer takes.
const WRITER_TOKENS = 255;

/** An error of the library, with its code. */
export class FcsError extends Error {
  /** @param {string} message @param {number} code */
  constructor(message, code) {
    super(message);
    this.name = "FcsError";
    this.code = code;
  }
}

/** Load a module and a model. */
export async function loadCodec({ module, relaxedModule = null, model }) {
  const plain = bytesOf(module, "the module");
  // It loads beside the model, whose error may come first.
  plain.catch(() => {});
  const bytes = new Uint8Array(await bytesOf(model, "the model"));
  const fast = relaxedModule && hasInt4(bytes) ? await relaxedInstance(relaxedModule) : null;
  const exports = fast ?? (await instance(await plain));
  return new Codec(exports, bytes, fast !== null);
}

/** Whether a model has int4 weights: no others are faster with relaxed-simd. */
function hasInt4(model) {
  return model.length > SETTINGS && (model[SETTINGS] & 7) === 4;
}

/** The module with relaxed-simd, or null where the engine lacks it or computes it wrongly. */
async function relaxedInstance(source) {
  try {
    const exports = await instance(await bytesOf(source, "the relaxed module"));
    // An engine compiles a function anew once it runs often: the test must see that code too.
    for (let i = 0; i < SELF_TESTS; i++) if (exports.fcs_self_test(i) !== 0) return null;
    return exports;
  } catch {
    return null;
  }
}

async function instance(module) {
  try {
    const compiled = module instanceof WebAssembly.Module ? module : await WebAssembly.compile(module);
    return (await WebAssembly.instantiate(compiled, {})).exports;
  } catch (error) {
    throw new FcsError(`the module does not run here: ${error.message}`, BAD_MODULE);
  }
}

/** Bytes of a source, or the module that it is. */
async function bytesOf(source, what) {
  const value = await source;
  if (value instanceof WebAssembly.Module || value instanceof ArrayBuffer) return value;
  if (ArrayBuffer.isView(value)) {
    return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
  }
  if (typeof value === "string" || value instanceof URL) return fetched(value, what);
  if (value && typeof value.arrayBuffer === "function") return responseBytes(value, what);
  throw new FcsError(`${what} is no bytes, no response and no address`, NO_FILE);
}

async function fetched(address, what) {
  const url = String(address);
  if (url.startsWith("file:") && typeof process === "object") {
    const { readFile } = await import("node:fs/promises");
    try {
      const file = await readFile(new URL(url));
      return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
    } catch (error) {
      throw new FcsError(`${what} cannot be loaded from ${url}: ${error.message}`, NO_FILE);
    }
  }
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new FcsError(`${what} cannot be loaded from ${url}: ${error.message}`, NO_FILE);
  }
  return responseBytes(response, what);
}

async function responseBytes(response, what) {
  if (!response.ok) {
    const text = `${what} cannot be loaded from ${response.url}: ${response.status}`;
    throw new FcsError(`${text} ${response.statusText}`.trim(), NO_FILE);
  }
  return response.arrayBuffer();
}

/** The module's memory: views that follow its growth, and blocks that are used again. */
class Memory {
  constructor(exports) {
    this.exports = exports;
    this.unused = new Map();
    this.buffer = null;
    this.refresh();
  }

  refresh() {
    if (this.buffer === this.exports.memory.buffer) return;
    this.buffer = this.exports.memory.buffer;
    this.u8 = new Uint8Array(this.buffer);
    this.u16 = new Uint16Array(this.buffer);
    this.i32 = new Int32Array(this.buffer);
    this.u32 = new Uint32Array(this.buffer);
    this.f32 = new Float32Array(this.buffer);
    this.f64 = new Float64Array(this.buffer);
  }

  take(size) {
    const found = this.unused.get(size)?.pop();
    if (found !== undefined) return found;
    const at = this.exports.fcs_alloc(size);
    if (!at) throw new FcsError(`the engine gives no ${size} bytes of memory`, NO_MEMORY);
    this.refresh();
    return at >>> 0;
  }

  give(at, size) {
    if (!this.unused.has(size)) this.unused.set(size, []);
    this.unused.get(size).push(at);
  }

  /** A text up to its zero byte. */
  text(at, most = 1 << 16) {
    let end = at;
    while (end < at + most && this.u8[end]) end++;
    const bytes = this.u8.slice(at, end);
    // A worklet has no TextDecoder. Texts are plain letters there, but for a model's name.
    if (!globalThis.TextDecoder) return String.fromCharCode(...bytes);
    return new TextDecoder().decode(bytes);
  }
}

/** Numbers of fcs_module_facts, in its order: wasm.c. */
const FACTS = [
  "sampleRateIn",
  "sampleRateOut",
  "samplesPerToken",
  "samplesOutPerToken",
  "bitsPerToken",
  "chunkSamples",
  "chunkTokens",
  "decoderChunkTokens",
  "hasEncoder",
  "hasDecoder",
  "settings",
];

class Codec {
  constructor(exports, model, relaxed) {
    this.exports = exports;
    this.memory = new Memory(exports);
    this.relaxed = relaxed;
    this.version = this.memory.text(exports.fcs_version());
    this.model = this.memory.take(exports.fcs_model_size());
    this.count = this.memory.take(64);
    const at = this.memory.take(model.byteLength);
    this.memory.u8.set(model, at);
    this.check(exports.fcs_model_open(this.model, at, model.byteLength));
    this.facts = this.readFacts();
    // Buffers that calls share: 8 chunks of samples, in or out, and of tokens.
    const { chunkSamples, chunkTokens, decoderChunkTokens, samplesOutPerToken } = this.facts;
    this.decoderTokens = 8 * decoderChunkTokens;
    this.mostTokens = Math.max(9 * chunkTokens, this.decoderTokens, WRITER_TOKENS);
    const samplesOut = (this.decoderTokens + decoderChunkTokens) * samplesOutPerToken;
    this.mostSamples = Math.max(8 * chunkSamples, samplesOut);
    this.tokens = this.memory.take(2 * this.mostTokens);
    this.samples = this.memory.take(4 * this.mostSamples);
  }

  get memoryBytes() {
    return this.exports.memory.buffer.byteLength;
  }

  /** Throw what a code says, unless it is 0. */
  check(code) {
    if (code === 0) return;
    throw new FcsError(this.memory.text(this.exports.fcs_module_text(code)), code);
  }

  readFacts() {
    const { exports, memory } = this;
    const at = memory.take(exports.fcs_module_facts_size());
    exports.fcs_module_facts_read(this.model, at);
    const facts = {};
    FACTS.forEach((name, i) => (facts[name] = memory.u32[at / 4 + i]));
    const place = at + 4 * FACTS.length;
    const bytes = [...memory.u8.subarray(place, place + 8)];
    facts.fingerprint = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    facts.name = memory.text(place + 8, 64);
    facts.hasEncoder = facts.hasEncoder === 1;
    facts.hasDecoder = facts.hasDecoder === 1;
    facts.bitrate = (facts.bitsPerToken * facts.sampleRateIn) / facts.samplesPerToken;
    return Object.freeze(facts);
  }

  encoder(chunks = 1) {
    const size = this.exports.fcs_encoder_size(this.model, chunks);
    return new Encoder(this, size, (at) => this.exports.fcs_encoder_init(this.model, at, size, chunks));
  }

  decoder(chunks = 1) {
    const size = this.exports.fcs_decoder_size(this.model, chunks);
    return new Decoder(this, size, (at) => this.exports.fcs_decoder_init(this.model, at, size, chunks));
  }

  resampler(from, to) {
    const size = this.exports.fcs_resampler_size(from, to);
    return new Resampler(this, size, (at) => this.exports.fcs_resampler_init(at, size, from, to));
  }

  fileWriter() {
    return new FileWriter(this);
  }

  *readFile(bytes) {
    yield* fileEvents(this, checkedBytes(bytes));
  }

  warmUp() {
    const { facts } = this;
    const encoder = facts.hasEncoder ? this.encoder() : null;
    const decoder = facts.hasDecoder ? this.decoder() : null;
    const silence = new Float32Array(facts.chunkSamples);
    let tokens = new Uint16Array(facts.decoderChunkTokens);
    for (let i = 0; i < WARM_UP_CHUNKS; i++) {
      if (encoder) tokens = encoder.push(silence);
      decoder?.push(tokens);
    }
    encoder?.close();
    decoder?.close();
  }
}

/** A state in the module's memory. */
class State {
  constructor(codec, size, init) {
    this.codec = codec;
    this.size = size;
    // A size of 0 asks for nothing that can be made; init then says why.
    this.at = codec.memory.take(size || 64);
    const code = init ? init(this.at) : 0;
    if (code !== 0) {
      codec.memory.give(this.at, size || 64);
      codec.check(code);
    }
  }

  get open() {
    if (!this.at) throw new FcsError("the stream is closed", CLOSED);
    return this.at;
  }

  copy() {
    const from = this.open;
    const other = new this.constructor(this.codec, this.size, null);
    this.codec.memory.u8.copyWithin(other.at, from, from + this.size);
    return other;
  }

  close() {
    if (this.at) this.codec.memory.give(this.at, this.size);
    this.at = 0;
  }

  /** Run a call that writes a count; return the count. */
  counted(call) {
    const { codec } = this;
    const code = call(codec.count);
    codec.memory.refresh();
    codec.check(code);
    return codec.memory.u32[codec.count >> 2];
  }
}

class Encoder extends State {
  push(samples) {
    const { codec } = this;
    const { exports, memory, model } = codec;
    const all = checkedSamples(samples);
    const made = new Uint16Array(exports.fcs_encoder_tokens(model, this.open, all.length));
    const most = 8 * codec.facts.chunkSamples;
    let n = 0;
    for (let i = 0; i < all.length; i += most) {
      const part = all.subarray(i, i + most);
      memory.f32.set(part, codec.samples >> 2);
      n += this.write(made, n, (count) =>
        exports.fcs_encoder_push(
          model, this.at, codec.samples, part.length, codec.tokens, codec.mostTokens, count,
        ),
      );
    }
    return made;
  }

  write(made, n, call) {
    const { codec } = this;
    const count = this.counted(call);
    const at = codec.tokens >> 1;
    made.set(codec.memory.u16.subarray(at, at + count), n);
    return count;
  }

  flush() {
    const { codec } = this;
    const made = new Uint16Array(codec.facts.chunkTokens);
    const { exports, model } = codec;
    const n = this.write(made, 0, (count) =>
      exports.fcs_encoder_flush(model, this.open, codec.tokens, codec.mostTokens, count),
    );
    return made.slice(0, n);
  }

  reset() {
    this.codec.check(this.codec.exports.fcs_encoder_reset(this.codec.model, this.open));
  }

  get pending() {
    return this.codec.exports.fcs_encoder_n_pending(this.codec.model, this.open);
  }

  get notFinite() {
    return this.codec.exports.fcs_encoder_n_not_finite(this.codec.model, this.open);
  }
}

/** Write what the module wrote to its buffer of samples. */
function writeSamples(state, made, n, call) {
  const { codec } = state;
  const count = state.counted(call);
  const at = codec.samples >> 2;
  made.set(codec.memory.f32.subarray(at, at + count), n);
  return count;
}

class Decoder extends State {
  push(tokens) {
    const { codec } = this;
    const { exports, memory, model } = codec;
    const all = checkedTokens(tokens, codec);
    const made = new Float32Array(exports.fcs_decoder_samples(model, this.open, all.length));
    const most = codec.decoderTokens;
    let n = 0;
    for (let i = 0; i < all.length; i += most) {
      const part = all.subarray(i, i + most);
      memory.u16.set(part, codec.tokens >> 1);
      n += writeSamples(this, made, n, (count) =>
        exports.fcs_decoder_push(
          model, this.at, codec.tokens, part.length, codec.samples, codec.mostSamples, count,
        ),
      );
    }
    return made;
  }

  flush() {
    const { codec } = this;
    const { decoderChunkTokens, samplesOutPerToken } = codec.facts;
    const made = new Float32Array(decoderChunkTokens * samplesOutPerToken);
    const n = writeSamples(this, made, 0, (count) =>
      codec.exports.fcs_decoder_flush(
        codec.model, this.open, codec.samples, codec.mostSamples, count,
      ),
    );
    return made.slice(0, n);
  }

  reset() {
    this.codec.check(this.codec.exports.fcs_decoder_reset(this.codec.model, this.open));
  }

  get pending() {
    return this.codec.exports.fcs_decoder_n_pending(this.codec.model, this.open);
  }
}

/** Samples as float32. Integers are refused: theirs is another full scale. */
function checkedSamples(samples) {
  const kind = Object.prototype.toString.call(samples);
  if (kind === "[object Float32Array]") return samples;
  const isList = Array.isArray(samples) && samples.every((value) => typeof value === "number");
  if (isList || kind === "[object Float64Array]") return Float32Array.from(samples);
  throw new TypeError("samples must be a Float32Array, with a full scale of 1");
}

/** Tokens as uint16, each in range: none is decoded where one is not. */
function checkedTokens(tokens, codec) {
  if (typeof tokens?.[Symbol.iterator] !== "function") {
    throw new TypeError("tokens must be a Uint16Array");
  }
  const most = 2 ** codec.facts.bitsPerToken;
  for (const token of tokens) {
    if (!(Number.isInteger(token) && token >= 0 && token < most)) codec.check(-6);
  }
  return tokens instanceof Uint16Array ? tokens : Uint16Array.from(tokens);
}

class Resampler extends State {
  push(samples) {
    const { codec } = this;
    const { exports, memory } = codec;
    const all = checkedSamples(samples);
    const made = new Float32Array(exports.fcs_resampler_outputs(this.open, all.length));
    // One buffer has input and output: the input stands in its last part.
    const most = this.inputs();
    const input = codec.samples + 4 * (codec.mostSamples - most);
    let n = 0;
    for (let i = 0; i < all.length; i += most) {
      const part = all.subarray(i, i + most);
      memory.f32.set(part, input >> 2);
      n += writeSamples(this, made, n, (count) =>
        exports.fcs_resampler_push(
          this.at, input, part.length, codec.samples, codec.mostSamples - most, count,
        ),
      );
    }
    return made;
  }

  /** Samples of one call: 24 outputs an input at most fit before them. */
  inputs() {
    return Math.floor(this.codec.mostSamples / 32);
  }

  flush() {
    const { codec } = this;
    const { exports } = codec;
    const made = new Float32Array(exports.fcs_resampler_remains(this.open));
    writeSamples(this, made, 0, (count) =>
      exports.fcs_resampler_flush(this.at, codec.samples, codec.mostSamples, count),
    );
    return made;
  }

  reset() {
    this.codec.check(this.codec.exports.fcs_resampler_reset(this.open));
  }

  get delay() {
    return this.codec.exports.fcs_resampler_delay(this.open);
  }
}

class FileWriter {
  constructor(codec) {
    const { exports } = codec;
    this.codec = codec;
    this.state = new State(codec, exports.fcs_module_writer_size(), (at) =>
      exports.fcs_module_writer_init(at, codec.model),
    );
  }

  put(tokens) {
    const { codec, state } = this;
    const all = checkedTokens(tokens, codec);
    const parts = [];
    for (let i = 0; i < all.length; i += WRITER_TOKENS) {
      const part = all.subarray(i, i + WRITER_TOKENS);
      codec.memory.u16.set(part, codec.tokens >> 1);
      codec.check(codec.exports.fcs_module_writer_put(state.open, codec.tokens, part.length));
      parts.push(this.written());
    }
    return joined(parts);
  }

  close(samples) {
    const { codec, state } = this;
    if (!(Number.isSafeInteger(samples) && samples >= 0)) {
      throw new TypeError("the number of samples must be an integer from 0 up");
    }
    codec.check(codec.exports.fcs_module_writer_close(state.open, samples));
    const bytes = this.written();
    state.close();
    return bytes;
  }

  drop() {
    this.state.close();
  }

  written() {
    const { exports, memory } = this.codec;
    const at = exports.fcs_module_writer_bytes(this.state.open);
    return memory.u8.slice(at, at + exports.fcs_module_writer_take(this.state.at));
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let n = 0;
  for (const part of parts) {
    whole.set(part, n);
    n += part.length;
  }
  return whole;
}

/** Kinds of events, in the order of fcs_file.h. */
const KINDS = ["done", "more", "header", "metadata", "tokens", "damage", "end", "record"];

function checkedBytes(bytes) {
  if (ArrayBuffer.isView(bytes)) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  if (Object.prototype.toString.call(bytes) === "[object ArrayBuffer]") return new Uint8Array(bytes);
  throw new TypeError("a file must be a Uint8Array or an ArrayBuffer");
}

function* fileEvents(codec, bytes) {
  const { exports, memory, model } = codec;
  const sizes = [exports.fcs_module_reader_size(), exports.fcs_module_event_size(), bytes.length];
  // Blocks of a power of two are used again by the next file.
  sizes[2] = 2 ** Math.ceil(Math.log2(Math.max(64, bytes.length)));
  const [reader, event, file] = sizes.map((size) => memory.take(size));
  try {
    memory.u8.set(bytes, file);
    codec.check(exports.fcs_module_reader_init(reader, model, file, bytes.length));
    for (let kind = "more"; kind !== "done"; ) {
      codec.check(exports.fcs_module_reader_next(reader, model, event));
      const found = readEvent(codec, event);
      kind = found.kind;
      if (kind !== "metadata" && kind !== "record") yield found;
    }
  } finally {
    [reader, event, file].forEach((at, i) => memory.give(at, sizes[i]));
  }
}

/** An fcs_module_event as an object: wasm.c. */
function readEvent({ exports, memory }, at) {
  memory.refresh();
  const [kind, code, whole] = memory.i32.subarray(at >> 2, (at >> 2) + 3);
  const [nTokens, tokens] = memory.u32.subarray((at >> 2) + 3, (at >> 2) + 5);
  const [samples, samplesOut, missing] = memory.f64.subarray((at >> 3) + 3, (at >> 3) + 6);
  switch (KINDS[kind]) {
    case "tokens":
      return { kind: "tokens", tokens: memory.u16.slice(tokens >> 1, (tokens >> 1) + nTokens) };
    case "damage":
      return {
        kind: "damage", code, text: memory.text(exports.fcs_module_text(code)),
        silence: nTokens, missing,
      };
    case "end":
      return { kind: "end", samples, samplesOut };
    case "done":
      return { kind: "done", whole: whole === 1 };
    default:
      return { kind: KINDS[kind] };
  }
}
