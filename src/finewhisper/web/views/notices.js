// What went wrong, in plain words, with what to do; and short messages that pass.

import { byId, icon, make } from "../dom.js";
import { explained, label, t } from "../words.js";

/**
 * @param {{code: string, wait?: number, details?: string}} problem
 * @param {[string, () => void][]} actions words and what they do
 */
export function notice({ code, wait, details }, actions = []) {
  const { title, advice } = explained(code, wait);
  const what = make("div", { class: "what" }, make("b", {}, title), make("span", { class: "advice" }, advice));
  if (details) what.append(make("details", { open: code === "refused" }, make("summary", {}, t("details")), make("span", {}, details)));
  if (actions.length) what.append(make("div", { class: "buttons" }, ...actions.map(([words, onclick]) => make("button", { type: "button", onclick }, words))));
  return make("div", { class: "notice", role: "alert", "data-code": code }, icon("warning"), what);
}

/** A notice at the top that the user closes. */
export function warn(problem, actions = []) {
  const shown = notice(problem, actions);
  const close = make("button", { type: "button", class: "quiet", onclick: () => shown.remove() }, icon("close"));
  label(close, t("dismiss"));
  shown.append(close);
  for (const other of byId("notices").querySelectorAll(`[data-code="${problem.code}"]`)) other.remove();
  byId("notices").append(shown);
}

export const clearNotices = () => byId("notices").replaceChildren();

const TOAST_MS = 7000;
let timer;

/** @param {string} words @param {[string, () => void]} [action] */
export function toast(words, action) {
  const place = byId("toast");
  clearTimeout(timer);
  const hide = () => (place.hidden = true);
  place.replaceChildren(make("span", {}, words));
  if (action) {
    const [name, run] = action;
    place.append(make("button", { type: "button", class: "link", onclick: () => (hide(), run()) }, name));
  }
  place.hidden = false;
  timer = setTimeout(hide, TOAST_MS);
}
