// How numbers, sizes and times are written. Knows nothing of the page and of what the numbers mean.

const NONE = "–";
const known = (value) => typeof value === "number" && Number.isFinite(value);

function scaled(value, step, units) {
  let unit = 0;
  while (Math.abs(value) >= step * 0.9995 && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  const digits =
    unit === 0
      ? Number.isInteger(value) || Math.abs(value) >= 10
        ? 0
        : 1
      : Math.abs(value) < 10
        ? 2
        : Math.abs(value) < 100
          ? 1
          : 0;
  return [value.toFixed(digits), units[unit]];
}

/** 1234567 as "1.23M". */
export function count(value) {
  return known(value) ? scaled(value, 1000, ["", "k", "M", "G", "T"]).join("") : NONE;
}

export function rate(value) {
  return known(value) ? `${count(value)}/s` : NONE;
}

/** 1234567 as "1 234 567", with narrow spaces that do not break. */
export function whole(value) {
  return known(value)
    ? Math.round(value)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, "\u202f")
    : NONE;
}

export function bytes(value) {
  return known(value) ? scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]).join("\u00a0") : NONE;
}

export function share(ratio, digits = 0) {
  if (!known(ratio)) return NONE;
  const text = (ratio * 100).toFixed(digits);
  // What is not quite whole must not look whole.
  return ratio < 1 && Number(text) === 100
    ? `${(Math.floor(ratio * 10000) / 100).toFixed(2)}\u00a0%`
    : `${text}\u00a0%`;
}

/** A time span as people say it: "0.40 s", "88 s", "4 min", "2 h 10 min", "3 d". */
export function span(seconds) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, seconds);
  const unit = (value, name) => `${value}\u00a0${name}`;
  if (s < 0.0005) return unit(0, "s");
  if (s < 1) return unit(Math.round(s * 1000), "ms");
  if (s < 10) return unit(Number.isInteger(s) ? s : s.toFixed(1), "s");
  if (s < 120) return unit(Math.round(s), "s");
  if (s < 7200) return unit(Math.round(s / 60), "min");
  if (s < 48 * 3600) return unit(Math.round(s / 3600), "h");
  return unit(Math.round(s / 86400), "d");
}

export function millis(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? null : at;
}

let utc = false;
export function useUtc(flag) {
  utc = flag;
}

export function zoneName() {
  if (utc) return "UTC";
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const two = (value) => String(Math.floor(Math.abs(value))).padStart(2, "0");
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
  return name === "UTC" ? "UTC" : `${name}, UTC${sign}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/** The time of day, with the date where it is not today's. */
export function clock(text, now = Date.now()) {
  const at = typeof text === "number" ? text : millis(text);
  if (at === null) return NONE;
  const two = (value) => String(value).padStart(2, "0");
  const parts = (ms) => {
    const d = new Date(ms);
    return utc
      ? [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds()]
      : [d.getFullYear(), d.getMonth() + 1, d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds()];
  };
  const [year, month, day, hour, minute, second] = parts(at);
  const time = `${two(hour)}:${two(minute)}:${two(second)}`;
  const today = parts(now);
  return today[0] === year && today[1] === month && today[2] === day
    ? time
    : `${year}-${two(month)}-${two(day)} ${time}`;
}

export const ago = (text, now) => {
  const at = millis(text);
  return at === null ? NONE : `${span((now - at) / 1000)} ago`;
};

export const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;
