// Times and sizes as people read them.

/** `3:07` or `1:02:09`. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** `01:01:01.500`: rounded to milliseconds first, so that 59.9996 s is one minute. */
export function exactClock(seconds, mark = ".") {
  const all = milliseconds(seconds);
  const [hours, minutes, rest, thousandths] = [Math.floor(all / 3_600_000), Math.floor(all / 60_000) % 60, Math.floor(all / 1000) % 60, all % 1000];
  const two = (value) => String(value).padStart(2, "0");
  return `${two(hours)}:${two(minutes)}:${two(rest)}${mark}${String(thousandths).padStart(3, "0")}`;
}

export const milliseconds = (seconds) => Math.max(0, Math.round(seconds * 1000));

/** `12 MB`. @param {number} bytes @param {string} language of the page */
export function size(bytes, language) {
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, "kilobyte"] : bytes < 1e9 ? [bytes / 1e6, "megabyte"] : [bytes / 1e9, "gigabyte"];
  return new Intl.NumberFormat(language, { style: "unit", unit, maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
}
