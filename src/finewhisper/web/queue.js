// Recordings are transcribed one after the other; a busy server is asked again.

import { Problem } from "./engines/problem.js";
import { outline } from "./audio/peaks.js";

const STORE_EVERY_MS = 1000;
const AGAIN = new Set(["busy", "stopping"]); // what passes by itself

export class Queue {
  #library;
  #engine;
  #waiting = [];
  #current = null; // {id, stopper, hurry}

  /** @param {import("./library.js").Library} library @param {import("./engines/engine.js").Engine} engine */
  constructor(library, engine) {
    this.#library = library;
    this.#engine = engine;
  }

  /** @param {string} id @param {import("./engines/engine.js").Wish} [wish] other than before */
  add(id, wish) {
    const recording = this.#library.get(id);
    const changes = { state: "waiting", problem: null, progress: null, left: null };
    this.#library.change(id, wish ? { ...changes, wish, job: "" } : changes);
    if (recording && !this.#works(id) && !this.#waiting.includes(id)) this.#waiting.push(id);
    if (recording) this.#library.claims.claim(id);
    this.#next();
  }

  /** Leave it untranscribed, or with what has been understood so far. @returns {boolean} whether this tab had it to do */
  stop(id) {
    const stopped = { state: "stopped", problem: null, progress: null, left: null };
    const waited = this.#waiting.includes(id);
    if (waited) this.#library.change(id, stopped);
    this.#waiting = this.#waiting.filter((other) => other !== id);
    if (!this.#works(id)) {
      if (waited) this.#library.claims.release(id);
      return waited;
    }
    this.#current.stopper.abort();
    this.#library.change(id, { ...stopped, job: "", earlier: null, segments: this.#library.get(id)?.segments }); // at once: it may be deleted next, and come back
    return true;
  }

  /** What was stopped may take a moment to end, and may be waiting again by then. */
  #works(id) {
    return this.#current?.id === id && !this.#current.stopper.signal.aborted;
  }

  /** Do not wait until a busy server may be asked again. */
  hurry(id) {
    if (this.#current?.id === id) this.#current.hurry();
  }

  async #next() {
    if (this.#current || !this.#waiting.length) return;
    const id = this.#waiting.shift();
    this.#current = { id, stopper: new AbortController(), hurry: () => {} };
    try {
      await this.#persist(id, this.#current.stopper.signal);
    } catch (error) {
      this.#ended(id, error);
    } finally {
      this.#current = null;
      if (!this.#waiting.includes(id)) this.#library.claims.release(id);
    }
    this.#next();
  }

  #ended(id, error) {
    if (this.#current.stopper.signal.aborted) return undefined; // as `stop` left it, or waiting again
    if (error.name === "AbortError") return this.#library.change(id, { state: "stopped", problem: null, progress: null, job: "", earlier: null });
    const { code, wait, details } = error instanceof Problem ? error : new Problem("server", { details: String(error) });
    if (!(error instanceof Problem)) console.error(error);
    const { earlier, segments } = this.#library.get(id) ?? {};
    return this.#library.change(id, { state: "failed", progress: null, segments: earlier?.length ? earlier : segments ?? [], earlier: null, job: code === "offline" ? this.#library.get(id)?.job ?? "" : "", problem: { code, wait, details } });
  }

  async #persist(id, signal) {
    for (;;) {
      try {
        return await this.#transcribe(id, signal);
      } catch (error) {
        if (!AGAIN.has(error.code)) throw error;
        await this.#pause(id, error, signal);
      }
    }
  }

  /** Count the seconds down, so that one sees that something will happen. */
  async #pause(id, { code, wait, details }, signal) {
    for (let left = Math.ceil(wait); left > 0; left--) {
      this.#library.change(id, { state: "waiting", progress: null, problem: { code, wait: left, details } });
      const hurried = await new Promise((resolve, reject) => {
        const timer = setTimeout(() => resolve(false), 1000);
        this.#current.hurry = () => resolve(true);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          reject(new DOMException("stopped", "AbortError"));
        });
      });
      if (hurried) return;
    }
  }

  async #transcribe(id, signal) {
    const library = this.#library;
    const sound = await library.sound(id);
    const { job, wish } = library.get(id);
    if (!sound && !job) throw new Problem("gone");
    if (sound) await this.#outline(id, sound);
    const recording = library.get(id);
    if (!recording || signal.aborted) throw new DOMException("stopped", "AbortError");
    const left = new TimeLeft();
    const segments = []; // an earlier text stays until the new one begins, and is stored until that is done
    let storedAt = -Infinity;
    library.change(id, { state: "working", problem: null, earlier: recording.earlier ?? (recording.segments.length ? recording.segments : null) });
    const transcript = await this.#engine.transcribe(sound ?? new Blob(), wish, {
      signal,
      duration: recording.duration,
      job,
      accepted: (name) => library.change(id, { job: name }),
      progress: (progress) => library.change(id, { progress, left: left.after(progress) }),
      segment: (segment) => {
        segments.push(segment);
        const due = performance.now() - storedAt > STORE_EVERY_MS; // closing the page loses no more
        if (due) storedAt = performance.now();
        library.change(id, due ? { segments, language: recording.language } : { progress: recording.progress });
      },
    });
    const duration = recording.duration ?? transcript.duration ?? transcript.segments.at(-1)?.end ?? null;
    const accepted = recording.job;
    const stored = library.change(id, { state: "done", progress: null, left: null, job: "", segments: transcript.segments, earlier: null, language: transcript.language, duration });
    if ((await stored) && accepted) this.#engine.forget(accepted); // not before: the page may be closed at any moment
  }

  async #outline(id, sound) {
    if (this.#library.get(id)?.duration) return;
    const seen = await outline(sound);
    if (seen) this.#library.change(id, { outline: seen.values, duration: seen.duration });
  }
}

/** How long the rest takes if it goes on as it did since it was first asked; an earlier visit may have seen the beginning. */
class TimeLeft {
  #began = 0;
  #from = 0;

  /** @param {import("./engines/engine.js").Progress} progress @returns {number | null} seconds */
  after({ phase, fraction }) {
    if (phase !== "hear") return null;
    if (!this.#began) [this.#began, this.#from] = [performance.now(), fraction ?? 0];
    const spent = (performance.now() - this.#began) / 1000;
    const done = (fraction ?? 0) - this.#from;
    return done > 0.02 && spent > 1 ? (spent * (1 - fraction)) / done : null;
  }
}
