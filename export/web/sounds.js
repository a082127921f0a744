// Sound files as samples at their own rate: a file at the codec's rate is encoded as it is.

const MOST_MINUTES = 10;
const MP3_RATES = [44100, 48000, 32000];

/** Whether text stands at a place. */
const stands = (bytes, at, text) => [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0));

/** The rate that a file's header states; null where it is no header that is known here. */
export function statedRate(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (stands(bytes, 0, "RIFF") && stands(bytes, 8, "WAVE")) return wavRate(bytes, view);
  if (stands(bytes, 0, "fLaC") && bytes.length > 21) return view.getUint32(18) >>> 12;
  if (stands(bytes, 0, "OggS")) return oggRate(bytes, view);
  return mp3Rate(bytes);
}

function wavRate(bytes, view) {
  for (let at = 12; at + 16 <= bytes.length; ) {
    if (stands(bytes, at, "fmt ")) return view.getUint32(at + 12, true);
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return null;
}

function oggRate(bytes, view) {
  const first = 27 + (bytes[26] ?? 0);
  if (stands(bytes, first, "OpusHead")) return 48000;
  if (stands(bytes, first, "\u0001vorbis") && bytes.length > first + 16) {
    return view.getUint32(first + 12, true);
  }
  return null;
}

function mp3Rate(bytes) {
  let at = 0;
  if (stands(bytes, 0, "ID3")) {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return null;
  const version = (bytes[at + 1] >> 3) & 3;
  const rate = MP3_RATES[(bytes[at + 2] >> 2) & 3];
  if (!rate || version === 1) return null;
  return version === 3 ? rate : version === 2 ? rate / 2 : rate / 4;
}

/** Decode a sound file: its samples, all channels as their mean, and their rate. */
export async function decodedSound(context, bytes) {
  let buffer;
  try {
    buffer = await contextFor(context, statedRate(bytes)).decodeAudioData(bytes);
  } catch {
    throw new Error("the browser reads no sound in this file");
  }
  if (buffer.duration > 60 * MOST_MINUTES) {
    throw new Error(`this page takes up to ${MOST_MINUTES} minutes; fcs-edge encode takes any length`);
  }
  const samples = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = exact16(buffer.getChannelData(c));
    for (let i = 0; i < samples.length; i++) samples[i] += channel[i] / buffer.numberOfChannels;
  }
  if (!samples.length) throw new Error("the file has no sound");
  return { samples, rate: buffer.sampleRate };
}

/**
 * Samples of 16 bits as they are, by 32768. Chromium divides those above 0 by 32767: where all of
 * them are such numbers, they are set right.
 */
function exact16(channel) {
  const whole = (value) => Math.round(value > 0 ? value * 32767 : value * 32768);
  const near = (value) => Math.abs((value > 0 ? value * 32767 : value * 32768) - whole(value)) < 0.01;
  const plain = (value) => Number.isInteger(value * 32768);
  if (channel.every(plain) || !channel.every(near)) return channel;
  return channel.map((value) => whole(value) / 32768);
}

/** A context that decodes at a rate; that of the sound card where there is none. */
function contextFor(context, rate) {
  if (!rate || rate < 8000 || rate > 192000) return context;
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch {
    return context;
  }
}
