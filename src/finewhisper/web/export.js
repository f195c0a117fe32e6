// Transcripts as files, made from the segments as they were edited; the same as `finewhisper transcribe` writes.

import { exactClock, milliseconds } from "./times.js";

/** @typedef {{start: number, end: number, text: string, words?: {start: number, end: number, word: string}[]}} Segment */
/** @typedef {{language: string, duration: number | null, segments: Segment[]}} Transcript */

// Written without spaces between words, as transcript.py has them.
const UNSPACED = new Set(["zh", "ja", "th", "lo", "my", "yue", "bo", "km"]);

const oneLine = (text) => text.split(/\s+/).filter(Boolean).join(" ");
const withoutArrow = (text) => text.replaceAll("-->", "→"); // SubRip has no escapes
const entities = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const isAscii = (text) => /^[\x00-\x7f]*$/.test(text);
const rounded = (seconds) => milliseconds(seconds) / 1000;

/** All of it in one line, joined as the language joins words. @param {Transcript} transcript */
export function text({ language, segments }) {
  const pieces = segments.map((segment) => oneLine(segment.text)).filter(Boolean);
  return pieces.join(UNSPACED.has(language) && !pieces.every(isAscii) ? "" : " ");
}

/** The text as it is read: one segment a line. @param {Transcript} transcript */
export const txt = ({ segments }) => segments.map(({ text }) => `${oneLine(text)}\n`).join("");

/** SubRip. @param {Transcript} transcript */
export const srt = ({ segments }) =>
  segments
    .map(({ start, end, text }, index) => `${index + 1}\n${exactClock(start, ",")} --> ${exactClock(end, ",")}\n${withoutArrow(oneLine(text))}\n`)
    .join("\n");

/** WebVTT. @param {Transcript} transcript */
export const vtt = ({ segments }) =>
  ["WEBVTT\n", ...segments.map(({ start, end, text }) => `${exactClock(start)} --> ${exactClock(end)}\n${entities(oneLine(text))}\n`)].join("\n");

/** Everything the page knows. @param {Transcript} transcript */
export const json = ({ language, duration, segments }) =>
  `${JSON.stringify(
    {
      ...(language ? { language } : {}),
      ...(duration === null ? {} : { duration: rounded(duration) }),
      text: text({ language, duration, segments }),
      segments: segments.map(({ start, end, text, words }, id) => ({
        id,
        start: rounded(start),
        end: rounded(end),
        text: oneLine(text),
        ...(words?.length ? { words: words.map((word) => ({ start: rounded(word.start), end: rounded(word.end), text: word.word.trim() })) } : {}),
      })),
    },
    null,
    2,
  )}\n`;

/** By the ending of the file: what writes it, and its media type. */
export const formats = {
  txt: { write: txt, type: "text/plain" },
  srt: { write: srt, type: "application/x-subrip" },
  vtt: { write: vtt, type: "text/vtt" },
  json: { write: json, type: "application/json" },
};
