// Transcribes raw float32 samples at 16 kHz with Transformers.js, without the network.
// node transformers_js.mjs FOLDER_WITH_NODE_MODULES MODEL_FOLDER SAMPLES OPTIONS_AS_JSON
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";

const [packages, model, samples, options] = process.argv.slice(2);
const { env, pipeline } = createRequire(`${packages}/`)("@huggingface/transformers");
env.allowRemoteModels = false;
env.localModelPath = dirname(model);
const bytes = readFileSync(samples);
const waveform = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const transcribe = await pipeline("automatic-speech-recognition", basename(model), { device: "cpu" });
console.log(JSON.stringify(await transcribe(waveform, JSON.parse(options))));
