// The server's live socket: PCM frames out, words in.

import { Problem } from "./problem.js";

const CODES = { rate_limit_error: "busy", authentication_error: "key", not_found_error: "model", invalid_request_error: "refused" };

/** Sockets of browsers send no headers of their own, and addresses end up in the logs of proxies. A protocol's name takes few characters. */
function protocols(key) {
  if (!key) return [];
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(key)));
  return ["finewhisper", `finewhisper-key.${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`];
}

/** @returns {import("./engine.js").Session} */
export function listen(sampleRate, { model, language, task, simplified, punctuation }, key, listener) {
  const address = new URL("v1/listen", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const text = { to_simple: simplified ? "1" : "", remove_pun: punctuation ? "" : "1" };
  const query = { model, language, task, ...text, encoding: "pcm_s16le", sample_rate: String(sampleRate) };
  for (const [name, value] of Object.entries(query)) if (value) address.searchParams.set(name, value);

  const socket = new WebSocket(address, protocols(key));
  let held = []; // what was said before the connection was there
  let over = false;
  const fail = (problem) => {
    if (over) return;
    over = true;
    listener.failed(problem);
    socket.close();
  };
  socket.onopen = () => {
    for (const message of held) socket.send(message);
    held = [];
  };
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "ready") listener.ready();
    else if (event.type === "partial") listener.partial(event);
    else if (event.type === "final") listener.final({ ...event, text: String(event.text).trim() });
    else if (event.type === "error") fail(new Problem(CODES[event.code] ?? "server", { details: String(event.message) }));
    else if (event.type === "done") {
      over = true;
      listener.done();
    }
  };
  socket.onclose = () => fail(new Problem("offline"));

  const send = (message) => (socket.readyState === WebSocket.CONNECTING ? held.push(message) : socket.readyState === WebSocket.OPEN && socket.send(message));
  return {
    send: (samples) => send(samples),
    end: () => send(JSON.stringify({ type: "end" })),
    close: () => {
      over = true;
      socket.close();
    },
  };
}
