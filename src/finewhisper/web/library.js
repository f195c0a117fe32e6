// All recordings of this browser, newest first. Views listen for changes; nothing else writes to the store.

import { Store, surplus } from "./store.js";

/**
 * @typedef {object} Recording
 * @property {string} id
 * @property {string} name
 * @property {"file" | "microphone"} kind
 * @property {boolean} video
 * @property {number} created milliseconds since 1970
 * @property {number} size of the sound in bytes
 * @property {number | null} duration in seconds
 * @property {Uint8Array | null} outline
 * @property {boolean} sound whether it is kept
 * @property {"waiting" | "working" | "done" | "failed" | "stopped"} state
 * @property {import("./engines/engine.js").Progress | null} progress
 * @property {number | null} left seconds that are still needed, about
 * @property {{code: string, wait?: number, details: string} | null} problem
 * @property {import("./engines/engine.js").Wish} wish
 * @property {string} language as it was heard
 * @property {string} job
 * @property {(import("./engines/engine.js").Segment & {original?: string})[]} segments
 */

export class Library extends EventTarget {
  #store;
  #recordings = new Map();
  #sounds = new Map(); // of this visit, in case the store cannot keep them

  static async open() {
    const library = new Library();
    library.#store = await Store.open();
    for (const recording of await library.#store.recordings()) library.#recordings.set(recording.id, library.#resumed(recording));
    return library;
  }

  /** What was in progress when the page was closed goes on only where the server kept it. */
  #resumed(recording) {
    const cut = recording.state === "working" || recording.state === "waiting";
    return { ...recording, progress: null, left: null, state: cut ? (recording.job ? "waiting" : "stopped") : recording.state };
  }

  get keeps() {
    return this.#store.keeps;
  }

  /** @returns {Recording[]} newest first */
  get all() {
    return [...this.#recordings.values()].sort((one, other) => other.created - one.created);
  }

  get bytes() {
    return this.all.reduce((sum, { sound, size }) => sum + (sound ? size : 0), 0);
  }

  /** @returns {Recording | undefined} */
  get(id) {
    return this.#recordings.get(id);
  }

  /** @param {Partial<Recording>} known @param {Blob} sound @returns {Promise<Recording>} */
  async add(known, sound) {
    const recording = {
      id: identity(), kind: "file", video: false, created: this.#moment(), size: sound.size, duration: null, outline: null, sound: true,
      state: "waiting", progress: null, left: null, problem: null, language: "", job: "", segments: [], ...known,
    };
    this.#sounds.set(recording.id, sound);
    this.#recordings.set(recording.id, recording);
    await this.#keep(recording, sound);
    this.#tell(recording.id);
    return recording;
  }

  /** Now, but later than every recording's: several files may come within a millisecond. */
  #moment() {
    return Math.max(Date.now(), ...this.all.map(({ created }) => created + 1));
  }

  /**
   * @param {string} id @param {Partial<Recording>} changes progress alone is shown but not written
   * @returns {Promise<boolean>} whether they are stored
   */
  async change(id, changes) {
    const recording = this.#recordings.get(id);
    if (!recording) return false;
    Object.assign(recording, changes);
    const lasting = Object.keys(changes).some((name) => name !== "progress" && name !== "left");
    const stored = lasting && this.#write(recording);
    this.#tell(id);
    return stored;
  }

  /** @returns {Promise<Blob | null>} */
  async sound(id) {
    return this.#sounds.get(id) ?? (await this.#store.sound(id).catch(() => null));
  }

  /** @returns {Promise<() => Promise<void>>} puts it back */
  async remove(id) {
    const [recording, sound] = [this.#recordings.get(id), await this.sound(id)];
    this.#recordings.delete(id);
    this.#sounds.delete(id);
    await this.#store.remove(id);
    this.#tell(id);
    return async () => {
      this.#recordings.set(id, recording);
      if (sound) this.#sounds.set(id, sound);
      await this.#keep(recording, sound);
      this.#tell(id);
    };
  }

  async clear() {
    const gone = [...this.#recordings.keys()];
    this.#recordings.clear();
    this.#sounds.clear();
    await this.#store.clear();
    for (const id of gone) this.#tell(id);
  }

  async #keep(recording, sound) {
    try {
      if (sound) await this.#store.writeSound(recording.id, sound);
      for (const id of surplus(this.all)) await this.#forgetSound(id);
    } catch {
      recording.sound = this.#sounds.has(recording.id); // until the page is closed
      this.dispatchEvent(new Event("full"));
    }
    await this.#write(recording);
  }

  async #forgetSound(id) {
    await this.#store.removeSound(id);
    this.#sounds.delete(id);
    this.change(id, { sound: false });
  }

  async #write(recording) {
    try {
      await this.#store.write(recording);
      return true;
    } catch {
      this.dispatchEvent(new Event("full"));
      return false;
    }
  }

  #tell(id) {
    this.dispatchEvent(new CustomEvent("change", { detail: id }));
  }
}

/** Unique in this browser; `crypto.randomUUID` is missing where the page is not served securely. */
function identity() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
