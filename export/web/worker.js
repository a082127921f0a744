// The codec, off the audio thread and off the page: live sound, whole sounds, files, and the
// columns of both spectrograms. page.js gives orders; sound goes to and from worklet.js directly.

import { loadCodec } from "./fcs.js";

// Seconds of a live recording that can be played again.
const HELD_SECONDS = 120;
const RING_SECONDS = 4;
// Tokens of a gap that the decoder runs through.
const GAP_TOKENS = 100;
// Rows of a spectrogram, on the mel scale up to TOP hertz, and its columns a second.
const ROWS = 96;
const TOP = 11000;
const COLUMNS_PER_SECOND = 100;
const FLOOR_DB = -96;
const RANGE_DB = 84;

let codec = null;
let deck = null; // the port to the worklet
let rate = 48000; // of the sound card
let session = null; // of the sound that is live, or shown

// ---- Orders of the page ----

const orders = {
  load,
  link: ({ port, rate: hertz }) => {
    deck = port;
    rate = hertz;
    deck.onmessage = ({ data }) => captured(data);
  },
  live: startLive,
  stop: stopLive,
  clip: encodeClip,
  open: ({ bytes, id }) => openFile(bytes, id),
  save: ({ format }) => save(format),
};

self.onmessage = async ({ data }) => {
  try {
    await orders[data.type](data);
  } catch (error) {
    post({ type: "error", order: data.type, text: error.message });
  }
};

function post(message, transfer = []) {
  self.postMessage(message, transfer);
}

async function load({ module, relaxedModule, model }) {
  const start = performance.now();
  const bytes = typeof model === "string" ? await withProgress(model) : model;
  codec = await loadCodec({ module, relaxedModule, model: bytes });
  codec.warmUp();
  post({
    type: "ready",
    facts: codec.facts,
    version: codec.version,
    relaxed: codec.relaxed,
    memoryBytes: codec.memoryBytes,
    milliseconds: performance.now() - start,
    rows: ROWS,
    top: TOP,
    columnsPerSecond: COLUMNS_PER_SECOND,
  });
}

/** Fetch a large file, and report how much of it is here. */
async function withProgress(address) {
  const response = await fetch(address);
  const total = Number(response.headers.get("content-length"));
  if (!response.ok || !response.body || !total) return response;
  const reader = response.body.getReader();
  const parts = [];
  for (let taken = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).arrayBuffer();
    parts.push(value);
    taken += value.length;
    post({ type: "progress", share: Math.min(1, taken / total) });
  }
}

// ---- A session: one sound, its tokens, and what the page shows of it ----

class Session {
  /** `inputRate` is that of the sound to encode; null where there is none. */
  constructor(id, inputRate) {
    const { facts } = codec;
    const encodes = inputRate !== null;
    this.id = id;
    this.encoder = encodes ? codec.encoder() : null;
    this.decoder = codec.decoder();
    this.down = encodes ? codec.resampler(inputRate, facts.sampleRateIn) : null;
    this.up = codec.resampler(facts.sampleRateOut, rate);
    this.writer = encodes ? codec.fileWriter() : null;
    this.spectra = new Spectra(id);
    this.tokens = []; // in pieces
    this.parts = null; // of a file that was opened
    this.nTokens = 0;
    this.samplesIn = 0; // at the codec's rate
    this.fileBytes = 0;
    this.fileTokens = 0; // that these bytes hold: the last ones wait for their block
    this.original = new Held();
    this.decoded = new Held();
    this.times = [];
    this.lastFacts = 0;
  }

  /** Encode sound and decode its tokens; return what is ready to play, at the card's rate. */
  process(samples) {
    const input = this.down.push(samples);
    this.samplesIn += input.length;
    const start = performance.now();
    const tokens = this.encoder.push(input);
    const decoded = this.decoder.push(tokens);
    return this.finish(tokens, decoded, performance.now() - start);
  }

  finish(tokens, decoded, milliseconds) {
    if (tokens.length) {
      this.keep(tokens);
      this.times.push((milliseconds * codec.facts.chunkTokens) / tokens.length);
      if (this.times.length > 250) this.times.shift();
    }
    const played = this.up.push(decoded);
    this.decoded.add(played);
    return played;
  }

  keep(tokens) {
    this.tokens.push(tokens);
    this.nTokens += tokens.length;
    const written = this.writer?.put(tokens).length;
    if (!written) return;
    this.fileBytes += written;
    this.fileTokens = this.nTokens;
  }

  /** The last chunk, when no sound follows. */
  end() {
    const input = this.down.flush();
    this.samplesIn += input.length;
    const tokens = [this.encoder.push(input), this.encoder.flush()];
    const parts = tokens.map((part) => {
      if (part.length) this.keep(part);
      return this.up.push(this.decoder.push(part));
    });
    parts.push(this.up.push(this.decoder.flush()), this.up.flush());
    parts.forEach((part) => this.decoded.add(part));
    this.fileBytes += this.writer.close(this.samplesIn).length;
    this.fileTokens = this.nTokens;
    this.writer = null;
    this.close();
    return parts;
  }

  close() {
    for (const stream of [this.encoder, this.decoder, this.down, this.up]) stream?.close();
    this.writer?.drop();
  }

  /** Tell the page what this session is by now, at most 10 times a second. */
  tell(always = false) {
    const now = performance.now();
    if (!always && now - this.lastFacts < 100) return;
    this.lastFacts = now;
    const times = [...this.times].sort((a, b) => a - b);
    post({
      type: "facts",
      id: this.id,
      tokens: this.nTokens,
      fileBytes: this.fileBytes,
      fileSeconds: (this.fileTokens * codec.facts.samplesPerToken) / codec.facts.sampleRateIn,
      chunk: times[times.length >> 1] ?? 0,
      worst: times[times.length - 1] ?? 0,
    });
  }
}

/** Blocks of sound, the last HELD_SECONDS of them. */
class Held {
  constructor() {
    this.blocks = [];
    this.first = 0;
    this.length = 0; // of all that came
    this.dropped = 0;
  }

  add(block) {
    if (!block.length) return;
    this.blocks.push(block);
    this.length += block.length;
    while (this.length - this.dropped > HELD_SECONDS * rate + block.length) {
      this.dropped += this.blocks[this.first].length;
      this.blocks[this.first++] = null;
    }
    if (this.first > 4096) {
      this.blocks.splice(0, this.first);
      this.first = 0;
    }
  }

  /** Samples `from` to `to` of all that came, silence where they are not here. */
  joined(from, to) {
    const whole = new Float32Array(Math.max(0, to - from));
    let at = this.dropped;
    for (let i = this.first; i < this.blocks.length; i++) {
      const block = this.blocks[i];
      const skip = Math.max(0, from - at);
      const part = block.subarray(skip, Math.max(skip, to - at));
      if (part.length) whole.set(part, at + skip - from);
      at += block.length;
    }
    return whole;
  }
}

// ---- Live sound ----

function startLive({ id }) {
  session?.close();
  session = new Session(id, rate);
  const size = Math.ceil(RING_SECONDS * rate);
  const { chunkSamples, sampleRateIn } = codec.facts;
  const rings = { original: new Float32Array(size), decoded: new Float32Array(size) };
  const chunk = Math.ceil((chunkSamples * rate) / sampleRateIn);
  deck.postMessage(
    { type: "live", session: id, chunk, ...rings },
    [rings.original.buffer, rings.decoded.buffer],
  );
}

function captured({ block, session: id }) {
  if (session?.id === id && session.writer) {
    // The worklet uses the block again.
    const samples = block.slice();
    session.original.add(samples);
    const played = session.process(samples);
    session.spectra.add(samples, played);
    if (played.length) {
      session.tell();
      // What is held for playing again must not be given away.
      const copy = played.slice();
      deck.postMessage({ type: "decoded", session: id, samples: copy }, [copy.buffer]);
    }
  }
  deck.postMessage({ type: "spare", block }, [block.buffer]);
}

/** End the stream; what was recorded becomes a clip. */
function stopLive() {
  if (!session?.writer) return;
  const parts = session.end();
  parts.forEach((part) => session.spectra.add(new Float32Array(0), part));
  const { original, decoded } = session;
  const from = Math.max(original.dropped, decoded.dropped);
  const clip = { original: original.joined(from, original.length), decoded: null };
  clip.decoded = decoded.joined(from, original.length);
  showClip(clip, clip.decoded.length, from, false);
  session.tell(true);
  post({ type: "done", id: session.id });
}

function showClip({ original, decoded }, written, from, playing) {
  const { id } = session;
  const { length } = decoded;
  post({ type: "shown", id, length, from, hasOriginal: original !== null });
  const buffers = [decoded.buffer];
  if (original) buffers.push(original.buffer);
  deck.postMessage({ type: "clip", session: id, original, decoded, written, playing }, buffers);
}

// ---- Whole sounds ----

/** A pause in which orders are taken: longer work ends where a new sound has begun. */
function pause() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** Encode a sound of any rate, and show it beside what is decoded, both at the card's rate. */
async function encodeClip({ samples, rate: inputRate, id }) {
  session?.close();
  const current = (session = new Session(id, inputRate));
  const original = atCardRate(samples, inputRate);
  const { length } = original;
  showClip({ original: original.slice(), decoded: new Float32Array(length) }, 0, 0, true);
  const step = Math.floor(inputRate / 10);
  for (let i = 0, from = 0; i < samples.length; i += step) {
    const played = current.process(samples.subarray(i, i + step));
    const to = Math.min(length, Math.round(((i + step) * rate) / inputRate));
    sendPart(current, original.subarray(from, to), played);
    from = to;
    current.tell();
    await pause();
    if (session !== current) return;
  }
  for (const part of current.end()) sendPart(current, new Float32Array(0), part);
  finishClip(current, length);
}

function atCardRate(samples, inputRate) {
  const resampler = codec.resampler(inputRate, rate);
  const parts = [resampler.push(samples), resampler.flush()];
  resampler.close();
  const whole = new Float32Array(parts[0].length + parts[1].length);
  whole.set(parts[0]);
  whole.set(parts[1], parts[0].length);
  return whole;
}

function sendPart(current, original, played) {
  current.spectra.add(original, played);
  const room = current.room ?? Infinity;
  const copy = played.slice(0, room);
  current.room = room - copy.length;
  if (copy.length) {
    deck.postMessage({ type: "decoded", session: current.id, samples: copy }, [copy.buffer]);
  }
}

/** Fill up a clip whose decoded sound is shorter by a rounding, and say that it is complete. */
function finishClip(current, length) {
  const missing = length - current.decoded.length;
  if (missing > 0) sendPart(current, new Float32Array(0), new Float32Array(missing));
  current.tell(true);
  post({ type: "done", id: current.id });
}

// ---- Files ----

/** Decode a `.fcs` file: first all of its tokens, so that its length is known. */
async function openFile(bytes, id) {
  const file = readWhole(bytes);
  session?.close();
  const current = (session = new Session(id, null));
  current.parts = file.parts;
  current.fileBytes = bytes.byteLength;
  current.samplesIn = file.samplesIn;
  const length = Math.ceil((file.samplesOut * rate) / codec.facts.sampleRateOut);
  current.room = length;
  for (const { runs } of file.parts) for (const { tokens } of runs) if (tokens) current.keep(tokens);
  current.fileTokens = file.samplesIn / codec.facts.samplesPerToken;
  showClip({ original: null, decoded: new Float32Array(length) }, 0, 0, true);
  for (const { samples, milliseconds } of decodedParts(current.decoder, file.parts)) {
    current.times.push(milliseconds);
    playOpened(current, current.up.push(samples));
    current.tell();
    await pause();
    if (session !== current) return;
  }
  playOpened(current, current.up.flush());
  current.close();
  if (file.notes.length) post({ type: "notes", id, notes: file.notes });
  finishClip(current, length);
}

function playOpened(current, played) {
  current.decoded.add(played);
  sendPart(current, new Float32Array(played.length), played);
}

/** The parts of a file: runs of tokens and of gaps, and the samples of their sound. */
function readWhole(bytes) {
  const { samplesPerToken } = codec.facts;
  const whole = { parts: [], samplesIn: 0, samplesOut: 0, notes: [] };
  let runs = [];
  for (const event of codec.readFile(bytes)) {
    if (event.kind === "tokens") runs.push({ tokens: event.tokens, n: event.tokens.length });
    if (event.kind === "damage") {
      const seconds = (event.silence * samplesPerToken) / codec.facts.sampleRateIn;
      whole.notes.push(event.silence ? `${event.text}: ${seconds.toFixed(1)} s` : event.text);
      if (event.silence) runs.push({ tokens: null, n: event.silence });
    }
    if (event.kind === "end") {
      const most = Math.ceil(event.samples / samplesPerToken);
      addPart(whole, runs, event.samples, Math.min(event.samplesOut, withoutFiller(runs, most)));
      runs = [];
    }
  }
  // Of a file that is cut, the last part has no end: all of its tokens count.
  const n = runs.reduce((sum, run) => sum + run.n, 0);
  if (n) addPart(whole, runs, n * samplesPerToken, n * codec.facts.samplesOutPerToken);
  if (!whole.samplesOut) throw new Error("the file has no tokens to play");
  return whole;
}

function addPart(whole, runs, samplesIn, samplesOut) {
  whole.parts.push({ runs, samplesOut });
  whole.samplesIn += samplesIn;
  whole.samplesOut += samplesOut;
}

/** Cut the last tokens beyond `most`; return the samples that all make. */
function withoutFiller(runs, most) {
  const n = runs.reduce((sum, run) => sum + run.n, 0);
  const last = runs.at(-1);
  if (n > most && last.tokens) {
    last.n = Math.max(0, last.n - (n - most));
    last.tokens = last.tokens.subarray(0, last.n);
  }
  return runs.reduce((sum, run) => sum + run.n, 0) * codec.facts.samplesOutPerToken;
}

/** The sound of parts, chunk by chunk, each part cut to its length. */
function* decodedParts(decoder, parts) {
  for (const { runs, samplesOut } of parts) {
    let left = samplesOut;
    for (const made of decodedRuns(decoder, runs)) {
      const samples = made.samples.subarray(0, left);
      left -= samples.length;
      yield { ...made, samples };
    }
  }
}

/** As `fcs-edge decode` does: lost tokens decode as the last one did, but are silent. */
function* decodedRuns(decoder, runs) {
  const { decoderChunkTokens: chunk, samplesOutPerToken } = codec.facts;
  const waiting = []; // whether each token is lost whose sound is not there yet
  let last = 0;
  const timed = (call) => {
    const start = performance.now();
    const samples = call();
    const milliseconds = performance.now() - start;
    const lost = waiting.splice(0, samples.length / samplesOutPerToken);
    lost.forEach((is, i) => is && samples.fill(0, i * samplesOutPerToken, (i + 1) * samplesOutPerToken));
    return { samples, milliseconds };
  };
  for (const { tokens, n } of runs) {
    // Of a long gap, the decoder runs through the start, and rests in whole chunks.
    const rest = tokens ? 0 : Math.floor(Math.max(0, n - Math.max(GAP_TOKENS, chunk)) / chunk) * chunk;
    const all = tokens ?? new Uint16Array(n - rest).fill(last);
    for (let i = 0; i < all.length; i += chunk) {
      const part = all.subarray(i, i + chunk);
      for (let k = 0; k < part.length; k++) waiting.push(!tokens);
      yield timed(() => decoder.push(part));
    }
    last = all.at(-1) ?? last;
    for (let i = 0; i < rest; i += chunk) {
      yield { samples: new Float32Array(chunk * samplesOutPerToken), milliseconds: 0 };
    }
  }
  yield timed(() => decoder.flush());
}

function save(format) {
  if (!session || session.writer) throw new Error("there is no whole sound to save");
  const bytes = format === "fcs" ? fcsBytes(session) : wavBytes(session);
  post({ type: "saved", format, bytes }, [bytes.buffer]);
}

function fcsBytes({ tokens, samplesIn }) {
  const writer = codec.fileWriter();
  const parts = [...tokens.map((part) => writer.put(part)), writer.close(samplesIn)];
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** Output samples of so many input samples: rounded, halves to the even number. */
function outputSamples(n) {
  const exact = (n * codec.facts.sampleRateOut) / codec.facts.sampleRateIn;
  const whole = Math.floor(exact);
  if (exact - whole === 0.5) return whole + (whole % 2);
  return Math.round(exact);
}

/** The decoder's own sound at its own rate: WAV of 16 bits, as `fcs-edge decode` writes it. */
function wavBytes(shown) {
  const runs = shown.tokens.map((tokens) => ({ tokens, n: tokens.length }));
  const parts = shown.parts ?? [{ runs, samplesOut: outputSamples(shown.samplesIn) }];
  const length = parts.reduce((sum, part) => sum + part.samplesOut, 0);
  const bytes = new Uint8Array(44 + 2 * length);
  const view = new DataView(bytes.buffer);
  wavHeader(view, length);
  const decoder = codec.decoder();
  let at = 44;
  for (const { samples } of decodedParts(decoder, parts)) {
    for (const sample of samples) {
      // The upper 16 of 32 bits.
      const scaled = Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, sample * 2 ** 31 + 0.5));
      view.setInt16(at, Math.floor(Math.floor(scaled) / 65536), true);
      at += 2;
    }
  }
  decoder.close();
  return bytes;
}

function wavHeader(view, length) {
  const { sampleRateOut } = codec.facts;
  const text = (at, value) => [...value].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, sampleRateOut, true);
  view.setUint32(28, 2 * sampleRateOut, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
}

// ---- Spectrograms: the original is the real part of a transform, the decoded the imaginary ----

/** A transform of a power of two, in place. */
class Fourier {
  constructor(size) {
    this.size = size;
    this.cos = Float32Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float32Array.from({ length: size / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    const bits = Math.log2(size);
    this.order = Uint32Array.from({ length: size }, (_, i) => reversed(i, bits));
  }

  run(re, im) {
    const { size, order, cos, sin } = this;
    for (let i = 0; i < size; i++) {
      const j = order[i];
      if (j > i) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const [a, b] = [start + k, start + k + half];
          const [c, s] = [cos[k * stride], sin[k * stride]];
          const x = re[b] * c - im[b] * s;
          const y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
  }
}

function reversed(value, bits) {
  let result = 0;
  for (let i = 0; i < bits; i++) result |= ((value >> i) & 1) << (bits - 1 - i);
  return result;
}

const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
const fromMel = (value) => 700 * (10 ** (value / 2595) - 1);

class Spectra {
  constructor(id) {
    this.id = id;
    // About 25 ms.
    this.size = 2 ** Math.round(Math.log2(rate * 0.024));
    this.hop = rate / COLUMNS_PER_SECOND;
    this.fourier = new Fourier(this.size);
    this.window = Float32Array.from(
      { length: this.size },
      (_, i) => (2 - 2 * Math.cos((2 * Math.PI * (i + 0.5)) / this.size)) / this.size,
    );
    this.edges = Float32Array.from(
      { length: ROWS + 1 },
      (_, i) => (fromMel((mel(TOP) * i) / ROWS) * this.size) / rate,
    );
    this.re = new Float32Array(this.size);
    this.im = new Float32Array(this.size);
    this.power = [new Float32Array(this.size / 2 + 1), new Float32Array(this.size / 2 + 1)];
    this.queues = [new Queue(), new Queue()];
    this.made = 0;
  }

  /** Take sound of both, and post the columns that it completes. */
  add(original, decoded) {
    this.queues[0].add(original);
    this.queues[1].add(decoded);
    const [n, m] = this.queues.map((queue) => queue.end);
    const last = Math.floor((Math.min(n, m) - this.size) / this.hop);
    const count = last - this.made + 1;
    if (count <= 0) return;
    const columns = [new Uint8Array(count * ROWS), new Uint8Array(count * ROWS)];
    for (let k = 0; k < count; k++) this.column(this.made + k, columns, k * ROWS);
    post(
      { type: "columns", id: this.id, from: this.made, original: columns[0], decoded: columns[1] },
      columns.map((column) => column.buffer),
    );
    this.made += count;
    this.queues.forEach((queue) => queue.drop(Math.floor(this.made * this.hop)));
  }

  column(index, columns, place) {
    const { re, im, size, window } = this;
    const at = Math.floor(index * this.hop);
    this.queues[0].read(at, re);
    this.queues[1].read(at, im);
    for (let i = 0; i < size; i++) {
      re[i] *= window[i];
      im[i] *= window[i];
    }
    this.fourier.run(re, im);
    const [a, b] = this.power;
    for (let i = 0; i <= size / 2; i++) {
      const j = (size - i) % size;
      a[i] = ((re[i] + re[j]) ** 2 + (im[i] - im[j]) ** 2) / 4;
      b[i] = ((im[i] + im[j]) ** 2 + (re[i] - re[j]) ** 2) / 4;
    }
    this.power.forEach((power, t) => this.rows(power, columns[t], place));
  }

  /** Decibels of each row as a byte. */
  rows(power, column, place) {
    for (let r = 0; r < ROWS; r++) {
      const [low, high] = [this.edges[r], this.edges[r + 1]];
      let value = 0;
      if (high - low < 1.5) {
        const middle = Math.min((low + high) / 2, power.length - 1.001);
        const i = Math.floor(middle);
        value = power[i] + (middle - i) * (power[i + 1] - power[i]);
      } else {
        const first = Math.round(low);
        const end = Math.min(power.length, Math.round(high));
        for (let i = first; i < end; i++) value += power[i] / (end - first);
      }
      const decibels = 10 * Math.log10(value + 1e-12);
      column[place + r] = Math.max(0, Math.min(255, (255 * (decibels - FLOOR_DB)) / RANGE_DB));
    }
  }
}

/** The end of a sound that grows, by place from its start. */
class Queue {
  constructor() {
    this.data = new Float32Array(1 << 14);
    this.start = 0;
    this.end = 0;
  }

  add(samples) {
    const used = this.end - this.start;
    if (used + samples.length > this.data.length) {
      const larger = new Float32Array(2 * (used + samples.length));
      larger.set(this.data.subarray(0, used));
      this.data = larger;
    }
    this.data.set(samples, used);
    this.end += samples.length;
  }

  drop(to) {
    const gone = Math.min(to, this.end) - this.start;
    if (gone < 4096) return;
    this.data.copyWithin(0, gone, this.end - this.start);
    this.start += gone;
  }

  read(at, target) {
    target.set(this.data.subarray(at - this.start, at - this.start + target.length));
  }
}
