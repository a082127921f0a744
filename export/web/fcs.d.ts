/** FocalCodec-Stream in WebAssembly: speech to tokens, and tokens to speech. See docs/browser.md. */

/** Bytes of a file, or where they are. A Response may still be on its way. */
export type Source =
  | ArrayBuffer
  | ArrayBufferView
  | WebAssembly.Module
  | Response
  | Promise<Response>
  | URL
  | string;

export interface Sources {
  /** `fcs.wasm`. */
  module: Source;
  /** `fcs-relaxed.wasm`: taken for int4 weights, where the engine computes it rightly. */
  relaxedModule?: Source | null;
  /** `model.fcsm`. */
  model: Source;
}

/** What a model is. Rates are in hertz. */
export interface Facts {
  sampleRateIn: number;
  sampleRateOut: number;
  /** Input samples of one token. */
  samplesPerToken: number;
  samplesOutPerToken: number;
  bitsPerToken: number;
  /** Input samples of one chunk of the encoder. */
  chunkSamples: number;
  /** Tokens of one chunk of the encoder. */
  chunkTokens: number;
  /** Tokens of one chunk of the decoder. */
  decoderChunkTokens: number;
  hasEncoder: boolean;
  hasDecoder: boolean;
  /** Bits per second of tokens before entropy coding. */
  bitrate: number;
  /** That change tokens: a bitstream's header names them. */
  settings: number;
  /** Hexadecimal: which model it is. */
  fingerprint: string;
  name: string;
}

/** An error of the library, with its code from fcs.h, fcs_file.h or this file. */
export class FcsError extends Error {
  code: number;
}

/** Codes of this file, beside those of fcs.h and fcs_file.h. */
export const NO_MEMORY: number;
export const NO_FILE: number;
export const CLOSED: number;
export const BAD_MODULE: number;

/** A stream belongs to one codec. `close` gives its memory to the next stream of its size. */
export interface Encoder {
  /** Encode the chunks that these samples complete; the rest waits. */
  push(samples: Float32Array): Uint16Array;
  /** Encode what waits, and start a new stream. */
  flush(): Uint16Array;
  /** Drop what waits, and start a new stream. */
  reset(): void;
  /** A second stream that continues from the same point. */
  copy(): Encoder;
  close(): void;
  /** Samples that wait for the rest of their chunk. */
  readonly pending: number;
  /** Samples of whole chunks that were NaN or infinite, and counted as 0. */
  readonly notFinite: number;
}

export interface Decoder {
  push(tokens: Uint16Array | number[]): Float32Array;
  flush(): Float32Array;
  reset(): void;
  copy(): Decoder;
  close(): void;
  /** Tokens that wait for the rest of their chunk. */
  readonly pending: number;
}

export interface Resampler {
  push(samples: Float32Array): Float32Array;
  /** The outputs up to the input's end, as if silence followed; and start a new stream. */
  flush(): Float32Array;
  reset(): void;
  copy(): Resampler;
  close(): void;
  /** Input samples that an output waits for, behind its own time. */
  readonly delay: number;
}

/** Writes a `.fcs` file. Each call returns the bytes that it completes. */
export interface FileWriter {
  /** The header comes with the first call. */
  put(tokens: Uint16Array): Uint8Array;
  /** The last bytes. `samples` is the exact number of input samples. */
  close(samples: number): Uint8Array;
  /** Give the writer's memory back, without an end. */
  drop(): void;
}

export type FileEvent =
  /** A part begins. */
  | { kind: "header" }
  | { kind: "tokens"; tokens: Uint16Array }
  /** Something is lost: play `silence` tokens of silence for it. */
  | { kind: "damage"; code: number; text: string; silence: number; missing: number }
  /** A part ends: its sound has `samplesOut` samples. */
  | { kind: "end"; samples: number; samplesOut: number }
  /** Nothing follows. */
  | { kind: "done"; whole: boolean };

export interface Codec {
  readonly facts: Facts;
  /** Version of the library. */
  readonly version: string;
  /** Whether the relaxed module runs. */
  readonly relaxed: boolean;
  /** Bytes of memory that the module has. */
  readonly memoryBytes: number;
  /** A stream; `chunks` 8 is faster for many samples at once. */
  encoder(chunks?: 1 | 8): Encoder;
  decoder(chunks?: 1 | 8): Decoder;
  /** Any whole rates from 8000 to 192000 Hz. */
  resampler(from: number, to: number): Resampler;
  fileWriter(): FileWriter;
  /** Read a whole `.fcs` file. An FcsError refuses it. */
  readFile(bytes: ArrayBuffer | Uint8Array): Generator<FileEvent, void>;
  /** Run 20 chunks of silence, so that the engine compiles what it runs often. */
  warmUp(): void;
}

export function loadCodec(sources: Sources): Promise<Codec>;
