// A spectrogram on a canvas: columns come as bytes, and a window of time is drawn of them.

const MOST_COLUMNS = 1 << 16;
const STRIP = 2048;
const TICKS = [500, 1000, 2000, 4000, 8000];
/** Width of the axis at the left, in pixels of the page. */
export const AXIS = 54;

// From silence to loud, in light and in dark.
const LIGHT = ["#fbfcfe", "#d5e1f3", "#8fb0e0", "#3b74c9", "#153a7a", "#08152e"];
const DARK = ["#0c0f14", "#142338", "#1f4273", "#3f7bc8", "#9cc3f7", "#f4f9ff"];

const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);

/** 256 colours as RGBA in a word, little-endian. */
function palette(stops) {
  const rgb = stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(place));
    const [r, g, b] = rgb[i].map((low, c) => Math.round(low + (place - i) * (rgb[i + 1][c] - low)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

export class Plot {
  constructor(canvas, { rows, top, columnsPerSecond }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.rows = rows;
    this.top = top;
    this.columnsPerSecond = columnsPerSecond;
    this.strip = document.createElement("canvas");
    this.strip.width = STRIP;
    this.strip.height = rows;
    this.stripContext = this.strip.getContext("2d", { alpha: false });
    this.column = this.stripContext.createImageData(1, rows);
    this.words = new Uint32Array(this.column.data.buffer);
    this.painted = new Int32Array(STRIP);
    this.dark(false);
    this.clear();
  }

  clear() {
    this.bytes = new Uint8Array(2048 * this.rows);
    this.count = 0;
    this.painted.fill(-1);
  }

  dark(on) {
    this.colours = palette(on ? DARK : LIGHT);
    this.ground = (on ? DARK : LIGHT)[0];
    this.ink = on ? "#9ba6b5" : "#566070";
    this.head = on ? "#ffffff" : "#14181f";
    this.painted.fill(-1);
  }

  /** Take columns that follow those before. Of a long live sound, the last ones stay. */
  add(bytes) {
    const { rows } = this;
    const n = bytes.length / rows;
    while (this.count + n > this.capacity && this.capacity < MOST_COLUMNS) {
      const larger = new Uint8Array(2 * this.bytes.length);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    for (let k = 0; k < n; k++) {
      const place = ((this.count + k) % this.capacity) * rows;
      this.bytes.set(bytes.subarray(k * rows, (k + 1) * rows), place);
    }
    this.count += n;
  }

  get capacity() {
    return this.bytes.length / this.rows;
  }

  /** Put a column on the strip, unless it is there. */
  paint(k) {
    if (this.painted[k % STRIP] === k) return;
    const { rows, words, colours, bytes } = this;
    const place = (k % this.capacity) * rows;
    for (let r = 0; r < rows; r++) words[rows - 1 - r] = colours[bytes[place + r]];
    this.stripContext.putImageData(this.column, k % STRIP, 0);
    this.painted[k % STRIP] = k;
  }

  /** Draw seconds `from` to `to`, nothing later than `last`, and a line at `head`. */
  draw(from, to, last, head) {
    const { canvas, context } = this;
    const scale = globalThis.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.fillStyle = this.ground;
    context.fillRect(0, 0, width, height);
    const left = Math.round(AXIS * scale);
    this.drawColumns(from, to, last, { left, width: width - left, height });
    this.drawTicks(left, height, scale);
    if (head === null) return;
    context.fillStyle = this.head;
    const x = left + ((head - from) / (to - from)) * (width - left);
    context.fillRect(Math.round(x - 0.75 * scale), 0, Math.max(1, Math.round(1.5 * scale)), height);
  }

  drawColumns(from, to, last, { left, width, height }) {
    const { columnsPerSecond: rate, context } = this;
    const oldest = Math.max(0, this.count - this.capacity);
    const first = Math.max(oldest, Math.floor(from * rate));
    const end = Math.min(this.count, Math.ceil(Math.min(to, last) * rate), first + STRIP);
    if (end <= first) return;
    for (let k = first; k < end; k++) this.paint(k);
    const x = (k) => left + ((k / rate - from) / (to - from)) * width;
    context.imageSmoothingEnabled = true;
    for (let k = first; k < end; ) {
      // The strip is a ring: at most two pieces.
      const n = Math.min(end - k, STRIP - (k % STRIP));
      const place = [x(k), 0, x(k + n) - x(k), height];
      context.drawImage(this.strip, k % STRIP, 0, n, this.rows, ...place);
      k += n;
    }
  }

  drawTicks(left, height, scale) {
    const { context } = this;
    // Columns that begin before the window end behind the axis.
    context.fillStyle = this.ground;
    context.fillRect(0, 0, left, height);
    context.fillStyle = this.ink;
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const hertz of TICKS) {
      const y = Math.round(height * (1 - mel(hertz) / mel(this.top)));
      const text = `${hertz / 1000} kHz`;
      context.fillText(text, left - 7 * scale, y);
      context.fillRect(left - 4 * scale, y, 4 * scale, Math.max(1, Math.round(scale)));
    }
  }
}
