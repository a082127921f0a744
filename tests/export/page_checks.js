// What tests of the page run inside it. It shares no state with page.js.
import { loadCodec } from "./fcs.js";

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function until(condition, what) {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await wait(50);
  }
  throw new Error(`never: ${what}`);
}

/** What the page saves, in place of a download. */
export function saved(button) {
  return new Promise((resolve) => {
    const { createObjectURL } = URL;
    const { click } = HTMLAnchorElement.prototype;
    URL.createObjectURL = (blob) => {
      URL.createObjectURL = createObjectURL;
      blob.arrayBuffer().then((bytes) => resolve(new Uint8Array(bytes)));
      return "data:,";
    };
    HTMLAnchorElement.prototype.click = () => (HTMLAnchorElement.prototype.click = click);
    document.getElementById(button).click();
  });
}

/** Drop a file on the page. */
export function drop(bytes, name) {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}

export const codec = loadCodec({ module: "fcs.wasm", model: "model.fcsm" });

const joined = (parts) => {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
};

export function tokensOf(bytes, codec) {
  const events = [...codec.readFile(bytes)];
  const parts = events.filter((event) => event.kind === "tokens").map((event) => event.tokens);
  return { tokens: parts.flatMap((part) => [...part]), last: events.at(-1), events };
}

let recorder = null;

/** Put a recorder beside the page's worklet, before the microphone starts. */
export async function record() {
  const { context, node } = fcsPage.sound();
  await context.audioWorklet.addModule("page_recorder.js");
  recorder = new AudioWorkletNode(context, "recorder", { numberOfInputs: 2 });
  node.connect(recorder, 0, 0);
  const { connect } = AudioNode.prototype;
  MediaStreamAudioSourceNode.prototype.connect = function (target, ...rest) {
    connect.call(this, recorder, 0, 1);
    return connect.call(this, target, ...rest);
  };
  recorder.connect(context.destination);
}

async function recorded() {
  const answer = new Promise((resolve) => (recorder.port.onmessage = ({ data }) => resolve(data)));
  recorder.port.postMessage(0);
  const { first, parts } = await answer;
  return [first, ...parts.map(joined)];
}

/** Encode what the microphone gave from a place on; return the first `n` tokens. */
function encoded(codec, captured, rate, n) {
  const down = codec.resampler(rate, codec.facts.sampleRateIn);
  const encoder = codec.encoder();
  const tokens = [];
  for (let i = 0; i < captured.length && tokens.length < n; i += 777) {
    tokens.push(...encoder.push(down.push(captured.subarray(i, i + 777))));
  }
  down.close();
  encoder.close();
  return tokens.slice(0, n);
}

/**
 * Compare what the page played, and its saved file, with the codec's output of what went in. The
 * report, of live sound, says how many frames the worklet had taken at which time.
 */
export async function compare(file, report) {
  const ready = await codec;
  const rate = fcsPage.sound().context.sampleRate;
  const [first, played, captured] = await recorded();
  const { tokens } = tokensOf(file, ready);
  const start = Math.round(report.time * rate) + 128 - report.taken - first;
  // The last chunks may have ended in the middle, where the microphone stopped.
  const chunk = ready.facts.chunkTokens;
  const whole = Math.floor(tokens.length / chunk) * chunk - 3 * chunk;
  const again = encoded(ready, captured.subarray(start), rate, whole);
  const differ = again.filter((token, i) => token !== tokens[i]).length;
  const decoder = ready.decoder();
  const up = ready.resampler(ready.facts.sampleRateOut, rate);
  const sound = up.push(decoder.push(Uint16Array.from(tokens.slice(0, whole))));
  return { start, tokens: tokens.length, compared: again.length, differ, ...found(sound, played) };
}

/** Find runs of one sound in another: how many samples are equal to the bit, and their energy. */
function found(sound, played) {
  let [equal, energy, longest] = [0, 0, 0];
  let shift = null;
  for (let i = 0; i < played.length; ) {
    if (played[i] === 0 || (shift !== null && played[i] !== sound[i - shift])) shift = null;
    if (shift === null) {
      shift = alignment(sound, played, i);
      if (shift === null) {
        i += 64;
        continue;
      }
    }
    let run = 0;
    for (; i < played.length && played[i] === sound[i - shift]; i++, run++) energy += played[i] ** 2;
    equal += run;
    longest = Math.max(longest, run);
    shift = null;
    i++;
  }
  return { equal, longest, energy, rest: played.length };
}

function alignment(sound, played, i) {
  if (i + 64 > played.length) return null;
  for (let at = sound.indexOf(played[i]); at >= 0; at = sound.indexOf(played[i], at + 1)) {
    let n = 1;
    while (n < 64 && played[i + n] === sound[at + n]) n++;
    if (n === 64 && sound.subarray(at, at + 64).some((value) => value !== 0)) return i - at;
  }
  return null;
}
