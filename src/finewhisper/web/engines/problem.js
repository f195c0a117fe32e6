// What an engine throws.

/** Why an engine could not do what it was asked: `code` is a key of the strings' `errors`. */
export class Problem extends Error {
  /** @param {string} code @param {{wait?: number, details?: string}} [more] `wait` in seconds until it is worth trying again */
  constructor(code, { wait, details = "" } = {}) {
    super(details || code);
    this.name = "Problem";
    this.code = code;
    this.wait = wait;
    this.details = details;
  }
}
