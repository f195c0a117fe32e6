// The engine behind this page's own address: the HTTP and WebSocket interfaces of `finewhisper serve`.

import { Pieces, problemOf } from "./answers.js";
import { Problem } from "./problem.js";
import { listen } from "./live.js";

const JOB_FROM_S = 600; // longer recordings are left with the server, so that closing the page loses nothing
const JOB_FROM_BYTES = 40e6; // where nobody knows how long they are
const POLL_MS = 1500;

/** @implements {import("./engine.js").Engine} */
export class ServerEngine {
  #key;

  /** @param {{key: () => string}} context */
  constructor({ key }) {
    this.#key = key;
  }

  async models() {
    const answer = await this.#json("v1/models");
    return answer.data.map(({ id }) => String(id));
  }

  async transcribe(sound, wish, watch) {
    const long = watch.duration === null ? sound.size > JOB_FROM_BYTES : watch.duration >= JOB_FROM_S;
    if (!watch.job && !long) return this.#byStream(sound, wish, watch);
    try {
      return await this.#byJob(sound, wish, watch);
    } catch (error) {
      if (error.code !== "model" || !sound.size) throw error;
      return this.#byStream(sound, wish, watch); // this server keeps no jobs, or has forgotten this one
    }
  }

  forget(job) {
    this.#json(`v1/jobs/${encodeURIComponent(job)}`, { method: "DELETE" }).catch(() => {}); // it forgets by itself some time
  }

  listen(sampleRate, wish, listener) {
    return listen(sampleRate, wish, this.#key(), listener);
  }

  /** One connection that brings each segment when it is understood. */
  async #byStream(sound, wish, watch) {
    const form = new FormData();
    form.append("audio", sound, "sound");
    for (const [name, value] of Object.entries(fields(wish, "None"))) form.append(name, value);
    const pieces = new Pieces();
    const transcript = { language: wish.language, duration: watch.duration, segments: [] };
    await this.#send("recognition_stream", form, watch, (received) => {
      for (const piece of pieces.of(received)) take(piece, transcript, watch);
    });
    return transcript;
  }

  async #byJob(sound, wish, watch) {
    let id = watch.job;
    if (!id) {
      const form = new FormData();
      form.append("file", sound, "sound");
      for (const [name, value] of Object.entries(fields(wish, ""))) form.append(name, value);
      id = JSON.parse(await this.#send("v1/jobs", form, watch)).id;
      watch.accepted(id);
    }
    const stop = () => this.forget(id);
    watch.signal.addEventListener("abort", stop);
    try {
      return await this.#result(id, watch);
    } finally {
      watch.signal.removeEventListener("abort", stop);
    }
  }

  async #result(id, watch) {
    for (;;) {
      const job = await this.#json(`v1/jobs/${encodeURIComponent(id)}`, { signal: watch.signal });
      if (job.state === "done") return transcriptOf(job.result);
      if (job.state === "failed") throw new Problem("refused", { details: String(job.error?.message ?? job.error ?? "") });
      if (job.state === "cancelled") throw new DOMException("cancelled", "AbortError");
      watch.progress(job.state === "queued" ? { phase: "queue", fraction: null } : { phase: "hear", fraction: job.progress ?? null });
      await pause(POLL_MS, watch.signal);
    }
  }

  async #json(path, request = {}) {
    let response;
    try {
      response = await fetch(path, { ...request, headers: this.#headers() });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("offline");
    }
    const body = await response.text();
    if (!response.ok) throw problemOf(response.status, body, (name) => response.headers.get(name));
    return body ? JSON.parse(body) : {};
  }

  #headers() {
    const key = this.#key();
    return key ? { Authorization: `Bearer ${key}` } : {};
  }

  /** POST a form. XMLHttpRequest, because fetch does not tell how much has been sent. */
  #send(path, form, watch, received = () => {}) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      watch.signal.addEventListener("abort", stop);
      request.open("POST", path);
      for (const [name, value] of Object.entries(this.#headers())) request.setRequestHeader(name, value);
      const told = (action) => () => {
        try {
          action();
        } catch (error) {
          reject(error);
          request.abort();
        }
      };
      request.upload.onprogress = ({ loaded, total }) => watch.progress({ phase: "send", fraction: total ? loaded / total : null });
      request.upload.onload = () => watch.progress({ phase: "hear", fraction: null });
      request.onprogress = told(() => request.status === 200 && received(request.responseText));
      request.onload = told(() => {
        const { status, responseText } = request;
        if (status < 200 || status > 299) throw problemOf(status, responseText, (name) => request.getResponseHeader(name));
        received(responseText);
        resolve(responseText);
      });
      request.onerror = () => reject(new Problem("offline"));
      request.onabort = () => reject(new DOMException("stopped", "AbortError"));
      request.onloadend = () => watch.signal.removeEventListener("abort", stop);
      request.send(form);
    });
  }
}

/** Both interfaces know these fields; a detected language has its own value in each. */
const fields = ({ model, language, task, simplified, punctuation }, detected) => ({
  ...(model ? { model } : {}),
  language: language || detected,
  task,
  to_simple: simplified ? "1" : "0",
  remove_pun: punctuation ? "0" : "1",
});

function take(piece, transcript, watch) {
  if (piece.code) throw problemOf(piece.code, JSON.stringify(piece), () => null); // the code is the status that came too late to be one
  if (typeof piece.language === "string") transcript.language = piece.language;
  if (typeof piece.duration === "number") transcript.duration = piece.duration;
  if (piece.result === undefined) return;
  const segment = { start: Number(piece.start), end: Number(piece.end), text: String(piece.result) };
  transcript.segments.push(segment);
  watch.segment(segment);
  watch.progress({ phase: "hear", fraction: transcript.duration ? Math.min(segment.end / transcript.duration, 1) : null, heard: segment.end });
}

/** @returns {import("./engine.js").Transcript} of a job's result */
const transcriptOf = ({ language, duration, segments }) => ({
  language: language ?? "",
  duration: duration ?? null,
  segments: segments.map(({ start, end, text }) => ({ start, end, text: String(text).trim() })),
});

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}
