// wasm_streams.mjs JOB.json: run models as streams through fcs.js, and write tokens and samples.
// A signal is cut in several ways, which must all give the same; what differs is printed as JSON.
import { readFileSync, writeFileSync } from "node:fs";

const job = JSON.parse(readFileSync(process.argv[2]));
const { loadCodec } = await import(job.script);
const PIECES = [1, 1279, 320, 5000, 0, 2561];
const TOKEN_PIECES = [1, 3, 0, 4, 17, 2];

const read = (path) => new Uint8Array(readFileSync(path));
const floats = (path) => new Float32Array(readFileSync(path).buffer.slice(0));
const joined = (Kind, parts) => {
  const all = new Kind(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};
const bits = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const equal = (one, other) => bits(one).equals(bits(other));

function inPieces(stream, items, pieces) {
  const parts = [];
  for (let at = 0, i = 0; at < items.length; at += pieces[i++ % pieces.length])
    parts.push(stream.push(items.subarray(at, at + pieces[i % pieces.length])));
  parts.push(stream.flush());
  return joined(items instanceof Float32Array ? Uint16Array : Float32Array, parts);
}

// A copy in the middle of a stream continues as the stream does, and neither disturbs the other.
function withCopy(stream, items, pieces) {
  const half = Math.floor(items.length / 2);
  const first = stream.push(items.subarray(0, half));
  const copy = stream.copy();
  const rest = inPieces(copy, items.subarray(half), pieces);
  const other = joined(rest.constructor, [stream.push(items.subarray(half)), stream.flush()]);
  const same = equal(rest, other);
  copy.close();
  return same ? joined(rest.constructor, [first, rest]) : first;
}

function waysOf(make, items, pieces, once) {
  const whole = [Infinity];
  const results = { whole: inPieces(make(1), items, whole) };
  if (once) return results;
  Object.assign(results, {
    pieces: inPieces(make(1), items, pieces),
    "eight chunks": inPieces(make(8), items, pieces),
    copy: withCopy(make(1), items, pieces),
  });
  const used = make(1);
  inPieces(used, items.subarray(0, items.length / 3), pieces);
  results["after a flush"] = inPieces(used, items, pieces);
  used.push(items.subarray(0, items.length / 3));
  used.reset();
  results["after a reset"] = inPieces(used, items, whole);
  return results;
}

// Each length of the last, partial chunk that is asked for.
function tails(make, items, lengths) {
  const stream = make(1);
  return lengths.map((n) => inPieces(stream, items.subarray(0, n), [Infinity]));
}

const report = {};
for (const { name, model, signal, out, lengths = [], once = false } of job.models) {
  const codec = await loadCodec({
    module: read(job.module),
    relaxedModule: job.relaxed ? read(job.relaxed) : null,
    model: read(model),
  });
  const samples = floats(signal);
  const encoded = waysOf((n) => codec.encoder(n), samples, PIECES, once);
  const decoded = waysOf((n) => codec.decoder(n), encoded.whole, TOKEN_PIECES, once);
  const differ = [encoded, decoded].flatMap((ways) =>
    Object.keys(ways).filter((way) => !equal(ways[way], ways.whole)),
  );
  const lasts = tails((n) => codec.encoder(n), samples, lengths);
  const sounds = tails((n) => codec.decoder(n), encoded.whole, lasts.map((part) => part.length));
  writeFileSync(`${out}.tokens`, bits(joined(Uint16Array, [encoded.whole, ...lasts])));
  writeFileSync(`${out}.samples`, bits(joined(Float32Array, [decoded.whole, ...sounds])));
  report[name] = { differ, relaxed: codec.relaxed, memory: codec.memoryBytes };
}
console.log(JSON.stringify(report));
