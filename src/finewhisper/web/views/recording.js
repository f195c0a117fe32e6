// One recording: its name, player, progress, problem and transcript.

import { announce, byId, make, save } from "../dom.js";
import { formats, txt } from "../export.js";
import { clock } from "../times.js";
import { languageName, locale, t } from "../words.js";
import { notice, toast, warn } from "./notices.js";
import { Player } from "./player.js";
import { Segments } from "./segments.js";

const MINUTE_S = 60;

export class RecordingView {
  #library;
  #queue;
  #actions;
  #id = null;
  #player;
  #segments;
  #drawn = ""; // the problem that is shown, so that it is not announced again and again
  #outlined = null;

  /**
   * @param {import("../library.js").Library} library @param {import("../queue.js").Queue} queue
   * @param {{remove: (id: string) => void, again: (id: string) => void, enterKey: () => void}} actions
   */
  constructor(library, queue, actions) {
    this.#library = library;
    this.#queue = queue;
    this.#actions = actions;
    this.#player = new Player((time, playing) => this.#segments.at(time, playing));
    this.#segments = new Segments({
      seek: (seconds) => this.#player.seek(seconds),
      play: (seconds) => this.#player.playFrom(seconds),
      edit: (segment, text) => this.#edit(segment, (now) => edited(now, text), text),
      restore: (segment) => this.#edit(segment, ({ start, end, text, original }) => ({ start, end, ...(original ?? { text }) })),
      ended: () => this.render(),
    });
    byId("copy").onclick = () => this.copy();
    byId("again").onclick = () => actions.again(this.#id);
    byId("delete").onclick = () => actions.remove(this.#id);
    byId("stop").onclick = () => this.#stop(this.#id);
    byId("download").addEventListener("click", ({ target }) => this.#download(target.closest("[data-format]")?.dataset.format));
    byId("download").addEventListener("keydown", (event) => event.key === "Escape" && this.#closeMenu());
    document.addEventListener("click", ({ target }) => !target.closest("#download") && (byId("download").open = false));
  }

  get id() {
    return this.#id;
  }

  get player() {
    return this.#player;
  }

  get segments() {
    return this.#segments;
  }

  /** @param {string | null} id null: nothing is shown */
  async show(id) {
    if (id === this.#id) return;
    this.#id = id;
    this.#player.unload();
    if (id === null) return;
    this.#drawn = "";
    this.#outlined = null;
    this.render(true);
    const sound = await this.#library.sound(id);
    if (this.#id === id) this.#player.load(sound, this.#library.get(id).video);
  }

  render(afresh = false) {
    const recording = this.#id && this.#library.get(this.#id);
    if (!recording) return;
    byId("recording-title").textContent = recording.name;
    this.#facts(recording);
    this.#progress(recording);
    this.#problem(recording, afresh);
    this.#segments.render(recording, afresh);
    if (afresh || this.#outlined !== recording.outline || !recording.outline) this.#player.outline(recording);
    this.#outlined = recording.outline;
    const some = recording.segments.length > 0;
    const busy = recording.state === "working" || recording.state === "waiting";
    byId("no-speech").hidden = some || recording.state !== "done";
    byId("copy").disabled = !some;
    byId("download").toggleAttribute("inert", !some);
    byId("download").classList.toggle("off", !some);
    byId("again").disabled = busy;
  }

  async copy() {
    const recording = this.#library.get(this.#id);
    if (!recording?.segments.length) return;
    try {
      await navigator.clipboard.writeText(txt(transcript(recording)));
      toast(t("copied"));
    } catch {
      toast(t("copyFailed"));
    }
  }

  #facts({ kind, created, duration, language, wish }) {
    const facts = [
      new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(created),
      duration === null ? "" : clock(duration),
      language ? languageName(language) : "",
      wish.task === "translate" ? t("translate") : "",
      kind === "microphone" ? t("meta").microphone : "",
    ];
    byId("recording-meta").replaceChildren(...facts.filter(Boolean).map((fact) => make("span", {}, fact)));
  }

  #progress({ state, progress, left, segments, problem }) {
    const busy = state === "working" || (state === "waiting" && !problem);
    byId("progress").classList.toggle("idle", !busy);
    if (!busy) byId("progress-text").textContent = segments.length ? t("segments", segments.length) : "";
    if (!busy) return;
    const bar = byId("progress-bar");
    if (progress?.fraction == null) bar.removeAttribute("value");
    else bar.value = progress.fraction;
    const words = [doing(state, progress)];
    if (left !== null && state === "working") words.push(t("left", left < MINUTE_S ? t("seconds", Math.max(1, Math.round(left))) : t("minutes", Math.round(left / MINUTE_S))));
    byId("progress-text").textContent = words.join(" · ");
  }

  #problem({ id, problem }, afresh) {
    const drawn = JSON.stringify(problem);
    if (drawn === this.#drawn && !afresh) return;
    this.#drawn = drawn;
    if (!problem) return byId("problem").replaceChildren();
    const passing = problem.code === "busy" || problem.code === "stopping";
    const title = byId("problem").querySelector(".advice");
    if (passing && title && byId("problem").firstChild.dataset.code === problem.code && !afresh) {
      title.textContent = notice(problem).querySelector(".advice").textContent; // the seconds count down; the alert is not repeated
      return undefined;
    }
    const actions = [];
    if (passing) actions.push(["tryNow", () => this.#queue.hurry(id)], ["stop", () => this.#stop(id)]);
    else if (problem.code === "key") actions.push(["enterKey", this.#actions.enterKey], ["tryAgain", () => this.#queue.add(id)]);
    else if (problem.code === "unfinished") actions.push(["again", () => this.#finish(id)]);
    else if (problem.code !== "gone") actions.push(["tryAgain", () => this.#queue.add(id)]);
    return byId("problem").replaceChildren(notice(problem, actions));
  }

  #stop(id) {
    if (!this.#queue.stop(id)) this.#library.askToStop(id);
  }

  /** Transcribe anew what was cut off; what somebody has edited is replaced only after a question. */
  #finish(id) {
    if (this.#library.get(id).segments.some(({ original }) => original)) this.#actions.again(id);
    else this.#queue.add(id);
  }

  /** @param {import("../library.js").Segment} segment as it was shown @param {string} [words] what somebody wrote */
  async #edit(segment, edit, words = "") {
    const id = this.#id;
    const { replaced, other } = await this.#library.edit(id, segment, edit);
    if (replaced && words) warn({ code: "replaced", details: words });
    if (!other || !words || other.text === words) return;
    const mine = this.#library.get(id).segments.find(({ start, end }) => start === segment.start && end === segment.end);
    warn({ code: "changed", details: other.text }, [["useOther", () => this.#library.edit(id, mine, () => other)]]);
  }

  #download(format) {
    if (!format) return;
    const recording = this.#library.get(this.#id);
    const { write, type } = formats[format];
    save(new Blob([write(transcript(recording))], { type: `${type};charset=utf-8` }), `${fileName(recording.name)}.${format}`);
    this.#closeMenu();
    announce(t("download"));
  }

  #closeMenu() {
    byId("download").open = false;
    byId("download").querySelector("summary").focus();
  }
}

/** A segment with another text; the one that was heard stays known. */
function edited({ start, end, text: before, words, original = { text: before, ...(words ? { words } : {}) } }, text) {
  return text === original.text ? { start, end, ...original } : { start, end, text, original };
}

/** What is exported: a text that was emptied is left out. */
const transcript = ({ language, duration, segments }) => ({ language, duration, segments: segments.filter(({ text }) => text.trim()) });

/** Without its ending and without what file systems do not like. */
const fileName = (name) => name.replace(/\.[a-z0-9]{2,5}$/i, "").replace(/[\\/:*?"<>|\u0000-\u001f]+/g, "-").trim() || "transcript";

function doing(state, progress) {
  if (state === "waiting") return t("waiting");
  const percent = progress?.fraction == null ? null : Math.round(progress.fraction * 100);
  if (progress?.phase === "send" && percent !== null) return t("uploading", percent);
  if (progress?.phase === "queue") return t("queued");
  if (percent !== null) return t("workingAt", percent);
  return progress?.heard ? t("heardUntil", clock(progress.heard)) : t("working");
}
