// Settings, the list of shortcuts, and questions before something is lost.

import { byId, make } from "../dom.js";
import { choose, settings } from "../settings.js";
import { SHORTCUTS } from "../shortcuts.js";
import { t } from "../words.js";
import { moveOptions } from "./options.js";

/** @param {() => void} changed the page's language or appearance */
export function initDialogs(changed) {
  byId("open-settings").onclick = () => openSettings();
  byId("open-shortcuts").onclick = () => openShortcuts();
  byId("interface").onchange = ({ target }) => (choose({ interface: target.value }), changed());
  byId("theme").onchange = ({ target }) => (choose({ theme: target.value }), changed());
  byId("key").oninput = ({ target }) => choose({ key: target.value.trim() });
  byId("keep-key").onchange = ({ target }) => choose({ keepKey: target.checked });
  byId("single-keys").onchange = ({ target }) => choose({ singleKeys: target.checked });
}

export function openSettings(field = "interface") {
  byId("interface").value = document.documentElement.lang.slice(0, 2);
  byId("theme").value = settings.theme;
  byId("key").value = settings.key;
  byId("keep-key").checked = settings.keepKey;
  byId("single-keys").checked = settings.singleKeys;
  byId("settings-dialog").showModal();
  byId(field).focus();
}

export function openShortcuts() {
  const rows = SHORTCUTS.map(([keys, words]) => [
    make("dt", {}, ...keys.map((key) => make("kbd", {}, { Space: t("space"), Enter: t("enter"), Escape: t("escape") }[key] ?? key))),
    make("dd", {}, t(words)),
  ]);
  byId("shortcuts").replaceChildren(...rows.flat());
  byId("shortcuts-dialog").showModal();
}

/** @returns {Promise<boolean>} */
export function confirmClear() {
  return answered(byId("clear-dialog"));
}

/** Ask for options. @returns {Promise<boolean>} whether to transcribe again with them */
export async function confirmAgain() {
  moveOptions("options-again");
  const yes = await answered(byId("again-dialog"));
  moveOptions("options-home");
  return yes;
}

function answered(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
