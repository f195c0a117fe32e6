// Small helpers for the document. Text is only ever set as text.

export const byId = (id) => document.getElementById(id);

/** @param {string} tag @param {Record<string, unknown>} [properties] `class`, `data-*`, `aria-*` and `role` are attributes */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(class|role|for|data-|aria-)/.test(name)) element.setAttribute(name, String(value));
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of icons.svg; names of controls say what it means, so screen readers pass over it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** Change the icon of a button in place. */
export const setIcon = (button, name) => button.querySelector("use").setAttribute("href", `icons.svg#${name}`);

/** Say something to screen readers without showing it. */
export function announce(words) {
  byId("announcer").textContent = words;
}

/** Offer a text or a blob as a file. */
export function save(content, name) {
  const address = URL.createObjectURL(content);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers read it late
}
