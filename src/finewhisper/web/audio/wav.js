// RIFF/WAVE: written for recordings, read in pieces for long files.

const HEADER_BYTES = 44;

/** @param {Int16Array[]} frames mono @param {number} sampleRate in hertz @returns {Blob} */
export function wav(frames, sampleRate) {
  const bytes = frames.reduce((sum, frame) => sum + frame.byteLength, 0);
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  const mark = (offset, letters) => [...letters].forEach((letter, index) => view.setUint8(offset + index, letter.charCodeAt(0)));
  mark(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  mark(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of what follows
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * 2, true); // bytes a second
  view.setUint16(32, 2, true); // bytes of a moment
  view.setUint16(34, 16, true); // bits
  mark(36, "data");
  view.setUint32(40, bytes, true);
  return new Blob([view, ...frames], { type: "audio/wav" });
}

/**
 * Where the samples of a 16-bit PCM file lie, or null where it is something else.
 * @param {Blob} file
 * @returns {Promise<{offset: number, bytes: number, channels: number, sampleRate: number} | null>}
 */
export async function layout(file) {
  const view = new DataView(await file.slice(0, 65_536).arrayBuffer());
  const letters = (offset) => String.fromCharCode(...new Uint8Array(view.buffer, offset, 4));
  if (view.byteLength < HEADER_BYTES || letters(0) !== "RIFF" || letters(8) !== "WAVE") return null;
  let form = null;
  for (let offset = 12; offset + 8 <= view.byteLength; ) {
    const [name, bytes] = [letters(offset), view.getUint32(offset + 4, true)];
    const body = offset + 8;
    if (name === "fmt " && body + 16 <= view.byteLength) {
      const [kind, channels, sampleRate, bits] = [view.getUint16(body, true), view.getUint16(body + 2, true), view.getUint32(body + 4, true), view.getUint16(body + 14, true)];
      if (kind !== 1 || bits !== 16 || !channels || !sampleRate) return null;
      form = { channels, sampleRate };
    }
    if (name === "data") return form && { ...form, offset: body, bytes: Math.min(bytes, file.size - body) };
    offset = body + bytes + (bytes % 2);
  }
  return null;
}
