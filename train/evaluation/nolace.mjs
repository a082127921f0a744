// Decodes Opus packets with NoLACE, the speech enhancement of libopus 1.5.
//
// Input: each packet after its size in two bytes, little-endian.
// Output: float32, mono, at the rate that the first argument gives.
// The second argument is "nolace", or "none" for plain decoding.
// @ts-check
import { readFileSync } from "node:fs";
import process from "node:process";
import { OpusMLDecoder } from "@wasm-audio-decoders/opus-ml";

/**
 * Decode packets, each after its size.
 * @param {Buffer} packets
 * @param {number} sampleRate
 * @param {"nolace" | "none"} speechQualityEnhancement
 * @returns {Promise<Buffer>}
 */
async function decode(packets, sampleRate, speechQualityEnhancement) {
  const decoder = new OpusMLDecoder({ channels: 1, sampleRate, speechQualityEnhancement });
  await decoder.ready;
  const sounds = [];
  for (let at = 0; at < packets.length; ) {
    const end = at + 2 + packets.readUInt16LE(at);
    const { channelData, errors } = decoder.decodeFrame(packets.subarray(at + 2, end));
    if (errors.length) throw new Error(errors[0].message);
    sounds.push(Buffer.from(Float32Array.from(channelData[0]).buffer));
    at = end;
  }
  return Buffer.concat(sounds);
}

const [rate, enhancement] = process.argv.slice(2);
try {
  const kind = enhancement === "none" ? "none" : "nolace";
  process.stdout.write(await decode(readFileSync(0), Number(rate), kind));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
