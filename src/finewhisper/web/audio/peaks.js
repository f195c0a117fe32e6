// The outline of a recording: how long it is, and how loud each of its parts, for drawing.

import { layout } from "./wav.js";

const BINS = 1200; // more than a screen has room for
const PIECE_BYTES = 8_000_000;
const DECODED_BYTES = 40_000_000; // a larger file that must be decoded whole would take too much memory
const DECODING_HZ = 8000; // enough for an outline
const METADATA_MS = 5000; // longer than reading a file's head takes

/**
 * @typedef {object} Outline
 * @property {Uint8Array | null} values 0 to 255, evenly spread over the duration; null where the browser cannot decode the file, or should not
 * @property {number} duration in seconds
 */

/** @param {Blob} file @returns {Promise<Outline | null>} null where the browser can neither decode nor play it */
export async function outline(file) {
  const form = await layout(file);
  if (form) return ofPcm(file, form);
  const decoded = file.size > DECODED_BYTES ? null : await ofDecoded(file);
  if (decoded) return decoded;
  const duration = await playingTime(file);
  return duration ? { values: null, duration } : null;
}

async function ofDecoded(file) {
  try {
    const decoded = await new OfflineAudioContext(1, 1, DECODING_HZ).decodeAudioData(await file.arrayBuffer());
    const bins = new Bins(decoded.length);
    bins.add(decoded.getChannelData(0), 1);
    return { values: bins.scaled(), duration: decoded.duration };
  } catch {
    return null;
  }
}

/** What the file's head says of its length, null where the browser cannot read that or nothing is said. @returns {Promise<number | null>} seconds */
async function playingTime(file) {
  const media = new Audio();
  const address = URL.createObjectURL(file);
  try {
    await new Promise((resolve) => {
      media.onloadedmetadata = media.onerror = resolve;
      setTimeout(resolve, METADATA_MS); // some browsers load nothing before it is to be played
      media.preload = "metadata";
      media.src = address;
    });
    return Number.isFinite(media.duration) ? media.duration : null;
  } finally {
    media.removeAttribute("src");
    media.load();
    URL.revokeObjectURL(address);
  }
}

/** Any length: a few megabytes are in memory at once. */
async function ofPcm(file, { offset, bytes, channels, sampleRate }) {
  const moment = channels * 2; // bytes
  const moments = Math.floor(bytes / moment);
  const bins = new Bins(moments);
  const step = PIECE_BYTES - (PIECE_BYTES % moment);
  for (let start = 0; start < moments * moment; start += step) {
    const piece = await file.slice(offset + start, offset + Math.min(start + step, moments * moment)).arrayBuffer();
    bins.add(new Int16Array(piece), 1 / 32768, channels);
  }
  return { values: bins.scaled(), duration: moments / sampleRate };
}

class Bins {
  #peaks;
  #count = 0;
  #total;

  /** @param {number} total samples that will come */
  constructor(total) {
    this.#total = Math.max(total, 1);
    this.#peaks = new Float32Array(Math.min(BINS, this.#total));
  }

  /** The largest value of each bin; of several channels the first is seen. */
  add(samples, scale, channels = 1) {
    const perSample = this.#peaks.length / this.#total;
    for (let index = 0; index < samples.length; index += channels) {
      const bin = Math.min(Math.floor(this.#count++ * perSample), this.#peaks.length - 1);
      const value = Math.abs(samples[index]) * scale;
      if (value > this.#peaks[bin]) this.#peaks[bin] = value;
    }
  }

  /** Relative to the loudest, so that quiet recordings are seen too. */
  scaled() {
    const loudest = this.#peaks.reduce((most, value) => Math.max(most, value), 1e-4);
    return Uint8Array.from(this.#peaks, (value) => Math.round((255 * value) / loudest));
  }
}
