// Speaking: the microphone is recorded, and its words appear while they are said.

import { loudness, record } from "../audio/recorder.js";
import { outline } from "../audio/peaks.js";
import { wav } from "../audio/wav.js";
import { byId, make } from "../dom.js";
import { Problem } from "../engines/problem.js";
import { wish } from "../settings.js";
import { clock } from "../times.js";
import { locale, t } from "../words.js";
import { clearNotices, warn } from "./notices.js";

const DONE_MS = 60_000; // longer than the last words may take

export class LiveView {
  #engine;
  #finished;
  #take = null; // what is being recorded

  /**
   * @param {import("../engines/engine.js").Engine} engine
   * @param {(known: Partial<import("../library.js").Recording> | null, sound?: Blob) => void} finished null: nothing is kept
   */
  constructor(engine, finished) {
    this.#engine = engine;
    this.#finished = finished;
    byId("stop-recording").onclick = () => this.stop();
    byId("discard").onclick = () => this.discard();
    addEventListener("beforeunload", (event) => this.#take && event.preventDefault());
  }

  get on() {
    return this.#take !== null;
  }

  /** @returns {Promise<boolean>} whether the microphone is there */
  async start() {
    if (this.#take) return true;
    clearNotices();
    const take = { wish: wish(), frames: [], segments: [], samples: 0, levels: [], session: null, recorder: null, lost: false, ending: false };
    this.#take = take;
    this.#reset();
    try {
      take.recorder = await record((samples) => this.#heard(take, samples));
    } catch (error) {
      this.#take = null;
      warn(error instanceof Problem ? error : new Problem("noMicrophone", { details: String(error) }));
      return false;
    }
    if (this.#take !== take) { // discarded while the browser asked
      await take.recorder.stop();
      return false;
    }
    byId("live-state").textContent = t("listening");
    byId("hint").textContent = t("speakNow");
    take.session = this.#listen(take);
    for (const samples of take.frames) take.session.send(samples);
    return true;
  }

  async stop() {
    const take = this.#take;
    if (!take?.recorder || take.ending) return;
    take.ending = true;
    byId("live-state").textContent = t("finishing");
    byId("stop-recording").disabled = true;
    await take.recorder.stop();
    if (!take.lost) {
      take.session.end();
      await Promise.race([take.done, new Promise((resolve) => setTimeout(resolve, DONE_MS))]);
    }
    if (this.#take !== take) return; // discarded meanwhile
    take.session.close();
    this.#take = null;
    await this.#keep(take);
  }

  async discard() {
    const take = this.#take;
    if (!take) return;
    this.#take = null;
    take.session?.close();
    if (!take.ending) await take.recorder?.stop();
    this.#finished(null);
  }

  render() {
    if (!this.#take) return;
    byId("live-state").textContent = t(this.#take.ending ? "finishing" : this.#take.recorder ? "listening" : "getReady");
    byId("hint").textContent = t(this.#take.lost ? "recordingOnly" : "speakNow");
  }

  #listen(take) {
    take.done = new Promise((resolve) => (take.finish = resolve));
    return this.#engine.listen(take.recorder.sampleRate, take.wish, {
      ready: () => {},
      partial: (partial) => this.#partial(partial),
      final: (segment) => this.#final(take, segment),
      done: () => {
        take.complete = true;
        take.finish();
      },
      failed: (problem) => this.#lost(take, problem),
    });
  }

  #heard(take, samples) {
    take.frames.push(samples);
    take.samples += samples.length;
    take.levels.push(loudness(samples));
    if (take.session && !take.lost) take.session.send(samples);
    if (take.recorder) byId("live-time").textContent = clock(take.samples / take.recorder.sampleRate);
    drawLevels(take.levels);
  }

  #partial({ text, words, confirmed }) {
    const known = words?.length ? words : [{ word: text }];
    const join = (some) => some.map(({ word }) => word).join("");
    const count = words?.length ? confirmed : 0;
    byId("sure").textContent = join(known.slice(0, count)).trimStart();
    byId("unsure").textContent = count ? join(known.slice(count)) : join(known).trimStart();
    byId("hint").hidden = true;
    toEnd();
  }

  #final(take, { start, end, text, words, language }) {
    byId("sure").textContent = byId("unsure").textContent = "";
    if (!text) return;
    take.segments.push({ start, end, text, ...(words?.length ? { words } : {}) });
    take.language = language || take.language;
    byId("said").append(make("li", { dir: "auto" }, text));
    byId("hint").hidden = true;
    toEnd();
  }

  #lost(take, problem) {
    take.lost = true;
    take.finish();
    if (this.#take !== take) return;
    byId("hint").textContent = t(take.segments.length ? "liveLost" : "recordingOnly");
    byId("hint").hidden = false;
    if (problem.details) console.info(`live captions: ${problem.details}`);
  }

  async #keep(take) {
    const sound = wav(take.frames, take.recorder.sampleRate);
    const when = new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(Date.now());
    const seen = await outline(sound);
    this.#finished(
      {
        name: t("recordingName", when), kind: "microphone", wish: take.wish, language: take.language ?? take.wish.language, segments: take.segments,
        outline: seen?.values ?? null, duration: seen?.duration ?? null, state: take.complete ? "done" : "waiting",
      },
      sound,
    );
  }

  #reset() {
    byId("said").replaceChildren();
    byId("sure").textContent = byId("unsure").textContent = "";
    byId("live-time").textContent = clock(0);
    byId("live-state").textContent = byId("hint").textContent = t("getReady");
    byId("hint").hidden = false;
    byId("stop-recording").disabled = false;
    drawLevels([]);
  }
}

function toEnd() {
  byId("captions").scrollTop = byId("captions").scrollHeight;
}

const [BAR, GAP] = [3, 3]; // CSS pixels

/** The last moments, newest at the right. @param {number[]} levels */
function drawLevels(levels) {
  const canvas = byId("level");
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = getComputedStyle(canvas).color;
  const count = Math.floor(width / (BAR + GAP));
  for (let index = 0; index < count; index++) {
    const level = levels[levels.length - count + index] ?? 0;
    const tall = Math.max(3, Math.min(1, Math.sqrt(level) * 1.6) * height); // loudness is heard on a curve
    context.globalAlpha = level ? 0.35 + (0.65 * index) / count : 0.2;
    context.beginPath();
    context.roundRect(index * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
    context.fill();
  }
}
