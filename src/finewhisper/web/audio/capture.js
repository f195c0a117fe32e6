// In the audio thread: collects the microphone's samples into 16-bit frames of 100 ms and hands them over.

/* global AudioWorkletProcessor, registerProcessor, sampleRate */

const FRAME = Math.round(sampleRate / 10); // samples

class Capture extends AudioWorkletProcessor {
  #frame = new Int16Array(FRAME);
  #filled = 0;
  #on = true;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#on = false;
      this.#give(this.#frame.slice(0, this.#filled));
      this.port.postMessage("end");
    };
  }

  process([channels]) {
    if (this.#on && channels.length) {
      for (const sample of channels[0]) {
        this.#frame[this.#filled++] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
        if (this.#filled === FRAME) {
          this.#give(this.#frame); // it is gone afterwards
          this.#frame = new Int16Array(FRAME);
          this.#filled = 0;
        }
      }
    }
    return this.#on;
  }

  #give(frame) {
    this.port.postMessage(frame, [frame.buffer]);
  }
}

registerProcessor("capture", Capture);
