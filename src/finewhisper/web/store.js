// Recordings in the browser's own database: what is known of them, and their sound up to a limit.

const NAME = "finewhisper";
const AUDIO_LIMIT_BYTES = 500e6; // the oldest sound goes first; texts are kept

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("recordings", { keyPath: "id" });
      request.result.createObjectStore("sounds");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another page holds the database"));
  });
}

export class Store {
  #database;

  /** @param {IDBDatabase | null} database null keeps nothing */
  constructor(database) {
    this.#database = database;
  }

  /** @returns {Promise<Store>} */
  static async open() {
    try {
      return new Store(await open());
    } catch {
      return new Store(null);
    }
  }

  get keeps() {
    return this.#database !== null;
  }

  /** @returns {Promise<import("./library.js").Recording[]>} */
  async recordings() {
    return (await this.#do("recordings", "readonly", (store) => store.getAll())) ?? [];
  }

  /** @returns {Promise<import("./library.js").Recording | undefined>} */
  async recording(id) {
    return this.#do("recordings", "readonly", (store) => store.get(id));
  }

  async write(recording) {
    await this.#do("recordings", "readwrite", (store) => store.put(recording));
  }

  /**
   * Change what is stored, in one step: another tab may have changed other parts of it, or deleted it.
   * @param {string} id @param {(stored: import("./library.js").Recording) => import("./library.js").Recording} update
   * @returns {Promise<import("./library.js").Recording | undefined>} what is stored now
   */
  async change(id, update) {
    let written;
    await this.#do("recordings", "readwrite", (store) => {
      const request = store.get(id);
      request.onsuccess = () => request.result && store.put((written = update(request.result)));
      return request;
    });
    return written;
  }

  /** @param {string} id @param {Blob} sound */
  async writeSound(id, sound) {
    await this.#do("sounds", "readwrite", (store) => store.put(sound, id));
  }

  /** @returns {Promise<Blob | null>} */
  async sound(id) {
    return (await this.#do("sounds", "readonly", (store) => store.get(id))) ?? null;
  }

  async removeSound(id) {
    await this.#do("sounds", "readwrite", (store) => store.delete(id));
  }

  async remove(id) {
    await this.removeSound(id);
    await this.#do("recordings", "readwrite", (store) => store.delete(id));
  }

  async clear() {
    await this.#do("sounds", "readwrite", (store) => store.clear());
    await this.#do("recordings", "readwrite", (store) => store.clear());
  }

  #do(name, mode, action) {
    if (!this.#database) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(name, mode);
      const request = action(transaction.objectStore(name));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

/** Which recordings lose their sound so that all of it stays within the limit. @param {{id: string, created: number, size: number, sound: boolean}[]} recordings */
export function surplus(recordings, limit = AUDIO_LIMIT_BYTES) {
  let sum = 0;
  return recordings
    .filter(({ sound }) => sound)
    .sort((one, other) => other.created - one.created)
    .filter(({ size }, index) => (sum += size) > limit && index > 0)
    .map(({ id }) => id);
}
