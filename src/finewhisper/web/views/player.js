// Playback of one recording: sound or picture, waveform, controls.

import { byId, setIcon } from "../dom.js";
import { clock } from "../times.js";
import { label, t } from "../words.js";
import { Waveform } from "./waveform.js";

const STEP_S = 5;

export class Player {
  #media = byId("media");
  #waveform = new Waveform(byId("waveform"), (seconds) => this.seek(seconds));
  #moved;
  #address = null;
  #duration = 0;
  #note = "";
  #held = null; // where to begin once the sound is loaded

  /** @param {(seconds: number, playing: boolean) => void} moved */
  constructor(moved) {
    this.#moved = moved;
    byId("play").onclick = () => this.toggle();
    byId("seek-back").onclick = () => this.skip(-STEP_S);
    byId("seek-forward").onclick = () => this.skip(STEP_S);
    byId("speed").onchange = ({ target }) => (this.#media.playbackRate = Number(target.value));
    for (const name of ["play", "pause", "ended"]) this.#media.addEventListener(name, () => this.render());
    this.#media.addEventListener("timeupdate", () => this.#tick());
    this.#media.addEventListener("seeked", () => this.#tick());
    this.#media.addEventListener("play", () => this.#follow());
    this.#media.addEventListener("loadedmetadata", () => this.#loaded());
    this.#media.addEventListener("error", () => this.#silent("cannotPlay"));
  }

  get time() {
    return this.#media.currentTime || 0;
  }

  /** @param {Blob | null} sound @param {boolean} video */
  load(sound, video) {
    this.unload();
    this.#note = "";
    this.#media.hidden = !video;
    if (sound) {
      this.#address = URL.createObjectURL(sound);
      this.#media.src = this.#address;
      this.#media.playbackRate = Number(byId("speed").value);
    } else this.#silent("noAudio");
    this.render();
  }

  unload() {
    this.#media.pause();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.#media.removeAttribute("src");
    this.#media.load();
  }

  /** @param {import("../library.js").Recording} recording */
  outline({ outline, duration, segments }) {
    this.#duration = duration ?? segments.at(-1)?.end ?? 0;
    this.#waveform.set(outline, this.#duration, segments);
    this.render();
  }

  redraw() {
    this.#waveform.draw();
  }

  /** @returns {boolean} whether there is anything to play */
  toggle() {
    if (!this.#address) return false;
    if (this.#media.paused) this.#media.play().catch(() => {}); // its error event says why
    else this.#media.pause();
    return true;
  }

  seek(seconds) {
    this.#held = this.#media.readyState ? null : seconds;
    this.#media.currentTime = Math.max(0, seconds);
    this.#tick();
  }

  playFrom(seconds) {
    this.seek(seconds);
    if (this.#media.paused) this.toggle();
  }

  /** @returns {boolean} whether there is anything to play */
  skip(seconds) {
    if (!this.#address) return false;
    this.seek(Math.min(this.time + seconds, this.#duration));
    return true;
  }

  render() {
    const playing = !this.#media.paused;
    setIcon(byId("play"), playing ? "pause" : "play");
    label(byId("play"), t(playing ? "pause" : "play"));
    for (const name of ["play", "seek-back", "seek-forward", "speed"]) byId(name).disabled = !this.#address;
    byId("player-note").textContent = this.#note ? t(this.#note) : "";
    byId("all").textContent = ` / ${clock(this.#duration)}`;
    this.#tick();
  }

  #loaded() {
    if (this.#held !== null) this.#media.currentTime = this.#held;
    this.#held = null;
    if (!this.#duration && Number.isFinite(this.#media.duration)) {
      this.#duration = this.#media.duration;
      this.#waveform.set(null, this.#duration, []);
      this.render();
    }
  }

  #silent(note) {
    if (!this.#media.getAttribute("src") && note === "cannotPlay") return; // unloading is no error
    this.#note = note;
    this.#address = null;
    this.render();
  }

  #tick() {
    byId("now").textContent = clock(this.time);
    this.#waveform.at(this.time);
    this.#moved(this.time, !this.#media.paused);
  }

  /** Events come four times a second, which would jerk. */
  #follow() {
    const frame = () => {
      if (this.#media.paused) return;
      this.#waveform.at(this.time);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
}
