// Numbers, sizes and times for people. What is not known is a dash.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const some = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const DASH = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** All digits: 1,234,567. */
export const exact = (value) => (known(value) ? whole.format(value) : DASH);

/** Short from ten thousand on: 1,234 and 12.3k and 4.56M. */
export function short(value) {
  if (!known(value)) return DASH;
  if (Math.abs(value) < 10 && value % 1) return some.format(value);
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) return `${some.format(value / (unit === "k" ? 1e3 : size))}${unit}`;
  }
  return whole.format(value);
}

/** A rate: 4.45k/s. */
export const rate = (value) => (known(value) ? `${short(value)}/s` : DASH);

/** Milliseconds: 57 ms, 1.2 s, 3 min 4 s, 2 h 5 min, 3 d 4 h. */
export function duration(ms) {
  if (!known(ms)) return DASH;
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 1000) return `${ms < 10 && ms % 1 ? few.format(ms) : whole.format(ms)} ms`;
  if (ms < 60_000) return `${some.format(Math.round(ms / 100) / 10)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return parts(seconds, 60, "min", "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return parts(minutes, 60, "h", "min");
  return parts(Math.round(minutes / 60), 24, "d", "h");
}

function parts(value, size, large, small) {
  const rest = value % size;
  return `${whole.format(Math.floor(value / size))} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

/** Bytes: 512 B, 1.5 kB, 3.2 MB, in thousands. */
export function bytes(value) {
  if (!known(value)) return DASH;
  for (const [size, unit] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= size) return `${some.format(value / size)} ${unit}`;
  }
  return `${whole.format(value)} B`;
}

const two = (value) => String(value).padStart(2, "0");

/** The clock where the page is looked at: 14:03:22. */
export function clock(ms) {
  if (!known(ms)) return DASH;
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Date and clock, where that is not today: 2026-11-21 14:03:22. */
export function moment(ms, now = Date.now()) {
  if (!known(ms)) return DASH;
  const at = new Date(ms);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === new Date(now).toDateString() ? clock(ms) : `${day} ${clock(ms)}`;
}

/** ISO 8601 as milliseconds; not a number where it is none. */
export const instant = (text) => Date.parse(text);

/** Numbers of partitions as ranges: 0-3, 7. */
export function ranges(numbers) {
  const sorted = [...numbers].map(Number).sort((a, b) => a - b);
  const found = [];
  for (const number of sorted) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}
