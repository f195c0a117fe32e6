// Live captions of a WAV file at the speed of speech: node live_captions.mjs ws://127.0.0.1:8000 speech.wav
// WebSocket is built into browsers and Node 22; before that: npm install ws, as below.
import { readFileSync } from 'node:fs';

const Socket = globalThis.WebSocket ?? (await import('ws')).default;
const [server, path] = process.argv.slice(2);
const wav = readFileSync(path); // 16-bit, one channel, a header of 44 bytes
const rate = wav.readUInt32LE(24);
const socket = new Socket(`${server}/v1/listen?language=en&sample_rate=${rate}`);

socket.onopen = () => {
  let at = 44;
  const feeding = setInterval(() => {
    if (at < wav.length) {
      socket.send(wav.subarray(at, (at += Math.floor(rate / 10) * 2))); // 0.1 s
    } else {
      clearInterval(feeding);
      socket.send(JSON.stringify({ type: 'end' }));
    }
  }, 100);
};

socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === 'partial') process.stdout.write(`\r${event.text}`);
  if (event.type === 'final') console.log(`\r${event.text}`);
  if (event.type === 'error') console.error(event.message);
};
socket.onclose = () => process.exit();
