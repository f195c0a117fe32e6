// Single keys, where nothing is being written and no dialog is open.

import { settings } from "./settings.js";

/** What the list shows: keys and a key of the strings. */
export const SHORTCUTS = [
  [["Space"], "keyPlay"],
  [["←", "→"], "keySeek"],
  [["↑", "↓"], "keySegment"],
  [["E"], "keyEdit"],
  [["Enter"], "keyKeep"],
  [["Escape"], "keyDrop"],
  [["R"], "keyRecord"],
  [["U"], "keyChoose"],
  [["N"], "keyNew"],
  [["C"], "keyCopy"],
  [["?"], "keyHelpShown"],
];

const WRITING = "input:not([type=checkbox]), select, textarea, [contenteditable]";
const PRESSED = "button, a, summary, input"; // Space and Enter are theirs

/** @param {Record<string, () => unknown>} actions by `event.key`; letters in lower case; false: nothing was done, and the browser does what it does */
export function initShortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const name = key.length === 1 ? key.toLowerCase() : key;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (!(name in actions) || target.closest(WRITING) || document.querySelector("dialog[open]")) return;
    if (name === " " && target.closest(PRESSED)) return;
    if (name.length === 1 && name !== " " && !settings.singleKeys) return;
    if (actions[name]() !== false) event.preventDefault();
  });
}
