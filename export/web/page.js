// The page: it asks the worker for the codec, the worklet for sound, and draws what they report.

import { AXIS, Plot } from "./plots.js";
import { decodedSound } from "./sounds.js";

// Where things are. The page in one file states them itself.
const FILES = globalThis.fcsFiles ?? {
  worker: new URL("worker.js", import.meta.url),
  worklet: new URL("worklet.js", import.meta.url),
  codec: {
    module: new URL("fcs.wasm", import.meta.url).href,
    relaxedModule: new URL("fcs-relaxed.wasm", import.meta.url).href,
    model: new URL("model.fcsm", import.meta.url).href,
  },
  example: () => fetchBytes(new URL("demo.flac", import.meta.url)),
};

const MOST_BYTES = 300e6;
// Seconds that a spectrogram shows.
const VIEW_SECONDS = 8;
const NARROW_VIEW_SECONDS = 4;
const SKIP_SECONDS = 2;
const INSECURE = "Sound needs a secure page: open it by https, from localhost, or as a file.";

const $ = (id) => document.getElementById(id);
const worker = new Worker(FILES.worker, { type: FILES.workerType ?? "module" });
const still = matchMedia("(prefers-reduced-motion: reduce)");
const darkness = matchMedia("(prefers-color-scheme: dark)");

let facts = null;
let sound = null; // { context, node, microphone }
let plots = null; // { original, decoded }
// The sound that is live or shown. `from` is where it begins in the spectrograms, in seconds.
let current = { id: 0, mode: "idle", name: "", length: 0, from: 0, hasOriginal: true, done: false };
// A `.fcs` file that the worker reads; what was there before stays until it is found good.
let opening = null; // { id, name }
let lastId = 0;
let report = null;
let drawn = "";
let lastReading = 0;

// ---- The worker ----

const answers = {
  progress: ({ share }) => {
    $("progress").hidden = false;
    $("progress").value = share;
    say("Loading the model.");
  },
  ready,
  shown: showClip,
  columns: ({ id, original, decoded }) => {
    if (id !== current.id) return;
    plots.original.add(original);
    plots.decoded.add(decoded);
    drawn = "";
  },
  facts: (message) => {
    if (message.id === current.id) showFacts(message);
  },
  notes: ({ id, notes }) => {
    if (id === current.id) current.notes = notes;
  },
  done: ({ id }) => {
    if (id === current.id) finished();
  },
  saved: ({ format, bytes }) => download(bytes, format),
  error: ({ order, text }) => {
    if (order === "load") $("progress").hidden = true;
    if (order === "open" && opening) problem(withStop(`${opening.name}: ${text}`));
    else problem(sentence(text));
    if (order === "open") opening = null;
    else if (order !== "save" && current.mode !== "clip") rest();
  },
};

worker.onmessage = ({ data }) => answers[data.type](data);
worker.onerror = (event) => {
  event.preventDefault();
  problem(`The codec's worker does not run: ${event.message || "its file cannot be loaded"}.`);
};

function ready(message) {
  facts = message.facts;
  plots = {
    original: new Plot($("original-plot"), message),
    decoded: new Plot($("decoded-plot"), message),
  };
  recolour();
  const kbps = facts.bitrate / 1000;
  const perSecond = facts.sampleRateIn / facts.samplesPerToken;
  $("headline").textContent = `${Number(facts.bitrate.toPrecision(3))} bits`;
  $("token-rate").textContent = Number(perSecond.toPrecision(3));
  $("share").textContent = `1/${Math.round((16 * facts.sampleRateIn) / facts.bitrate)}`;
  $("bitrate").textContent = `${kbps.toFixed(2)} kbps`;
  $("bitrate-note").textContent =
    `${Number(perSecond.toPrecision(3))} a second, ${facts.bitsPerToken} bits each`;
  $("chunk-note").textContent = `to encode and decode ${chunkLength()} ms`;
  $("decoded-note").textContent = `${kbps.toFixed(2)} kbps`;
  const megabytes = (message.memoryBytes / 1e6).toFixed(1);
  $("model").textContent =
    `Model ${facts.name}, fingerprint ${facts.fingerprint}. fcs-edge ${message.version}, ` +
    `${megabytes} MB of memory${message.relaxed ? ", relaxed SIMD" : ""}.`;
  $("progress").hidden = true;
  // Half a model encodes or decodes: the page needs the decoder at least.
  for (const id of ["microphone", "example"]) $(id).disabled = !encodes();
  $("example").hidden = !FILES.example;
  $("choose").disabled = !facts.hasDecoder;
  if (!globalThis.AudioWorkletNode) problem(INSECURE);
  else if (!facts.hasDecoder) problem("This half of a model has no decoder: nothing can be heard.");
  else if (!facts.hasEncoder) say("This half of a model decodes: choose a .fcs file.");
  else say("Ready.");
  requestAnimationFrame(frame);
}

const encodes = () => facts.hasEncoder && facts.hasDecoder;
const chunkLength = () => (1000 * facts.chunkSamples) / facts.sampleRateIn;

// ---- The sound card ----

/** The audio context with its worklet; made at the first press of a key or button. */
async function openSound() {
  if (!sound) {
    if (!globalThis.AudioWorkletNode) {
      throw new Error(INSECURE);
    }
    const context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule(FILES.worklet);
    const node = new AudioWorkletNode(context, "fcs-deck", {
      outputChannelCount: [1],
      channelCountMode: "max",
    });
    node.connect(context.destination);
    node.port.onmessage = ({ data }) => (data.type === "ended" ? ended() : reported(data));
    const { port1, port2 } = new MessageChannel();
    worker.postMessage({ type: "link", port: port1, rate: context.sampleRate }, [port1]);
    node.port.postMessage({ type: "link", port: port2 }, [port2]);
    sound = { context, node, microphone: null };
    setVolume();
    choose($("pick-decoded").checked);
  }
  await sound.context.resume();
  return sound;
}

function deck(message) {
  sound?.node.port.postMessage(message);
}

function reported(message) {
  if (message.session !== current.id || message.mode !== current.mode) return;
  report = message;
  level("original", message.originalPeak, message.originalRms);
  level("decoded", message.decodedPeak, message.decodedRms);
  showPlaying();
  if (message.mode === "live") showDelay(message);
}

function ended() {
  if (report) report.playing = false;
  showPlaying();
}

/** Frames played by now: the last report and the time since. */
function place() {
  if (!report) return 0;
  const { sampleRate, currentTime } = sound.context;
  const since = report.playing ? Math.max(0, currentTime - report.time) : 0;
  const end = current.mode === "clip" ? current.length : Infinity;
  return Math.min(report.at / sampleRate + since, report.written / sampleRate, end / sampleRate);
}

// ---- Sources ----

/** Start a new sound; the one before ends. */
function begin(mode, name, id = ++lastId) {
  leaveMicrophone();
  current = { id, mode, name, length: 0, from: 0, hasOriginal: true, done: false };
  report = opening = null;
  plots.original.clear();
  plots.decoded.clear();
  drawn = "";
  for (const id of ["size", "chunk", "delay"]) $(id).textContent = "–";
  $("size-note").textContent = ".fcs";
  $("chunk-note").textContent = `to encode and decode ${chunkLength()} ms`;
  $("delay-note").textContent = "live, microphone to ear";
  $("save-fcs").disabled = $("save-wav").disabled = true;
  $("position").disabled = $("play").disabled = true;
  return current.id;
}

function rest() {
  leaveMicrophone();
  current.mode = "idle";
  deck({ type: "stop" });
  showPlaying();
}

async function toggleMicrophone() {
  if (current.mode === "live") {
    worker.postMessage({ type: "stop" });
    leaveMicrophone();
    return;
  }
  const cancel = !$("headphones").checked;
  try {
    const { context, node } = await openSound();
    if (!navigator.mediaDevices) throw new Error("the browser gives this page no microphone");
    say("Waiting for the microphone.");
    const audio = { echoCancellation: cancel, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const id = begin("live", "Your recording");
    const source = context.createMediaStreamSource(stream);
    sound.microphone = { stream, source };
    stream.getAudioTracks()[0].onended = () => {
      if (current.id === id && current.mode === "live") toggleMicrophone();
    };
    source.connect(node);
    worker.postMessage({ type: "live", id });
    $("microphone").setAttribute("aria-pressed", "true");
    $("microphone-text").textContent = "Stop";
    $("headphones").disabled = true;
    enableTracks(true);
    $("original-note").textContent = `${context.sampleRate / 1000} kHz`;
    say("Live. You hear yourself through the codec; switch to Original to compare.");
  } catch (error) {
    problem(microphoneText(error));
  }
}

function microphoneText(error) {
  if (error.name === "NotAllowedError") return "The browser refuses the microphone: allow it for this page.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  return sentence(`The microphone does not start: ${error.message}`);
}

function leaveMicrophone() {
  if (!sound?.microphone) return;
  sound.microphone.source.disconnect();
  for (const track of sound.microphone.stream.getTracks()) track.stop();
  sound.microphone = null;
  $("microphone").setAttribute("aria-pressed", "false");
  $("microphone-text").textContent = "Speak";
  $("headphones").disabled = false;
}

/** Take a file: `.fcs` by its first bytes, any other as sound. */
async function takeFile(file) {
  try {
    if (file.size > MOST_BYTES) throw new Error("the file is too large for a page");
    await takeBytes(await file.arrayBuffer(), file.name);
  } catch (error) {
    problem(withStop(`${file.name}: ${error.message}`));
  }
}

async function takeBytes(bytes, name) {
  const { context } = await openSound();
  const head = String.fromCharCode(...new Uint8Array(bytes, 0, Math.min(3, bytes.byteLength)));
  if (head === "FCS" || name.toLowerCase().endsWith(".fcs")) {
    opening = { id: ++lastId, name };
    worker.postMessage({ type: "open", id: opening.id, bytes }, [bytes]);
    return;
  }
  if (!encodes()) throw new Error("this half of a model takes .fcs files alone");
  say(`Reading ${name}.`);
  const { samples, rate } = await decodedSound(context, bytes);
  const id = begin("clip", name);
  $("original-note").textContent = `${rate / 1000} kHz`;
  worker.postMessage({ type: "clip", id, samples, rate }, [samples.buffer]);
}

async function takeExample() {
  try {
    await takeBytes(await FILES.example(), "The example");
  } catch (error) {
    problem(sentence(error.message));
  }
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the example cannot be loaded: ${response.status}`);
  return response.arrayBuffer();
}

// ---- What plays ----

function showClip({ id, length, from, hasOriginal }) {
  if (id === opening?.id) begin("clip", opening.name, id);
  if (id !== current.id) return;
  current.mode = "clip";
  current.length = length;
  current.from = from / sound.context.sampleRate;
  current.hasOriginal = hasOriginal;
  report = null;
  $("position").max = Math.max(1, Math.round((100 * length) / sound.context.sampleRate));
  $("position").value = 0;
  $("position").disabled = $("play").disabled = false;
  // From the button that began it, the next key is Space: play or pause.
  if ([$("choose"), $("example")].includes(document.activeElement)) $("play").focus();
  if (!hasOriginal) {
    $("pick-decoded").checked = true;
    choose(true);
    $("original-note").textContent = "not in a .fcs file";
  }
  enableTracks(hasOriginal);
  drawn = "";
}

function finished() {
  current.done = true;
  $("save-fcs").disabled = !current.hasOriginal;
  $("save-wav").disabled = false;
  const seconds = (current.length / sound.context.sampleRate).toFixed(1);
  if (current.notes?.length) problem(`${current.name}, ${seconds} s. ${current.notes.map(sentence).join(" ")}`);
  else say(`${current.name}, ${seconds} s.${current.hasOriginal ? " Switch between original and decoded while it plays." : ""}`);
}

function enableTracks(hasOriginal) {
  $("pick-original").disabled = !hasOriginal;
  $("pick-decoded").disabled = false;
}

function choose(decoded) {
  $(decoded ? "pick-decoded" : "pick-original").checked = true;
  $("track-original").classList.toggle("active", !decoded);
  $("track-decoded").classList.toggle("active", decoded);
  deck({ type: "choose", decoded });
}

function pick(decoded) {
  const radio = $(decoded ? "pick-decoded" : "pick-original");
  if (!radio.disabled) choose(decoded);
}

async function togglePlay() {
  if (current.mode !== "clip") return;
  await openSound();
  deck({ type: report?.playing ? "pause" : "play" });
}

function seek(seconds) {
  if (current.mode !== "clip") return;
  const at = Math.round(Math.max(0, seconds) * sound.context.sampleRate);
  deck({ type: "seek", at: Math.min(at, current.length) });
  if (report) {
    report.at = Math.min(at, current.length);
    report.time = sound.context.currentTime;
  }
  drawn = "";
}

function setVolume() {
  // By ear, half of the way is a quarter of the sound.
  deck({ type: "gain", value: ($("volume").value / 100) ** 2 });
}

// ---- What is shown ----

const PLAY = "M8 5v14l11-7z";
const PAUSE = "M7 5h4v14H7zM13 5h4v14h-4z";

function showPlaying() {
  document.body.classList.toggle("live", current.mode === "live");
  const playing = current.mode === "clip" && report?.playing === true;
  $("play-shape").setAttribute("d", playing ? PAUSE : PLAY);
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
}

function showFacts({ tokens, fileBytes, fileSeconds, chunk, worst }) {
  $("size").textContent = fileBytes < 1e4 ? `${fileBytes} bytes` : `${(fileBytes / 1000).toFixed(1)} kB`;
  const kbps = (8 * fileBytes) / fileSeconds / 1000;
  const rate = fileSeconds > 1 ? `, ${kbps.toFixed(2)} kbps` : "";
  $("size-note").textContent = `${tokens} ${tokens === 1 ? "token" : "tokens"}${rate}`;
  if (!chunk) return;
  $("chunk").textContent = `${chunk.toFixed(chunk < 10 ? 2 : 1)} ms`;
  $("chunk-note").textContent = `of ${chunkLength()} ms; the longest ${worst.toFixed(1)} ms`;
}

function showDelay({ taken, at, underruns, skips, playing }) {
  if (!playing || at === 0) return;
  const { context } = sound;
  const card = context.outputLatency || context.baseLatency || 0;
  const delay = (taken - at) / context.sampleRate + card;
  const gaps = `${underruns} ${underruns === 1 ? "gap" : "gaps"}`;
  if (performance.now() - lastReading < 300) return;
  lastReading = performance.now();
  $("delay").textContent = `${Math.round(1000 * delay)} ms`;
  $("delay-note").textContent = `microphone to ear; ${gaps}${skips ? `, ${skips} skips` : ""}`;
}

const decibels = (value) => Math.max(-60, Math.min(0, 20 * Math.log10(value + 1e-6)));

function level(name, peak, rms) {
  const meter = $(`${name}-meter`);
  const [fill, line] = meter.children;
  fill.style.transform = `scaleX(${(1 + decibels(rms) / 60).toFixed(3)})`;
  line.style.transform = `translateX(${(100 * decibels(peak)) / 60}%)`;
  const now = Math.round(decibels(rms));
  if (meter.getAttribute("aria-valuenow") !== String(now)) {
    meter.setAttribute("aria-valuenow", now);
    meter.setAttribute("aria-valuetext", now <= -60 ? "silent" : `${now} decibels`);
  }
}

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

/** The window of time that is drawn: it moves on by pages where motion is not wanted. */
function view(now) {
  const span = $("decoded-plot").clientWidth < 480 ? NARROW_VIEW_SECONDS : VIEW_SECONDS;
  const live = current.mode === "live";
  const total = live ? Infinity : current.length / sound.context.sampleRate;
  if (!live && total <= 1.5 * span) return [0, Math.max(total, 0.5)];
  if (still.matches) {
    const page = Math.floor(now / span) * span;
    return [page, page + span];
  }
  if (live) return [now - span, now];
  const from = Math.max(0, Math.min(now - span / 2, total - span));
  return [from, from + span];
}

function frame() {
  requestAnimationFrame(frame);
  if (!sound || current.mode === "idle") {
    drawAll("idle", 0, 1, 0, null, 0);
    return;
  }
  const now = place();
  const live = current.mode === "live";
  const [from, to] = view(now);
  const shown = still.matches ? Math.floor(now * 5) / 5 : now;
  drawAll(current.mode, from, to, live ? now : Infinity, live ? null : shown, current.from);
  const seconds = live && report ? report.taken / sound.context.sampleRate : now;
  showTime(seconds, live ? null : current.length / sound.context.sampleRate);
}

function drawAll(mode, from, to, last, head, offset) {
  const size = `${$("decoded-plot").clientWidth} ${$("decoded-plot").clientHeight}`;
  const key = [mode, current.id, from.toFixed(3), to.toFixed(3), last.toFixed(3), head, size].join();
  if (key === drawn) return;
  drawn = key;
  // A clip that a long recording ended in begins later than its spectrograms.
  const line = head === null ? null : head + offset;
  plots.original.draw(from + offset, to + offset, last + offset, line);
  plots.decoded.draw(from + offset, to + offset, last + offset, line);
}

function showTime(seconds, total) {
  const text = clock(seconds);
  if ($("time").textContent !== text) $("time").textContent = text;
  const end = total === null ? "" : ` / ${clock(Math.round(total))}`;
  if ($("duration").textContent !== end) $("duration").textContent = end;
  if (total === null || $("position").matches(":active")) return;
  $("position").value = Math.round(100 * seconds);
  $("position").setAttribute("aria-valuetext", `${seconds.toFixed(1)} of ${total.toFixed(1)} seconds`);
}

function recolour() {
  if (!plots) return;
  plots.original.dark(darkness.matches);
  plots.decoded.dark(darkness.matches);
  drawn = "";
}

function say(text) {
  $("status").textContent = text;
  $("status").classList.remove("problem");
}

function problem(text) {
  $("status").textContent = text;
  $("status").classList.add("problem");
}

/** A message of the library as a sentence. */
function sentence(text) {
  return withStop(text.charAt(0).toUpperCase() + text.slice(1));
}

function withStop(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

// ---- Files that are saved ----

function save(format) {
  worker.postMessage({ type: "save", format });
}

function download(bytes, format) {
  const type = format === "fcs" ? "application/octet-stream" : "audio/wav";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type }));
  link.download = `${current.name.replace(/\.[^.]*$/, "").replace(/^(The|Your) /, "") || "speech"}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`Saved ${link.download}, ${bytes.length} bytes.`);
}

// ---- Hands ----

$("microphone").onclick = toggleMicrophone;
$("choose").onclick = () => $("file").click();
$("example").onclick = takeExample;
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) takeFile(file);
  $("file").value = "";
};
$("play").onclick = togglePlay;
$("pick-original").onchange = () => choose(false);
$("pick-decoded").onchange = () => choose(true);
$("volume").oninput = setVolume;
$("position").oninput = () => seek($("position").value / 100);
$("save-fcs").onclick = () => save("fcs");
$("save-wav").onclick = () => save("wav");

for (const name of ["original", "decoded"]) {
  const canvas = $(`${name}-plot`);
  const toPlace = (event) => {
    if (current.mode !== "clip") return;
    const box = canvas.getBoundingClientRect();
    const [from, to] = view(place());
    const share = (event.clientX - box.left - AXIS) / (box.width - AXIS);
    seek(from + share * (to - from));
  };
  canvas.onpointerdown = (event) => {
    pick(name === "decoded");
    toPlace(event);
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (event.buttons) toPlace(event);
  };
}

const KEYS = {
  " ": togglePlay,
  o: () => pick(false),
  d: () => pick(true),
  x: () => pick($("pick-original").checked),
  m: () => $("microphone").click(),
  s: () => $("save-fcs").click(),
  ArrowLeft: () => seek(place() - SKIP_SECONDS),
  ArrowRight: () => seek(place() + SKIP_SECONDS),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !facts) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Buttons and boxes take Space; radios and the volume take arrows.
  const own = key === " " ? "button, [type=checkbox]" : "[type=radio], #volume";
  if ((key === " " || key.startsWith("Arrow")) && event.target.closest?.(own)) return;
  if (event.repeat && !key.startsWith("Arrow")) return;
  if (!KEYS[key]) return;
  event.preventDefault();
  KEYS[key]();
});

let dragDepth = 0;
const dragging = (change) => {
  dragDepth = Math.max(0, dragDepth + change);
  document.body.classList.toggle("dropping", dragDepth > 0);
};
document.addEventListener("dragenter", () => dragging(1));
document.addEventListener("dragleave", () => dragging(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(-dragDepth);
  const [file] = event.dataTransfer.files;
  if (file && facts) takeFile(file);
});
darkness.onchange = recolour;

worker.postMessage({ type: "load", ...FILES.codec });

/** For tests: what the page knows. */
globalThis.fcsPage = { current: () => current, report: () => report, sound: () => sound, worker };
