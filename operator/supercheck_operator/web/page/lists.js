// What runs, what waits, what has ended.

import { el, set, sync, text } from "./dom.js";
import { ago, between, clock, duration, moment, secondsSince, startsIn } from "./time.js";

export const SIGNS = { Passed: "✓", Failed: "✕", Error: "!", Cancelled: "–", Running: "▸", Queued: "…" };

export function link(execution) {
  return `#execution=${encodeURIComponent(execution.namespace)}/${encodeURIComponent(execution.name)}`;
}

export function phase(value) {
  return el("span", { class: "phase", "data-phase": value, "data-sign": SIGNS[value] }, value);
}

// What a list shows: `executions`, how many `others` there are of namespaces that the viewer may not
// list, and the names of the queues of which more than was sent is there, as `cut`.

export function showRunning(list, part, empty) {
  rows(list, part, empty, (execution) => el(
    "li", {}, who(execution),
    el("div", { class: "progress" }, el("div", { class: "tests", role: "img" }), el("span", { class: "done" })),
    el("span", { class: "time elapsed" }),
  ), updateRunning);
}

export function showLine(list, part, empty) {
  rows(list, part, empty, (execution) => el(
    "li", {}, el("span", { class: "position" }), who(execution), el("span", { class: "why" }),
    el("span", { class: "time estimate" }),
  ), updateQueued, grouped);
}

export function showResults(list, part, empty) {
  rows(list, part, empty, (execution) => el(
    "li", {}, phase(execution.phase), who(execution), reason(execution),
    el("span", { class: "time took" }), el("span", { class: "time muted when" }),
  ), updateResult);
}

const SENT = 200; // of each list of each queue, by the server
const FIRST = 12;
const FIRST_OF_SEVERAL = 5;

export function count({ executions, others, cut }) {
  return atLeast(executions.length + others, cut.length);
}

// Of this kind of execution, queues have more than was sent: as far as their figures can tell.
export function cut(executions, queues, kind) {
  const sent = new Map();
  for (const { queue } of executions) sent.set(queue, (sent.get(queue) ?? 0) + 1);
  const all = new Map(queues.map((queue) => [queue.name, queue[kind] - queue.others[kind]]));
  return [...sent.keys()].filter((name) => sent.get(name) >= SENT && !(all.get(name) <= sent.get(name)));
}

function atLeast(number, more) {
  return `${number}${more ? "+" : ""}`;
}

// Positions are those of a queue: where several have a line, each says whose it is.
function grouped({ executions, cut }, all) {
  const queues = new Set(executions.map((execution) => execution.queue));
  if (queues.size < 2) return first({ executions }, all);
  return [...queues].flatMap((queue) => {
    const line = executions.filter((execution) => execution.queue === queue);
    const head = { note: `${queue} ${atLeast(line.length, cut.includes(queue))}`, kind: "group", key: `group ${queue}` };
    return [head, ...(all ? line : line.slice(0, FIRST_OF_SEVERAL))];
  });
}

function first({ executions }, all) {
  return all ? [...executions] : executions.slice(0, FIRST);
}

function rows(list, part, empty, create, update, choose = first) {
  const { executions, others, cut } = part;
  const items = choose(part, list.dataset.all === "yes");
  if (items.filter((item) => item.uid).length < executions.length) {
    items.push({ kind: "more", words: `Show ${cut.length ? "the first" : "all"} ${executions.length}` });
  }
  if (others) items.push({ note: `and ${others} of namespaces that you may not list`, kind: "others" });
  else if (!items.length) items.push({ note: cut.length ? `None among the first ${SENT}.` : empty, kind: "empty" });
  sync(
    list, items, (item) => item.uid ?? item.key ?? item.kind,
    (item) => (item.uid ? create(item) : other(list, item)),
    (row, item) => {
      if (item.uid) update(row, item);
      else text(row.firstElementChild ?? row, item.note ?? item.words);
    },
  );
}

function other(list, item) {
  const row = el("li", { class: item.kind });
  if (item.words) {
    const button = el("button", { type: "button" });
    button.addEventListener("click", () => {
      list.dataset.all = "yes";
      list.dispatchEvent(new CustomEvent("more", { bubbles: true }));
    });
    row.append(button);
  }
  return row;
}

function who(execution) {
  return el(
    "div", { class: "who" },
    el("a", { href: link(execution) }, execution.name),
    el("span", { class: "where" }, `${execution.namespace} · ${execution.queue}`),
  );
}

function updateRunning(row, execution) {
  const { total, passed, failed, error, cancelled } = execution.summary;
  const over = passed + failed + error + cancelled;
  const bar = row.querySelector(".tests");
  sync(bar, execution.tests, (test) => test.name, () => el("span"), (part, test) =>
    set(part, { "data-phase": test.phase, title: `${test.name}: ${test.phase}` }));
  const now = execution.tests.filter((test) => test.phase === "Running").map((test) => test.name);
  set(bar, { "aria-label": `${over} of ${total} tests have ended${now.length ? `, running: ${now.join(", ")}` : ""}` });
  const starting = execution.reason === "Starting";
  text(row.querySelector(".done"), starting ? "starting" : `${over}/${total}`);
  set(row.querySelector(".done"), { title: starting ? execution.message : null });
  text(row.querySelector(".elapsed"), execution.startedAt ? duration(secondsSince(execution.startedAt)) : "–");
}

function updateQueued(row, execution) {
  text(row.querySelector(".position"), execution.position ? String(execution.position) : "–");
  const parts = [];
  if (execution.reason && execution.reason !== "Waiting") parts.push(execution.reason);
  if (execution.priority) parts.push(`priority ${execution.priority}`);
  parts.push(`${execution.summary.total} ${execution.summary.total === 1 ? "test" : "tests"}`);
  parts.push(`waits ${duration(secondsSince(execution.createdAt))}`);
  text(row.querySelector(".why"), parts.join(" · "));
  const estimate = row.querySelector(".estimate");
  text(estimate, execution.estimatedStart ? startsIn(execution.estimatedStart) : "");
  set(estimate, { title: execution.estimatedStart ? `estimated start ${clock(execution.estimatedStart)}` : null });
}

function reason(execution) {
  return el(
    "span", { class: "why" },
    execution.reason ? el("strong", {}, execution.reason) : null,
    execution.message ? ` ${execution.message}` : "",
  );
}

function updateResult(row, execution) {
  const took = execution.startedAt ? duration(between(execution.startedAt, execution.completedAt)) : "–";
  text(row.querySelector(".took"), took);
  const when = row.querySelector(".when");
  text(when, ago(execution.completedAt));
  set(when, { title: moment(execution.completedAt) });
}
