// The list of recordings, with what is going on in each.

import { byId, icon, make } from "../dom.js";
import { clock, size } from "../times.js";
import { label, locale, t } from "../words.js";

const STATES = { waiting: "stateWaiting", working: "stateWorking", failed: "stateFailed", stopped: "stateStopped" };

export class Sidebar {
  #library;
  #remove;

  /** @param {import("../library.js").Library} library @param {(id: string) => void} remove */
  constructor(library, remove) {
    this.#library = library;
    this.#remove = remove;
    const side = byId("sidebar");
    const open = (wide) => {
      side.classList.toggle("open", wide);
      byId("open-history").setAttribute("aria-expanded", String(wide));
      byId(wide ? "close-history" : "open-history").focus();
    };
    byId("open-history").setAttribute("aria-controls", "sidebar");
    byId("open-history").setAttribute("aria-expanded", "false");
    byId("open-history").onclick = () => open(true);
    byId("close-history").onclick = () => open(false);
    side.addEventListener("keydown", ({ key }) => key === "Escape" && side.classList.contains("open") && open(false));
    side.addEventListener("click", ({ target }) => target.closest("a, #new") && side.classList.remove("open"));
  }

  /** @param {string} [shown] the recording in the middle */
  render(shown) {
    const all = this.#library.all;
    byId("no-history").hidden = all.length > 0;
    byId("sidebar-foot").hidden = !all.length;
    byId("used").textContent = t("used", size(this.#library.bytes, locale()));
    const held = byId("history").contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
    byId("history").replaceChildren(...all.map((recording) => this.#row(recording, recording.id === shown)));
    if (held) byId("history").querySelector(`[data-id="${held}"] a`)?.focus();
  }

  #row(recording, shown) {
    const { id, name, state, progress } = recording;
    const facts = make("span", { class: "facts" }, make("span", {}, day(recording.created)));
    if (recording.duration !== null) facts.append(make("span", {}, clock(recording.duration)));
    if (state in STATES) facts.append(make("span", { class: "state" }, t(STATES[state])));
    const link = make("a", { href: `#${id}` }, make("span", { class: "name" }, name), facts);
    if (shown) link.setAttribute("aria-current", "page");
    if (state === "working") link.append(bar(progress));
    const remove = make("button", { type: "button", class: "quiet", onclick: () => this.#remove(id) }, icon("bin"));
    label(remove, t("remove", name));
    return make("li", { class: state, "data-id": id }, link, remove);
  }
}

function bar(progress) {
  const made = make("progress", { max: 1, "aria-hidden": "true" });
  if (progress?.fraction != null) made.value = progress.fraction;
  return made;
}

/** The time of today's, the date of others. */
function day(created) {
  const date = new Date(created);
  const today = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(locale(), today ? { hour: "numeric", minute: "2-digit" } : { day: "numeric", month: "short" }).format(date);
}
