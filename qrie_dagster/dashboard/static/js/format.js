// Times, ages and numbers in words.

const number = new Intl.NumberFormat("en");
const BANDS = { critical: 90, high: 50, medium: 25, low: 0 };

/** 12345 as 12,345; null as a dash. */
export const count = (value) => (value === null || value === undefined ? "–" : number.format(value));

/** Hours as '2 d 12 h', '5 h', '6 min'. */
export function hours(value) {
  if (value === null || value === undefined) return "never";
  const minutes = Math.max(0, Math.round(value * 60));
  if (minutes < 60) return `${minutes} min`;
  const whole = Math.round(minutes / 60);
  if (whole < 48) return `${whole} h`;
  const rest = whole % 24;
  return `${Math.floor(whole / 24)} d${rest ? ` ${rest} h` : ""}`;
}

/** Hours in one unit, for narrow places. */
export function shortHours(value) {
  if (value === null || value === undefined) return "never";
  if (value < 1) return `${Math.max(0, Math.round(value * 60))}m`;
  return value < 48 ? `${Math.round(value)}h` : `${Math.floor(value / 24)}d`;
}

/** Milliseconds as '1 min 20 s'. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return seconds < 10 ? `${(ms / 1000).toFixed(1)} s` : `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A time as '2025-01-31 04:00' in UTC. */
export const time = (iso) => (iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)}` : "never");

/** How long ago a time was. */
export const ago = (iso) => (iso ? `${hours((Date.now() - Date.parse(iso)) / 3_600_000)} ago` : "never");

/** One thing, two things. */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** The band of a severity. */
export const band = (severity) => Object.keys(BANDS).find((name) => severity >= BANDS[name]);

/** The part of an ARN that people look at. */
export function shortArn(arn) {
  return arn.split(":").slice(5).join(":") || arn;
}
