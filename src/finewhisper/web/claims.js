// Several tabs share one store: which of them transcribes what, and what they tell one another.

const PREFIX = "finewhisper ";
const SETTLE_MS = 1500; // a tab that is loaded again takes its work up before others look after it

/** What tabs of this browser work on. Where the page is not served securely there are no locks: then each knows only its own work. */
export class Claims {
  #mine = new Map(); // what ends each claim

  /** @param {string} id */
  has(id) {
    return this.#mine.has(id);
  }

  /** Whether it can be told what other tabs work on. */
  get known() {
    return "locks" in navigator;
  }

  claim(id) {
    if (this.#mine.has(id)) return;
    const held = new Promise((resolve) => this.#mine.set(id, resolve));
    navigator.locks?.request(PREFIX + id, () => held);
  }

  release(id) {
    this.#mine.get(id)?.();
    this.#mine.delete(id);
  }

  /** @returns {Promise<Set<string>>} what other tabs work on, and this one */
  async all() {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    return new Set(held.filter(({ name }) => name.startsWith(PREFIX)).map(({ name }) => name.slice(PREFIX.length)));
  }

  /** Until no tab works on it any more. */
  async over(id) {
    do {
      await navigator.locks?.request(PREFIX + id, () => {});
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    } while ((await this.all()).has(id));
  }
}

/** Messages between tabs. @param {(message: {changed?: string, stop?: string}) => void} heard @returns {(message: object) => void} tells the others */
export function channel(heard) {
  if (!("BroadcastChannel" in globalThis)) return () => {};
  const opened = new BroadcastChannel("finewhisper");
  opened.onmessage = ({ data }) => heard(data);
  return (message) => opened.postMessage(message);
}
