// What went wrong, in plain words, with what to do; and short messages that pass.

import { byId, icon, make } from "../dom.js";
import { explained, label, spoken, t } from "../words.js";

/**
 * @typedef {{code: string, wait?: number, details?: string}} Said what an engine's Problem says
 * @typedef {[string, () => void][]} Actions keys of the strings and what they do
 */

const OPENED = new Set(["refused", "changed", "replaced"]); // whose details are what it is about

/** @param {Said} problem @param {Actions} actions */
export function notice({ code, wait, details }, actions = []) {
  const { title, advice } = explained(code, wait);
  const what = make("div", { class: "what" }, make("b", {}, title), make("span", { class: "advice" }, advice));
  if (details) what.append(make("details", { open: OPENED.has(code) }, make("summary", {}, t("details")), make("span", {}, details)));
  if (actions.length) what.append(make("div", { class: "buttons" }, ...actions.map(([key, onclick]) => make("button", { type: "button", onclick }, t(key)))));
  return make("div", { class: "notice", role: "alert", "data-code": code }, icon("warning"), what);
}

const open = new Map(); // by what they say
let language; // of the open ones

/** A notice at the top that the user closes. @param {Said} problem @param {Actions} actions */
export function warn(problem, actions = []) {
  const key = `${problem.code} ${problem.details ?? ""}`;
  open.get(key)?.shown.remove();
  const dismiss = () => (open.delete(key), shown.remove());
  const shown = notice(problem, actions.map(([name, action]) => [name, () => (dismiss(), action())]));
  const close = make("button", { type: "button", class: "quiet", onclick: dismiss }, icon("close"));
  label(close, t("dismiss"));
  shown.append(close);
  open.set(key, { problem, actions, shown });
  byId("notices").append(shown);
}

/** Write them again where the page's language has changed; otherwise alerts would be announced twice. */
export function renderNotices() {
  if (language === spoken()) return;
  language = spoken();
  for (const { problem, actions } of [...open.values()]) warn(problem, actions);
}

export function clearNotices() {
  for (const { shown } of open.values()) shown.remove();
  open.clear();
}

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
