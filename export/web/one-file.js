// Before page.js in the page of one file: what the folder has as files stands in a script of text.
// It is deflated, then 7 bits a character. Three characters cannot stand there: 0, carriage return
// and <. A character from 128 on stands for one of them and for the 7 bits that follow.

const CANNOT_STAND = [0, 13, 60];

/** The bytes that a text stands for. */
function bytesOfText(text) {
  const bytes = new Uint8Array(Math.floor((text.length * 14) / 8) + 2);
  let [held, bits, n] = [0, 0, 0];
  const put = (seven) => {
    held = ((held << 7) | seven) & 0x7fff;
    bits += 7;
    if (bits < 8) return;
    bits -= 8;
    bytes[n++] = held >> bits;
  };
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 128) {
      put(code);
    } else {
      put(CANNOT_STAND[(code >> 7) - 1]);
      put(code & 127);
    }
  }
  return bytes.subarray(0, n);
}

/** The files, by name. */
async function filesInside() {
  const script = document.getElementById("fcs-data");
  const sizes = JSON.parse(script.dataset.sizes);
  const deflated = bytesOfText(script.textContent).subarray(0, script.dataset.deflated);
  script.remove();
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const whole = await new Response(stream).arrayBuffer();
  const files = {};
  let at = 0;
  for (const [name, size] of Object.entries(sizes)) {
    files[name] = whole.slice(at, at + size);
    at += size;
  }
  return files;
}

const inside = await filesInside().catch((error) => {
  document.getElementById("status").textContent = `This browser cannot read the page: ${error.message}.`;
  throw error;
});
const inWorklet = new TextDecoder().decode(inside["worklet.js"]);

globalThis.fcsFiles = {
  worker: URL.createObjectURL(new Blob([inside["worker.js"]], { type: "text/javascript" })),
  // In a page opened as a file, no module may come from the address of a blob.
  workerType: "classic",
  worklet: `data:text/javascript,${encodeURIComponent(inWorklet)}`,
  codec: {
    module: inside["fcs.wasm"],
    relaxedModule: inside["fcs-relaxed.wasm"] ?? null,
    model: inside["model.fcsm"],
  },
  example: null,
};
