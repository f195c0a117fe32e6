// The list of recordings, with what is going on in each.

import { byId, icon, make } from "../dom.js";
import { clock, size } from "../times.js";
import { label, locale, t } from "../words.js";

const STATES = { waiting: "stateWaiting", working: "stateWorking", failed: "stateFailed", stopped: "stateStopped" };

export class Sidebar {
  #library;
  #remove;
  #rows = new Map(); // by the recordings' ids

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
    byId("used").textContent = t("used", size(this.#library.bytes, locale()));
    this.#arrange(all.map(({ id }) => id));
    byId("sidebar-foot").hidden = !all.length;
    for (const recording of all) this.#rows.get(recording.id).render(recording, recording.id === shown);
  }

  /** @param {string} id */
  focus(id) {
    this.#rows.get(id)?.link.focus();
  }

  /** Rows stay the elements that they are: one of them may be about to be clicked, or have the focus. @param {string[]} ids newest first */
  #arrange(ids) {
    for (const id of [...this.#rows.keys()].filter((known) => !ids.includes(known))) this.#drop(id);
    const list = byId("history");
    for (const [index, id] of ids.entries()) {
      if (!this.#rows.has(id)) this.#rows.set(id, new Row(id, this.#remove));
      const { element } = this.#rows.get(id);
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    }
  }

  /** Whoever goes through the list by keyboard goes on beside what was deleted. */
  #drop(id) {
    const { element } = this.#rows.get(id);
    const next = (element.nextElementSibling ?? element.previousElementSibling)?.querySelector("a") ?? byId("new");
    if (element.contains(document.activeElement)) next.focus();
    element.remove();
    this.#rows.delete(id);
  }
}

class Row {
  #name = make("span", { class: "name" });
  #day = make("span");
  #duration = make("span");
  #state = make("span", { class: "state" });
  #bar = make("progress", { max: 1, "aria-hidden": "true" });
  #remove;

  /** @param {string} id @param {(id: string) => void} remove */
  constructor(id, remove) {
    this.link = make("a", { href: `#${id}` }, this.#name, make("span", { class: "facts" }, this.#day, this.#duration, this.#state), this.#bar);
    this.#remove = make("button", { type: "button", class: "quiet", onclick: () => remove(id) }, icon("bin"));
    this.element = make("li", {}, this.link, this.#remove);
  }

  /** @param {import("../library.js").Recording} recording @param {boolean} shown */
  render({ name, state, progress, created, duration }, shown) {
    this.element.className = state;
    write(this.#name, name);
    write(this.#day, day(created));
    write(this.#duration, duration === null ? "" : clock(duration));
    write(this.#state, state in STATES ? t(STATES[state]) : "");
    if (shown) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
    this.#bar.hidden = state !== "working";
    if (progress?.fraction == null) this.#bar.removeAttribute("value");
    else this.#bar.value = progress.fraction;
    label(this.#remove, t("remove", name));
  }
}

function write(element, words) {
  element.hidden = !words;
  if (element.textContent !== words) element.textContent = words;
}

/** The time of today's, the date of others. */
function day(created) {
  const date = new Date(created);
  const today = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(locale(), today ? { hour: "numeric", minute: "2-digit" } : { day: "numeric", month: "short" }).format(date);
}
