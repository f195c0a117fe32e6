// The microphone as 16-bit mono sound.

import { Problem } from "../engines/problem.js";

const RATE_HZ = 16_000; // what Whisper hears
const REFUSALS = { NotAllowedError: "microphone", SecurityError: "microphone", NotFoundError: "noMicrophone", NotReadableError: "noMicrophone" };

/**
 * Ask for the microphone and begin.
 * @param {(samples: Int16Array) => void} heard every 100 ms
 * @returns {Promise<{sampleRate: number, stop: () => Promise<void>}>} `stop` gives the rest first
 * @throws {Problem} where there is none, or it is not allowed
 */
export async function record(heard) {
  const stream = await microphone();
  try {
    return await captured(stream, heard);
  } catch (error) {
    release(stream);
    throw error;
  }
}

async function microphone() {
  if (!navigator.mediaDevices?.getUserMedia) throw new Problem("insecure");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    throw new Problem(REFUSALS[error.name] ?? "noMicrophone", { details: error.message });
  }
}

/** The browser shows that it listens until every track is stopped. */
function release(stream) {
  for (const track of stream.getTracks()) track.stop();
}

async function captured(stream, heard) {
  const { context, source } = connected(stream);
  try {
    await context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
  } catch (error) {
    await context.close();
    throw new Problem("offline", { details: error.message }); // it comes from the server
  }
  const capture = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit" });
  const ended = new Promise((resolve) => {
    capture.port.onmessage = ({ data }) => (data === "end" ? resolve() : heard(data));
  });
  source.connect(capture).connect(context.destination); // silence, but what leads nowhere may not be run
  await context.resume();
  return {
    sampleRate: context.sampleRate,
    stop: async () => {
      capture.port.postMessage("end");
      await ended;
      release(stream);
      await context.close();
    },
  };
}

/** Some browsers do not resample a microphone: then the context has its rate, and the engine is told. */
function connected(stream) {
  const context = new AudioContext({ sampleRate: RATE_HZ });
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch {
    context.close();
    const other = new AudioContext();
    return { context: other, source: other.createMediaStreamSource(stream) };
  }
}

/** Root mean square of a frame, 0 to 1. @param {Int16Array} samples */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.sqrt(sum / samples.length) / 32768 : 0;
}
