// The live page: one stream of everything the viewer may see, drawn on every message and, since
// time passes between two messages, every second.

import { clear, load, show } from "./detail.js";
import { el, sync, text } from "./dom.js";
import { count, cut, showLine, showResults, showRunning } from "./lists.js";
import { refreshHistories, showQueues } from "./queues.js";
import { follow } from "./stream.js";
import { setServerTime } from "./time.js";

const HISTORY_EVERY = 5000;
const DETAIL_EVERY = 1000;
const $ = (id) => document.getElementById(id);

let state = null;
let route = {};
let detailAt = 0;
let over = false; // the execution of the route, so that nothing of it changes any more

function draw() {
  if (state === null || route.execution) return;
  const chosen = { queue: route.queue ?? "", namespace: route.namespace ?? "" };
  options($("queue"), "All queues", state.queues.map((queue) => queue.name), chosen.queue);
  options($("namespace"), "All namespaces", state.namespaces, chosen.namespace);
  const wanted = (execution) =>
    (!chosen.queue || execution.queue === chosen.queue)
    && (!chosen.namespace || execution.namespace === chosen.namespace);
  const queues = state.queues.filter((queue) => !chosen.queue || queue.name === chosen.queue);
  const [running, queued, finished] = ["running", "queued", "finished"].map((kind) => ({
    executions: state[kind].filter(wanted),
    others: chosen.namespace ? 0 : queues.reduce((sum, queue) => sum + (queue.others[kind] ?? 0), 0),
    cut: cut(state[kind], state.queues, kind).filter((queue) => !chosen.queue || queue === chosen.queue),
  }));

  showQueues($("queues"), queues);
  showRunning($("running"), running, "Nothing is running.");
  showLine($("line"), queued, "Nobody is waiting.");
  showResults($("results"), finished, "Nothing has ended lately.");
  text($("running-count"), count(running));
  text($("line-count"), count(queued));
  text($("results-count"), finished.executions.length ? count(finished) : "");
  $("overview").setAttribute("aria-busy", "false");
  if (!state.queues.length) {
    notice("You may not see any queue: ask for the right to get executionqueues.");
  }
}

function options(select, all, names, chosen) {
  const listed = chosen && !names.includes(chosen) ? [...names, chosen] : names;
  const values = [{ value: "", label: all }, ...listed.map((name) => ({ value: name, label: name }))];
  sync(select, values, ({ value }) => `option ${value}`, ({ value, label }) => el("option", { value }, label), () => {});
  select.firstElementChild.textContent = all;
  if (select.value !== chosen) select.value = chosen;
}

function connection(kind, words) {
  $("connection").dataset.state = kind;
  text($("connection"), words);
  document.body.toggleAttribute("data-stale", kind === "reconnecting" || kind === "unavailable");
}

function isUnavailable() {
  return $("connection").dataset.state === "unavailable";
}

function reconnecting() {
  connection("reconnecting", "Reconnecting…");
}

function notice(words) {
  $("notice").hidden = !words;
  text($("notice"), words ?? "");
}

async function drawDetail() {
  if (!route.execution || over) return;
  const [namespace, name] = route.execution.split("/");
  detailAt = Date.now();
  try {
    const execution = await load(namespace, name);
    if (route.execution !== `${namespace}/${name}`) return;
    show($("detail"), execution);
    over = Boolean(execution.completedAt);
  } catch {
    stream.lost();
  }
}

function navigate() {
  const before = route.execution;
  route = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  $("overview").hidden = Boolean(route.execution);
  $("detail").hidden = !route.execution;
  $("filters").hidden = Boolean(route.execution);
  document.title = route.execution ? `${route.execution.split("/")[1]} · supercheck` : "supercheck";
  if (before !== route.execution) {
    clear($("detail"), route.execution?.split("/")[1] ?? "");
    over = false;
    scrollTo(0, 0);
    if (before !== undefined || route.execution) $("main").focus({ preventScroll: true });
  }
  draw();
  drawDetail();
}

async function histories() {
  if (document.hidden || state === null || route.execution) return;
  try {
    await refreshHistories(state.queues);
  } catch {
    stream.lost();
  }
}

async function whoAmI() {
  const answer = await fetch("/api/me");
  setServerTime(answer.headers.get("Date"));
  if (answer.status === 401) {
    location.reload(); // to the login
    return;
  }
  if (!answer.ok) return;
  const { name, login } = await answer.json();
  $("me").hidden = !login;
  text($("me-name"), name);
}

const stream = follow("/api/live", {
  onState(news) {
    const first = state === null;
    state = news;
    notice(null);
    connection("live", "Live");
    draw();
    if (first) histories();
    if (Date.now() - detailAt >= DETAIL_EVERY) drawDetail();
  },
  onUnavailable(message) {
    notice(message);
    connection("unavailable", "Figures unavailable");
  },
  onLost() {
    // A server that tells no figures refuses the stream: that is no news every 5 s.
    if (!isUnavailable()) reconnecting();
    // A login that is over is no lost connection.
    whoAmI().catch(() => isUnavailable() && reconnecting());
  },
});

addEventListener("hashchange", navigate);
addEventListener("more", draw);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its hash would be taken for a route
  $("main").focus();
});
$("filters").addEventListener("change", () => {
  const chosen = new URLSearchParams();
  for (const select of [$("queue"), $("namespace")]) {
    if (select.value) chosen.set(select.name, select.value);
  }
  location.hash = chosen.toString();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());

whoAmI().catch(() => {});
navigate();
setInterval(() => (route.execution ? drawDetail() : draw()), 1000);
setInterval(histories, HISTORY_EVERY);
