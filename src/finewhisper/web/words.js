// The page's own language: looks words up and writes them into the document.

import { strings } from "./strings.js";

let current = "en";

/** The language that fits best: the chosen one, else the browser's. @param {string} chosen "en", "zh" or "" */
export function best(chosen) {
  if (chosen in strings) return chosen;
  const wished = (navigator.languages ?? [navigator.language]).map((tag) => tag.toLowerCase().split("-")[0]);
  return wished.find((tag) => tag in strings) ?? "en";
}

/** @param {string} name "en" or "zh" */
export function speak(name) {
  current = name;
  document.documentElement.lang = name === "zh" ? "zh-Hans" : name;
  fill(document);
}

export const spoken = () => current;

/** For dates and numbers: the browser's own, such as en-GB, where it is of the page's language. */
export const locale = () => navigator.languages?.find((tag) => tag.toLowerCase().split("-")[0] === current) ?? current;

/** The words for a key such as `record`; functions get the values. A missing key is a defect. */
export function t(key, ...values) {
  const found = strings[current][key];
  if (found === undefined) throw new Error(`no words for ${key}`);
  return typeof found === "function" ? found(...values) : found;
}

/** Title and advice of a problem. @param {string} code @param {number} [wait] in seconds */
export const explained = (code, wait) => (strings[current].errors[code] ?? strings[current].errors.server)(wait);

/** Write the words into everything that names its key in `data-text` or `data-label` (accessible name and tip). */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) label(element, t(element.dataset.label));
}

/** The accessible name of a control without text, and its tip. */
export function label(element, words) {
  element.setAttribute("aria-label", words);
  if (element.tagName === "BUTTON") element.title = words;
}

/** A language's name in the page's language. @param {string} code as Whisper writes it */
export function languageName(code) {
  const standard = { jw: "jv" }[code] ?? code; // Whisper's code for Javanese is older than the standard
  return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(standard) ?? code;
}
