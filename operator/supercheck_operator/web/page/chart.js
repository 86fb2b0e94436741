// The last minutes of a queue: above, what runs and what waits; below, how long those waited that
// were started. Two measures, two panels: they have no common scale.

import { svg } from "./dom.js";
import { duration } from "./time.js";

const WIDTH = 300;
const UPPER = 54;
const LOWER = 84;
const EVERY = 5;
const LEAST = 24;

export function draw(chart, samples) {
  // A queue that is new fills the chart after two minutes; then it reaches further and further back.
  const span = Math.max(samples.length, LEAST);
  const step = WIDTH / span;
  const from = span - samples.length;
  const at = (index) => (from + index) * step;
  const most = Math.max(1, ...samples.map((sample) => sample.running + sample.queued));
  const waits = samples.map((sample) => sample.waitSeconds);
  const longest = Math.max(1, ...waits.map((wait) => wait ?? 0));
  const height = (count) => UPPER - (count / most) * (UPPER - 4);

  const area = (upper, lower) => {
    if (!samples.length) return "";
    const steps = (of) => samples.flatMap((sample, index) => [
      `${at(index)} ${height(of(sample))}`, `${at(index + 1)} ${height(of(sample))}`,
    ]);
    return `M${steps(upper).join("L")}L${steps(lower).reverse().join("L")}Z`;
  };
  const line = waits
    .map((wait, index) => [at(index + 0.5), wait])
    .filter(([, wait]) => wait !== null)
    .map(([x, wait]) => `${x} ${LOWER - 2 - (wait / longest) * (LOWER - UPPER - 10)}`);

  chart.setAttribute("viewBox", `0 0 ${WIDTH} ${LOWER}`);
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("aria-label", words(samples, most, waits, longest));
  chart.replaceChildren(
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: UPPER, y2: UPPER }),
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: LOWER - 1, y2: LOWER - 1 }),
    svg("path", { class: "running", d: area((s) => s.running, () => 0) }),
    svg("path", { class: "queued", d: area((s) => s.running + s.queued, (s) => s.running) }),
    svg("path", { class: "waits", d: line.length > 1 ? `M${line.join("L")}` : "" }),
  );
  return {
    most: samples.length ? most : null,
    longest: waits.some((wait) => wait !== null) ? longest : null,
    minutes: minutes(samples),
  };
}

function words(samples, most, waits, longest) {
  if (!samples.length) return "History: nothing measured yet.";
  const last = samples[samples.length - 1];
  const waited = waits.some((wait) => wait !== null) ? ` The longest mean wait was ${duration(longest)}.` : "";
  return `The last ${minutes(samples)} min: now ${last.running} running and `
    + `${last.queued} queued, at most ${most} together.${waited}`;
}

function minutes(samples) {
  return Math.max(1, Math.round((samples.length * EVERY) / 60));
}
