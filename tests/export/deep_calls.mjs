// deep_calls.mjs MODULE: the stack holds 200 KB, and 300 KB stop the module and change no data.
import { readFileSync } from "node:fs";

const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(process.argv[2])));
const before = exports.sum_of_data();
exports.descend(200);
let stopped = false;
try {
  exports.descend(300);
} catch (error) {
  stopped = error instanceof WebAssembly.RuntimeError;
}
console.log(JSON.stringify({ stopped, before, after: exports.sum_of_data() }));
