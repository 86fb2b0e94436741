// One execution with its tests, messages and times.

import { el, text } from "./dom.js";
import { phase } from "./lists.js";
import { between, duration, moment, secondsSince, startsIn } from "./time.js";

// The execution, or what to tell of why there is none.
export async function load(namespace, name) {
  const path = `/api/executions/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const answer = await fetch(path);
  const body = await answer.json();
  return answer.ok ? body : { namespace, name, told: body.message };
}

// What is drawn: the execution's data but what changes with time alone, and the elements of that,
// each with what tells its words of the execution.
let drawn = { data: null, times: [] };

export function clear(parent, title) {
  drawn = { data: null, times: [] };
  parent.replaceChildren(el("h1", { id: "detail-title" }, title));
}

// What has not changed is left alone: somebody may have selected it.
export function show(parent, execution) {
  const data = JSON.stringify({ ...execution, estimatedStart: Boolean(execution.estimatedStart) });
  if (data !== drawn.data) {
    drawn = { data, times: [] };
    draw(parent, execution);
  }
  for (const [element, words] of drawn.times) text(element, words(execution));
}

function draw(parent, execution) {
  const focused = parent.contains(document.activeElement) && document.activeElement.className;
  const scrolled = parent.querySelector(".scroll")?.scrollLeft ?? 0;
  parent.replaceChildren(
    el("a", { class: "back", href: "#" }, "← All executions"),
    el("h1", { id: "detail-title" }, execution.name),
    ...(execution.told ? [el("p", { class: "muted" }, execution.told)] : parts(execution)),
  );
  if (focused) parent.querySelector(`.${focused.split(" ")[0]}`)?.focus();
  const table = parent.querySelector(".scroll");
  if (table) table.scrollLeft = scrolled;
}

function parts(execution) {
  const facts = [
    ["Namespace", execution.namespace],
    ["Queue", execution.queue],
    ["Priority", execution.priority ? String(execution.priority) : null],
    ["Position in line", execution.position ? String(execution.position) : null],
    ["Estimated start", execution.estimatedStart ? time((now) => startsIn(now.estimatedStart)) : null],
    ["Attempts", execution.attempts > 1 ? String(execution.attempts) : null],
    ["Queued", moment(execution.createdAt)],
    ["Waited", waited(execution) && time(waited)],
    ["Started", execution.startedAt ? moment(execution.startedAt) : null],
    ["Completed", execution.completedAt ? moment(execution.completedAt) : null],
    [execution.completedAt ? "Took" : "Running for", took(execution) && time(took)],
  ].filter(([, value]) => value);
  return [
    el("div", { class: "head" }, phase(execution.phase), el("span", { class: "muted" }, said(execution) ?? "")),
    execution.message ? el("p", { class: "message card" }, execution.message) : null,
    el("dl", { class: "card" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("h2", { id: "tests-title" }, "Tests ", el("span", { class: "count" }, finished(execution))),
    el("div", { class: "scroll card", tabindex: 0, role: "region", "aria-labelledby": "tests-title" }, table(execution.tests)),
  ].filter(Boolean);
}

// Words that change with time alone.
function time(words) {
  const element = el("span");
  drawn.times.push([element, words]);
  return element;
}

function finished({ summary }) {
  return `${summary.passed}/${summary.total} passed`;
}

function waited(execution) {
  if (execution.phase === "Queued") return duration(secondsSince(execution.createdAt));
  return execution.startedAt ? duration(between(execution.createdAt, execution.startedAt)) : null;
}

function took(execution) {
  if (!execution.startedAt) return null;
  return duration(execution.completedAt
    ? between(execution.startedAt, execution.completedAt)
    : secondsSince(execution.startedAt));
}

// The roles are said, since on a phone, where rows are no rows to CSS, browsers would forget them.
function table(tests) {
  const heads = ["Test", "Result", "Why", "Exit code", "Took", "Pod"];
  const row = (test, number) => [
    test.name,
    phase(test.phase),
    why(test),
    test.exitCode === undefined ? "–" : String(test.exitCode),
    took(test) ? time((now) => took(now.tests[number])) : "–",
    test.pod ? el("code", {}, test.pod) : "–",
  ];
  return el(
    "table", { role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads.map((head) =>
      el("th", { scope: "col", role: "columnheader" }, head)))),
    el("tbody", { role: "rowgroup" }, ...tests.map((test, number) => el("tr", { role: "row" }, ...row(test, number).map((cell, index) =>
      index ? el("td", { role: "cell", "data-head": heads[index], "data-none": cell === "–" }, cell)
        : el("th", { scope: "row", role: "rowheader" }, cell))))),
  );
}

function why(test) {
  return [said(test), test.message].filter(Boolean).join(": ") || "–";
}

// A reason that only repeats the phase says nothing.
function said({ phase: now, reason }) {
  return reason === now ? null : reason;
}
