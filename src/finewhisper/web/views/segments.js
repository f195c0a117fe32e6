// The transcript: what plays is marked, a click goes there, and each text can be edited in place.

import { byId, icon, make } from "../dom.js";
import { clock } from "../times.js";
import { label, t } from "../words.js";

export class Segments {
  #list = byId("segments");
  #shown = [];
  #editable = false;
  #current = -1;
  #actions;

  /** @param {{seek: (seconds: number) => void, play: (seconds: number) => void, edit: (segment: object, text: string) => void, restore: (segment: object) => void, ended: () => void}} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  /** @param {import("../library.js").Recording} recording */
  render({ segments, state }, afresh = false) {
    const editable = state !== "working" && state !== "waiting";
    const goesOn = !afresh && editable === this.#editable && this.#shown.every((segment, index) => segment === segments[index]);
    this.#editable = editable;
    if (goesOn) this.#list.append(...segments.slice(this.#shown.length).map((segment, index) => this.#row(segment, this.#shown.length + index)));
    else if (this.editing && !afresh) return; // it is drawn when the edit has ended
    else {
      this.#list.replaceChildren(...segments.map((segment, index) => this.#row(segment, index)));
      this.#current = -1;
    }
    this.#shown = [...segments];
  }

  get editing() {
    return this.#list.querySelector("[contenteditable]") !== null;
  }

  /** Mark what is said at this moment. @param {number} time @param {boolean} playing */
  at(time, playing) {
    const index = time > 0 || playing ? this.#shown.findLastIndex(({ start }) => start <= time + 0.05) : -1;
    if (index === this.#current) return;
    this.#list.children[this.#current]?.removeAttribute("aria-current");
    this.#current = index;
    const row = this.#list.children[index];
    if (!row) return;
    row.setAttribute("aria-current", "true");
    if (playing && !this.editing) row.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** The start of a neighbour. @param {number} step */
  neighbour(step) {
    const index = Math.min(Math.max(this.#current + step, 0), this.#shown.length - 1);
    this.#list.children[index]?.scrollIntoView({ block: "nearest" });
    return this.#shown[index]?.start;
  }

  /** @returns {boolean} whether there is a text that may be edited */
  editCurrent() {
    const possible = this.#editable && this.#shown.length > 0;
    if (possible) this.#edit(Math.max(this.#current, 0));
    return possible;
  }

  #row(segment, index) {
    const time = clock(segment.start);
    const from = make("button", { type: "button", class: "from", onclick: () => this.#actions.play(segment.start) }, time);
    label(from, t("playFrom", time));
    const text = make("p", { dir: "auto" }, segment.text);
    text.onclick = () => !text.isContentEditable && this.#actions.seek(segment.start);
    text.ondblclick = () => this.#editable && this.#edit(index);
    const tools = make("span", { class: "tools-of" });
    if (this.#editable) {
      if (segment.original) {
        tools.append(make("span", { class: "mark" }, t("edited")), this.#tool("restore", t("restore", time), () => this.#actions.restore(segment)));
      }
      tools.append(this.#tool("pen", t("edit", time), () => this.#edit(index)));
    }
    return make("li", {}, from, text, tools);
  }

  #tool(drawing, words, onclick) {
    const button = make("button", { type: "button", class: "quiet", onclick }, icon(drawing));
    label(button, words);
    return button;
  }

  #edit(index) {
    const row = this.#list.children[index];
    const place = row.querySelector("p");
    if (place.isContentEditable) return;
    const segment = this.#shown[index];
    const before = segment.text;
    editable(place);
    label(place, t("editing", clock(this.#shown[index].start)));
    place.setAttribute("role", "textbox");
    const finish = (keep) => {
      place.onkeydown = place.onblur = null;
      for (const name of ["contenteditable", "role", "aria-label"]) place.removeAttribute(name);
      const after = place.textContent.split(/\s+/).filter(Boolean).join(" ");
      place.textContent = keep ? after : before;
      if (keep && after !== before) this.#actions.edit(segment, after);
      else this.#actions.ended();
    };
    place.onkeydown = (event) => {
      event.stopPropagation();
      if (event.isComposing) return; // Enter chooses a Chinese or Japanese word
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      finish(event.key === "Enter");
      this.#list.children[index]?.querySelector(".tools-of button:last-child")?.focus();
    };
    place.onblur = () => finish(true);
    place.focus();
    getSelection().selectAllChildren(place);
    getSelection().collapseToEnd();
  }
}

/** Text without styles; older browsers know only text with styles, whose paste and drop are then made plain. */
function editable(place) {
  try {
    place.contentEditable = "plaintext-only";
  } catch {
    place.contentEditable = "true";
    place.onpaste = (event) => {
      event.preventDefault();
      document.execCommand("insertText", false, event.clipboardData.getData("text/plain"));
    };
    place.ondrop = (event) => event.preventDefault();
  }
}
