// What fcs.js does beside streams: test_fcs_js.py gives module, model and script, and reads JSON.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [script, module, model, folder] = process.argv.slice(2);
const { FcsError, loadCodec } = await import(pathToFileURL(script));
// A copy: a small file may share the memory of others.
const bytes = (path) => new Uint8Array(readFileSync(path)).slice();

/** The code and text of what a call throws. */
async function thrown(call) {
  try {
    await call();
  } catch (error) {
    return error instanceof FcsError ? [error.code, error.message] : ["other", String(error)];
  }
  return null;
}

async function allThrown(values, call) {
  const found = await Promise.all(values.map((value) => thrown(() => call(value))));
  return found.map((error) => error !== null);
}

const codec = await loadCodec({ module: pathToFileURL(module), model: bytes(model) });
const report = { facts: codec.facts, version: codec.version, relaxed: codec.relaxed };
const encoder = codec.encoder();
const decoder = codec.decoder();

const cut = bytes(model).slice(0, -1);
const changed = bytes(model);
changed[changed.length >> 1] ^= 1;
const response = { ok: false, status: 404, statusText: "Not Found", url: "x", arrayBuffer() {} };
const closed = codec.encoder();
closed.close();
report.errors = {
  token: await thrown(() => decoder.push([0, 2 ** codec.facts.bitsPerToken])),
  fraction: await thrown(() => decoder.push([0.5])),
  chunks: await thrown(() => codec.encoder(3)),
  rate: await thrown(() => codec.resampler(7999, 16000)),
  closed: await thrown(() => closed.push(new Float32Array(1))),
  cut: await thrown(() => loadCodec({ module: bytes(module), model: cut })),
  changed: await thrown(() => loadCodec({ module: bytes(module), model: changed })),
  model: await thrown(() => loadCodec({ module: bytes(module), model: new Uint8Array(9) })),
  module: await thrown(() => loadCodec({ module: bytes(model), model: bytes(model) })),
  nothing: await thrown(() => loadCodec({ module: bytes(module) })),
  response: await thrown(() => loadCodec({ module: response, model: bytes(model) })),
  file: await thrown(() => [...codec.readFile(new Uint8Array([1, 2, 3, 4]))]),
  empty: await thrown(() => [...codec.readFile(new Uint8Array(0))]),
  count: await thrown(() => codec.fileWriter().close(1e6)),
  address: await thrown(() => loadCodec({ module: new URL("file:///none"), model: bytes(model) })),
  written: await thrown(() => codec.fileWriter().put([2 ** codec.facts.bitsPerToken])),
};
// What would be silence, noise or another file without a word.
const none = new Float32Array(1280);
const odd = [undefined, null, 5, "sound", none.buffer, new DataView(none.buffer), ["a"]];
report.types = {
  samples: await allThrown([...odd, new Int16Array(1280)], (value) => encoder.push(value)),
  resampled: await allThrown(odd, (value) => codec.resampler(48000, 16000).push(value)),
  tokens: await allThrown(odd, (value) => decoder.push(value)),
  put: await allThrown(odd, (value) => codec.fileWriter().put(value)),
  count: await allThrown([undefined, NaN, -1, 0.5, "1"], (n) => codec.fileWriter().close(n)),
  file: await allThrown([undefined, null, 5, "FCS"], (value) => [...codec.readFile(value)]),
};
report.lists = [...codec.encoder().push(Array.from(none))].join() === [...codec.encoder().push(none)].join();
report.pending = [decoder.pending, encoder.pending];

// Memory that streams give back is used again: nothing grows.
const { memoryBytes } = codec;
for (let i = 0; i < 300; i++) {
  const streams = [codec.encoder(), codec.decoder(), codec.resampler(48000, 16000)];
  streams.push(streams[0].copy());
  streams.forEach((stream) => stream.close());
  codec.fileWriter().drop();
}
report.grown = codec.memoryBytes - memoryBytes;

// Each resampler, and a file of random tokens.
const input = new Float32Array(bytes(`${folder}/signal`).buffer);
for (const [from, to] of [[44100, 16000], [48000, 16000], [24000, 44100], [24000, 48000], [47999, 16000]]) {
  const resampler = codec.resampler(from, to);
  const parts = [];
  for (let i = 0; i < input.length; i += 1234) parts.push(resampler.push(input.subarray(i, i + 1234)));
  const copy = resampler.copy();
  const ends = [resampler.flush(), copy.flush()].map((part) => Buffer.from(part.buffer));
  report.copies = (report.copies ?? true) && ends[0].equals(ends[1]);
  const written = Buffer.concat([...parts.map((part) => Buffer.from(part.buffer)), ends[0]]);
  writeFileSync(`${folder}/${from}-${to}`, written);
}
const tokens = new Uint16Array(bytes(`${folder}/tokens`).buffer);
const writer = codec.fileWriter();
const file = Buffer.concat([writer.put(tokens), writer.close(tokens.length * codec.facts.samplesPerToken)]);
writeFileSync(`${folder}/file.fcs`, file);
const events = [...codec.readFile(file)];
const read = events.filter((event) => event.kind === "tokens").flatMap((event) => [...event.tokens]);
report.read = read.length === tokens.length && read.every((token, i) => token === tokens[i]);
report.whole = events.at(-1).whole;
file[file.length >> 1] ^= 16;
const damaged = [...codec.readFile(file)];
report.damaged = [damaged.at(-1).whole, damaged.some((event) => event.kind === "damage" && event.text)];
console.log(JSON.stringify(report));
