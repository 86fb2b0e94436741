// A card for each queue: the seed of it all, RUNNING 5/5 and QUEUED 50/50.

import { draw } from "./chart.js";
import { el, set, svg, sync, text } from "./dom.js";
import { duration, roughly } from "./time.js";

const POLICIES = { Hold: "held", HoldAndDrain: "draining", Closed: "closed" };
const histories = new Map();

export function showQueues(parent, queues) {
  sync(parent, queues, (queue) => queue.name, create, update);
}

export async function refreshHistories(queues) {
  await Promise.all(queues.map(async ({ name }) => {
    const answer = await fetch(`/api/queue-stats/history?queue=${encodeURIComponent(name)}`);
    if (!answer.ok) return;
    histories.set(name, (await answer.json()).samples);
    const card = [...document.querySelectorAll(".queue")].find((each) => each.dataset.key === name);
    if (card) showHistory(card, name);
  }));
}

function create(queue) {
  const title = el("h3", {}, queue.name);
  const card = el(
    "article", { class: "queue card", "aria-label": `Queue ${queue.name}` },
    el("header", {}, title, el("span", { class: "badge", hidden: "" }), el("span", { class: "pace" })),
    el("div", { class: "meters" }, meter("running", "RUNNING", queue.name), meter("queued", "QUEUED", queue.name)),
    el("div", {},
      svg("svg", { class: "chart", role: "img", "aria-label": "History" }),
      el("p", { class: "legend", "aria-hidden": "true" }, el("span", { class: "peak" }), el("span", { class: "longest" })),
    ),
  );
  showHistory(card, queue.name);
  return card;
}

function meter(kind, label, queue) {
  return el(
    "div", { class: `meter ${kind}` },
    el("div", { class: "label", "aria-hidden": "true" }, el("span", { class: "name" }, label), el("span", { class: "figure" })),
    el("div", { class: "bar", role: "meter", "aria-label": `${label.toLowerCase()} in queue ${queue}`, "aria-valuemin": 0 }, el("span")),
  );
}

function update(card, queue) {
  const badge = card.querySelector(".badge");
  const policy = POLICIES[queue.stopPolicy];
  badge.hidden = !policy;
  text(badge, policy ?? "");
  text(card.querySelector(".pace"), each(queue.slotSeconds));
  fill(card.querySelector(".running"), queue.running, queue.runningCapacity);
  fill(card.querySelector(".queued"), queue.queued, queue.queuedCapacity);
}

function each(seconds) {
  if (seconds === undefined) return "";
  return seconds < 1 ? "under 1 s each" : `about ${roughly(seconds)} each`;
}

function fill(meter, value, capacity) {
  const share = capacity ? Math.min(1, value / capacity) : value ? 1 : 0;
  meter.classList.toggle("some", value > 0);
  text(meter.querySelector(".figure"), `${value}/${capacity}`);
  const bar = meter.querySelector(".bar");
  set(bar, { "aria-valuenow": Math.min(value, capacity), "aria-valuemax": capacity, "aria-valuetext": `${value} of ${capacity}` });
  bar.firstElementChild.style.transform = `scaleX(${share})`;
}

function showHistory(card, name) {
  const { most, longest, minutes } = draw(card.querySelector(".chart"), histories.get(name) ?? []);
  text(card.querySelector(".peak"), most === null ? "" : `last ${minutes} min, up to ${most}`);
  text(card.querySelector(".longest"), longest === null ? "" : `waits up to ${duration(longest)}`);
}
