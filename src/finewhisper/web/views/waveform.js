// The outline of a recording on a canvas, which is a slider for the position.

import { clock } from "../times.js";
import { t } from "../words.js";

const [BAR, GAP] = [3, 2]; // CSS pixels
const STEPS = { ArrowLeft: -5, ArrowRight: 5, ArrowDown: -5, ArrowUp: 5, PageDown: -30, PageUp: 30 }; // seconds

export class Waveform {
  #element;
  #canvas;
  #values = null;
  #duration = 0;
  #time = 0;

  /** @param {HTMLElement} element with a canvas in it @param {(seconds: number) => void} seek */
  constructor(element, seek) {
    this.#element = element;
    this.#canvas = element.querySelector("canvas");
    new ResizeObserver(() => this.draw()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    element.addEventListener("keydown", (event) => {
      const target = { Home: 0, End: this.#duration }[event.key] ?? (event.key in STEPS ? this.#time + STEPS[event.key] : null);
      if (target === null || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      seek(Math.min(Math.max(target, 0), this.#duration));
    });
    const at = ({ clientX }) => {
      const { left, width } = element.getBoundingClientRect();
      seek(Math.min(Math.max((clientX - left) / width, 0), 1) * this.#duration);
    };
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      at(event);
      element.addEventListener("pointermove", at);
      element.addEventListener("lostpointercapture", () => element.removeEventListener("pointermove", at), { once: true });
    });
  }

  /** @param {Uint8Array | null} values null: the segments show where there is speech @param {number} duration @param {{start: number, end: number}[]} segments */
  set(values, duration, segments) {
    this.#values = values ?? overview(segments, duration);
    this.#duration = duration;
    this.#element.setAttribute("aria-valuemax", duration.toFixed(1));
    this.at(this.#time);
  }

  /** @param {number} time in seconds */
  at(time) {
    this.#time = time;
    this.#element.setAttribute("aria-valuenow", time.toFixed(1));
    this.#element.setAttribute("aria-valuetext", t("positionOf", clock(time), clock(this.#duration)));
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !this.#values) return;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    const { color, borderTopColor: played } = getComputedStyle(this.#canvas);
    const count = Math.floor((width + GAP) / (BAR + GAP));
    const now = this.#duration ? (this.#time / this.#duration) * count : 0;
    for (let index = 0; index < count; index++) {
      const tall = Math.max(3, (loudest(this.#values, index / count, (index + 1) / count) / 255) * height);
      context.fillStyle = index < now ? played : color;
      context.beginPath();
      context.roundRect(index * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
      context.fill();
    }
  }
}

function loudest(values, from, to) {
  const [first, last] = [Math.floor(from * values.length), Math.max(Math.ceil(to * values.length), Math.floor(from * values.length) + 1)];
  let most = 0;
  for (let index = first; index < last && index < values.length; index++) most = Math.max(most, values[index]);
  return most;
}

function overview(segments, duration) {
  const values = new Uint8Array(400);
  for (const { start, end } of segments) {
    values.fill(120, Math.floor((start / (duration || 1)) * values.length), Math.ceil((end / (duration || 1)) * values.length));
  }
  return values;
}
