// What the server's answers mean: pieces of a stream, and reasons for a refusal.

import { Problem } from "./problem.js";

const CODES = { 401: "key", 403: "key", 404: "model", 411: "large", 413: "large", 415: "refused", 422: "refused", 429: "busy", 503: "stopping" };
const WAIT_S = { busy: 5, stopping: 10 }; // where the server does not say

/** The objects of a stream in which a zero byte follows each; keeps what is not complete yet. */
export class Pieces {
  #read = 0;

  /** @param {string} whole everything received so far @returns {object[]} those that are new */
  of(whole) {
    const end = whole.lastIndexOf("\0");
    if (end < this.#read) return [];
    const fresh = whole.slice(this.#read, end);
    this.#read = end + 1;
    return fresh.split("\0").filter((piece) => piece.trim()).map((piece) => JSON.parse(piece));
  }
}

/** @param {number} status @param {string} body @param {(name: string) => string | null} header */
export function problemOf(status, body, header) {
  const code = CODES[status] ?? (status >= 500 ? "server" : "refused");
  const asked = Number.parseFloat(header("Retry-After") ?? "");
  return new Problem(code, { wait: Number.isFinite(asked) ? asked : WAIT_S[code], details: reason(body) });
}

/** The sentence in either API's errors: `{error: {message}}` and `{code, msg}`. */
function reason(body) {
  try {
    const found = JSON.parse(body);
    return String(found.error?.message ?? found.msg ?? found.detail ?? "");
  } catch {
    return body.slice(0, 500); // of something between here and the server
  }
}
