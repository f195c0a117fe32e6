// All recordings of this browser, newest first. Views listen for changes; nothing else writes to the store.
// Other tabs have the same recordings: a change touches only what it names, and is told to them.

import { channel, Claims } from "./claims.js";
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
 * @property {Segment[]} segments
 * @property {Segment[] | null} earlier what there was before it was transcribed again, until that is done
 *
 * @typedef {import("./engines/engine.js").Segment & {original?: {text: string}}} Segment
 */

export class Library extends EventTarget {
  #store;
  #recordings = new Map();
  #sounds = new Map(); // of this visit, in case the store cannot keep them
  #tellOthers = channel((message) => this.#heard(message));
  #watched = new Set(); // what other tabs work on
  claims = new Claims();

  static async open() {
    const library = new Library();
    library.#store = await Store.open();
    const claimed = await library.claims.all();
    for (const recording of await library.#store.recordings()) {
      const elsewhere = inProgress(recording) && claimed.has(recording.id);
      library.#recordings.set(recording.id, elsewhere ? { ...recording, progress: null, left: null } : resumed(recording));
      if (elsewhere) library.#watch(recording.id);
    }
    return library;
  }

  /** Look after what another tab works on, in case that is closed. */
  async #watch(id) {
    if (this.#watched.has(id) || !this.claims.known) return;
    this.#watched.add(id);
    await this.claims.over(id);
    this.#watched.delete(id);
    const stored = await this.#store.recording(id).catch(() => undefined);
    if (!stored || !inProgress(stored) || this.claims.has(id)) return;
    this.#recordings.set(id, resumed(stored));
    this.#tell(id);
    if (stored.job) this.dispatchEvent(new CustomEvent("resume", { detail: id }));
  }

  /** Another tab has changed something, or wants something. */
  async #heard({ changed, stop }) {
    if (stop) this.dispatchEvent(new CustomEvent("stop", { detail: stop }));
    if (!changed) return;
    const stored = await this.#store.recording(changed).catch(() => undefined);
    if (stored && this.claims.has(changed)) return; // what this tab works on, it knows better
    if (stored) this.#recordings.set(changed, { ...stored, progress: null, left: null });
    else this.#recordings.delete(changed);
    this.#tell(changed);
    if (stored && inProgress(stored)) this.#watch(changed);
  }

  /** Whichever tab works on it shall stop. */
  askToStop(id) {
    this.#tellOthers({ stop: id });
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
      state: "waiting", progress: null, left: null, problem: null, language: "", job: "", segments: [], earlier: null, ...known,
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
    const stored = lasting && this.#write(id, (kept) => ({ ...kept, ...changes }));
    this.#tell(id);
    return stored;
  }

  /**
   * Change one segment as it was shown; another tab may have changed it meanwhile, or all of them.
   * @param {string} id @param {Segment} shown @param {(segment: Segment) => Segment} edit
   * @returns {Promise<{replaced: boolean, other: Segment | null}>} whether it is gone, and what another tab had made of it
   */
  async edit(id, shown, edit) {
    const recording = this.#recordings.get(id);
    const found = { replaced: false, other: null };
    const applied = (segments) => {
      const at = segments.findIndex(({ start, end }) => start === shown.start && end === shown.end);
      found.replaced = at < 0;
      if (found.replaced) return segments;
      if (segments[at].text !== shown.text) found.other = segments[at];
      return segments.with(at, edit(segments[at]));
    };
    const segments = applied(recording.segments);
    Object.assign(recording, { segments });
    this.#tell(id);
    await this.#write(id, (kept) => Object.assign(recording, { segments: applied(kept.segments) }) && { ...kept, segments: recording.segments });
    this.#tell(id);
    return found;
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
    this.#tellOthers({ changed: id });
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
    for (const id of gone) {
      this.#tell(id);
      this.#tellOthers({ changed: id });
    }
  }

  async #keep(recording, sound) {
    try {
      if (sound) await this.#store.writeSound(recording.id, sound);
      for (const id of surplus(this.all)) await this.#forgetSound(id);
    } catch {
      recording.sound = this.#sounds.has(recording.id); // until the page is closed
      this.dispatchEvent(new Event("full"));
    }
    await this.#write(recording.id);
  }

  async #forgetSound(id) {
    await this.#store.removeSound(id);
    this.#sounds.delete(id);
    this.change(id, { sound: false });
  }

  /** @param {string} id @param {(kept: Recording) => Recording} [update] of what is stored; without it, all of a recording is new */
  async #write(id, update) {
    try {
      if (update) await this.#store.change(id, update);
      else await this.#store.write(this.#recordings.get(id));
      this.#tellOthers({ changed: id });
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

const inProgress = ({ state }) => state === "working" || state === "waiting";

/** What was in progress when the page was closed goes on only where the server kept it; an earlier text comes back, else there is as much as was heard. */
function resumed(recording) {
  const still = { ...recording, progress: null, left: null };
  if (!inProgress(recording)) return still;
  if (recording.job) return { ...still, state: "waiting" };
  const segments = recording.earlier?.length ? recording.earlier : recording.segments;
  return { ...still, state: "stopped", segments, earlier: null, problem: { code: "unfinished", details: "" } };
}

/** Unique in this browser; `crypto.randomUUID` is missing where the page is not served securely. */
function identity() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
