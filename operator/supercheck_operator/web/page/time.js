// Times as people say them. The clock is the server's: a browser's may be wrong.

let skew = 0;

export function setServerTime(date) {
  const difference = new Date(date).getTime() - Date.now();
  if (Number.isFinite(difference)) skew = Math.abs(difference) > 2000 ? difference : 0;
}

export function now() {
  return Date.now() + skew;
}

export function secondsSince(time) {
  return Math.max(0, (now() - new Date(time).getTime()) / 1000);
}

export function between(start, end) {
  return Math.max(0, (new Date(end).getTime() - new Date(start).getTime()) / 1000);
}

// 41 s, 2:05, 1:02:05
export function duration(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const pad = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

// 5 s, 3 min, 2 h, 4 d
export function roughly(seconds) {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (seconds < 3570) return `${Math.round(seconds / 60)} min`;
  if (seconds < 84600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function ago(time) {
  const seconds = secondsSince(time);
  return seconds < 5 ? "just now" : `${roughly(seconds)} ago`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

// With its day, unless that is today.
export function moment(time) {
  const date = new Date(time);
  if (date.toDateString() === new Date(now()).toDateString()) return date.toLocaleTimeString();
  return new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

export function startsIn(time) {
  const seconds = (new Date(time).getTime() - now()) / 1000;
  return seconds < 3 ? "any moment" : `in about ${roughly(seconds)}`;
}
