// What the page asks of whatever turns sound into text. The server is one engine; one in the browser itself would be another.

import { ServerEngine } from "./server.js";

/**
 * @typedef {{model: string, language: string, task: "transcribe" | "translate", simplified: boolean, punctuation: boolean}} Wish
 *   `model` "" is the engine's own choice, `language` "" is detected
 * @typedef {{start: number, end: number, word: string}} Word in seconds; a word carries its leading space
 * @typedef {{start: number, end: number, text: string, words?: Word[]}} Segment
 * @typedef {{phase: "send" | "queue" | "hear", fraction: number | null, heard?: number}} Progress `fraction` null: not known; `heard` in seconds
 * @typedef {{language: string, duration: number | null, segments: Segment[]}} Transcript
 *
 * @typedef {object} Watch what is told while a recording is transcribed
 * @property {AbortSignal} signal stops it
 * @property {number | null} duration of the recording in seconds, where the page knows it
 * @property {string} [job] an earlier call's job, to go on with instead of sending the sound again
 * @property {(progress: Progress) => void} progress
 * @property {(segment: Segment) => void} segment in the order of time, as they are understood
 * @property {(id: string) => void} accepted the engine keeps the work under this name, even if the page is closed
 *
 * @typedef {object} Listener what is told while somebody speaks
 * @property {() => void} ready
 * @property {(partial: {text: string, words: Word[], confirmed: number}) => void} partial the first `confirmed` words stay
 * @property {(segment: Segment & {language: string}) => void} final
 * @property {() => void} done everything that was heard has been told
 * @property {(problem: import("./problem.js").Problem) => void} failed
 *
 * @typedef {object} Session
 * @property {(samples: Int16Array) => void} send mono sound
 * @property {() => void} end no more sound: `done` follows
 * @property {() => void} close nothing more is of interest
 *
 * @typedef {object} Engine
 * @property {() => Promise<string[]>} models names to choose from
 * @property {(sound: Blob, wish: Wish, watch: Watch) => Promise<Transcript>} transcribe throws a Problem, or an AbortError
 * @property {(job: string) => void} forget its transcript is stored here and need not be kept by the engine
 * @property {(sampleRate: number, wish: Wish, listener: Listener) => Session} listen
 */

/** @param {{key: () => string}} context @returns {Promise<Engine>} */
export async function openEngine(context) {
  return new ServerEngine(context);
}
