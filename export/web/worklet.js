// The sound card's side of the page: it captures the microphone, and plays the original or the
// decoded sound from the same place. The codec runs in worker.js, at the other end of a
// MessagePort. Here is nothing but copying: no clock, no timer, and blocks that are used again.

// Frames of a captured block: 11 ms at 48 kHz.
const BLOCK = 512;
// Blocks that may wait for the worker before one must be allocated: 2.7 s at 48 kHz.
const SPARE_BLOCKS = 256;
// Frames between two reports to the page.
const REPORT = 2048;
const FADE_SECONDS = 0.01;

// Live sound: seconds that wait before play starts, what a gap adds, and the most of it.
const MARGIN = 0.06;
const MARGIN_STEP = 0.02;
const MOST_MARGIN = 0.25;
// Seconds beyond chunk and margin that may wait: more is left out, so that the delay is bounded.
const SLACK = 0.12;
// Chunks after the start, or a gap, from which the least wait is known and the rest left out.
const TRIAL_CHUNKS = 6;

/** A value that moves to its goal by small steps, so that nothing clicks. */
class Ramp {
  constructor(value) {
    this.value = value;
    this.goal = value;
    this.step = 1 / (FADE_SECONDS * sampleRate);
  }

  next() {
    const rest = this.goal - this.value;
    if (rest > this.step) this.value += this.step;
    else if (rest < -this.step) this.value -= this.step;
    else this.value = this.goal;
    return this.value;
  }
}

/** Largest and mean square of what is played, since the last report. */
class Level {
  constructor() {
    this.clear();
  }

  clear() {
    this.peak = 0;
    this.sum = 0;
    this.count = 0;
  }

  add(value) {
    const size = value < 0 ? -value : value;
    if (size > this.peak) this.peak = size;
    this.sum += value * value;
    this.count++;
  }
}

class Deck extends AudioWorkletProcessor {
  constructor() {
    super();
    this.spare = Array.from({ length: SPARE_BLOCKS }, () => new Float32Array(BLOCK));
    this.block = this.spare.pop();
    this.filled = 0;
    this.decodedShare = new Ramp(1);
    this.gain = new Ramp(1);
    this.fade = new Ramp(0);
    this.originalLevel = new Level();
    this.decodedLevel = new Level();
    this.worker = null;
    this.sinceReport = 0;
    this.report = {};
    this.clear();
    this.port.onmessage = ({ data }) => this.fromPage(data);
  }

  clear() {
    this.mode = "idle";
    this.original = null;
    this.decoded = null;
    this.size = 0;
    this.taken = 0; // frames captured
    this.written = 0; // frames decoded
    this.at = 0; // the next frame to play
    this.length = 0; // of a clip
    this.playing = false;
    this.filled = 0;
    this.underruns = 0;
    this.skips = 0;
    this.margin = MARGIN * sampleRate;
    this.waited = 0;
    this.chunk = 0;
    this.trial();
  }

  /** Begin to measure how much sound is left when a chunk arrives. */
  trial() {
    this.arrivals = 0;
    this.least = Infinity;
  }

  fromPage(data) {
    switch (data.type) {
      case "link":
        this.worker = data.port;
        this.worker.onmessage = (message) => this.fromWorker(message.data);
        break;
      case "play":
        // A clip that has ended begins again.
        if (this.mode === "clip" && this.at >= this.length) this.at = 0;
        this.play(true);
        break;
      case "pause":
        this.play(false);
        break;
      case "seek":
        if (this.mode === "clip") this.at = Math.max(0, Math.min(this.length, data.at));
        this.fade.value = 0;
        break;
      case "choose":
        this.decodedShare.goal = data.decoded ? 1 : 0;
        break;
      case "gain":
        this.gain.goal = data.value;
        break;
      case "stop":
        this.clear();
        break;
    }
  }

  play(on) {
    this.playing = on && this.mode !== "idle";
    this.fade.value = 0;
    this.fade.goal = 1;
  }

  fromWorker(data) {
    switch (data.type) {
      case "spare":
        this.spare.push(data.block);
        break;
      case "live":
        // Two rings: what is captured, and what is decoded, by the same count of frames.
        this.clear();
        this.mode = "live";
        this.original = data.original;
        this.decoded = data.decoded;
        this.size = data.decoded.length;
        this.chunk = data.chunk;
        this.session = data.session;
        this.play(true);
        break;
      case "clip":
        // Whole sounds; an original of null is silence. The decoded one may still grow.
        this.clear();
        this.mode = "clip";
        this.original = data.original;
        this.decoded = data.decoded;
        this.size = this.length = data.decoded.length;
        this.written = data.written;
        this.session = data.session;
        this.play(data.playing);
        break;
      case "decoded":
        if (data.session === this.session) this.append(data.samples);
        break;
    }
  }

  append(samples) {
    if (!this.decoded) return;
    for (let i = 0; i < samples.length; i++) {
      this.decoded[(this.written + i) % this.size] = samples[i];
    }
    const left = this.written - this.at;
    this.written += samples.length;
    if (this.mode !== "live" || this.waited < this.margin) return;
    this.least = Math.min(this.least, left);
    this.arrivals++;
    const most = this.chunk + this.margin + SLACK * sampleRate;
    if (this.arrivals === TRIAL_CHUNKS && this.least > this.margin) {
      this.skip(this.least - this.margin);
    } else if (this.written - this.at > most) {
      this.skip(this.written - this.at - this.chunk - this.margin);
      this.skips++;
    }
  }

  skip(frames) {
    this.at += Math.floor(frames);
    this.fade.value = 0;
  }

  /** Keep one quantum of the microphone, all channels as their mean. */
  capture(channels) {
    const n = channels[0].length;
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let c = 0; c < channels.length; c++) sum += channels[c][i];
      const value = sum / channels.length;
      this.original[(this.taken + i) % this.size] = value;
      this.block[this.filled++] = value;
      if (this.filled === BLOCK) this.send();
    }
    this.taken += n;
  }

  send() {
    this.worker.postMessage(
      { type: "captured", block: this.block, session: this.session },
      [this.block.buffer],
    );
    this.block = this.spare.pop() ?? new Float32Array(BLOCK);
    this.filled = 0;
  }

  /** Whether the next `n` frames can be played; what cannot is counted. */
  ready(n) {
    if (!this.playing) return false;
    if (this.mode === "clip") return this.at < Math.min(this.written, this.length);
    const waiting = this.waited < this.margin;
    if (this.at + n <= this.written) {
      if (waiting) this.waited += n;
      return !waiting;
    }
    if (!waiting) {
      // A gap: wait again, and a little longer.
      this.underruns++;
      this.margin = Math.min(this.margin + MARGIN_STEP * sampleRate, MOST_MARGIN * sampleRate);
      this.waited = 0;
      this.fade.value = 0;
      this.trial();
    }
    return false;
  }

  process(inputs, outputs) {
    const out = outputs[0][0];
    const channels = inputs[0];
    if (this.mode === "live" && this.worker && channels.length) this.capture(channels);
    if (this.ready(out.length)) this.render(out);
    this.sinceReport += out.length;
    if (this.sinceReport >= REPORT) this.tell();
    return true;
  }

  render(out) {
    const end = this.mode === "clip" ? Math.min(this.written, this.length) : this.written;
    const n = Math.min(out.length, end - this.at);
    for (let i = 0; i < n; i++) {
      const place = (this.at + i) % this.size;
      const original = this.original ? this.original[place] : 0;
      const decoded = this.decoded[place];
      this.originalLevel.add(original);
      this.decodedLevel.add(decoded);
      const share = this.decodedShare.next();
      // At rest the chosen sound goes out as it is, to the bit.
      const mixed =
        share === 1 ? decoded : share === 0 ? original : original + share * (decoded - original);
      out[i] = mixed * this.gain.next() * this.fade.next();
    }
    this.at += n;
    if (this.mode === "clip" && this.at >= this.length) {
      this.playing = false;
      this.port.postMessage({ type: "ended" });
    }
  }

  tell() {
    const { originalLevel, decodedLevel, report } = this;
    report.type = "state";
    report.mode = this.mode;
    report.session = this.session;
    report.playing = this.playing;
    report.at = this.at;
    report.taken = this.taken;
    report.written = this.written;
    report.time = currentTime;
    report.underruns = this.underruns;
    report.skips = this.skips;
    report.originalPeak = originalLevel.peak;
    report.decodedPeak = decodedLevel.peak;
    report.originalRms = Math.sqrt(originalLevel.sum / Math.max(1, originalLevel.count));
    report.decodedRms = Math.sqrt(decodedLevel.sum / Math.max(1, decodedLevel.count));
    this.port.postMessage(report);
    originalLevel.clear();
    decodedLevel.clear();
    this.sinceReport = 0;
  }
}

registerProcessor("fcs-deck", Deck);
