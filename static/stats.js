/** The page of figures: asks `/v1/stats` once a second, draws the last two minutes, and writes all of it into tables. */

import { Settings } from "./settings.js";
import { accessToken, askForToken, authorization } from "./token.js";

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 5000;
const HISTORY_S = 120;
/** Computing comes in whole batches; over so long a time they make a share. */
const BUSY_OVER_S = 10;
const SVG = "http://www.w3.org/2000/svg";

const STATES = {
  loading: "Loading the model",
  ready: "Ready",
  recovering: "An inference process restarts",
  draining: "Stopping",
  failed: "No inference process runs",
  stopped: "Stopped",
};

const DELAYS = [
  ["End of speech to its end being seen", ({ latencies_s }) => latencies_s.endpoint],
  ["Start of speech to first caption", ({ latencies_s }) => latencies_s.first_partial],
  ["Word to partial caption", ({ latencies_s }) => latencies_s.partial],
  ["End of speech to final caption", ({ latencies_s }) => latencies_s.final],
];

const NOW = [
  ["Open streams", ({ streams }) => count(streams.open)],
  ["Streams that could be open", ({ streams }) => count(streams.limit)],
  ["Audio between two partials", ({ pace }) => interval(pace.partial_interval_ms)],
  ["Finals waiting", ({ queue }) => count(queue.finals)],
  ["Partials waiting", ({ queue }) => count(queue.partials)],
  ["Requests being computed", ({ queue }) => count(queue.in_flight)],
  ["Computing time per second of audio, last minute", ({ real_time_factor }) => duration(real_time_factor)],
  ["Entries of transcripts waiting for the disk", ({ store }) => (store ? count(store.waiting) : GAP)],
  ["Event loop late, half of the last minute", ({ event_loop_lag_s }) => duration(event_loop_lag_s.p50)],
  ["Event loop late, 99 % of the last minute", ({ event_loop_lag_s }) => duration(event_loop_lag_s.p99)],
  ["Memory of the server", ({ server }) => bytes(server.resident_memory_bytes)],
];

const COUNTS = [
  ["Streams accepted", ({ streams }) => count(streams.accepted)],
  ["Streams refused", ({ streams }) => refusals(streams.refused)],
  ["Audio received", ({ received_audio_s }) => duration(received_audio_s)],
  ["Audio transcribed, in each partial anew", ({ transcribed_audio_s }) => duration(transcribed_audio_s)],
  ["Computing", ({ compute_s }) => duration(compute_s)],
  ["Batches", ({ batches }) => batchWords(batches)],
  ["Partials asked for", ({ partials }) => count(partials.asked)],
  ["Partials answered", ({ partials }) => count(partials.answered)],
  ["Partials superseded by newer ones", ({ partials }) => count(partials.superseded)],
  ["Partials dropped", ({ partials }) => count(partials.dropped)],
  ["Partials paused", ({ pace }) => duration(pace.partials_paused_s)],
  ["Partials failed", ({ partials }) => count(partials.failed)],
  ["Finals answered", ({ finals }) => count(finals.answered)],
  ["Finals failed", ({ finals }) => count(finals.failed)],
  ["Transcripts that could not be stored at once", ({ store }) => (store ? count(store.failures) : GAP)],
  ["Entries of transcripts lost", ({ store }) => (store ? count(store.lost) : GAP)],
  ["Finals decoded twice", ({ redone_finals }) => count(redone_finals)],
  ["Runaway texts", ({ runaway_texts }) => count(runaway_texts)],
];

/** Each with one or two lines; a value of null is a gap. */
const GRAPHS = [
  ["Open streams", count, 4, [["Open", ({ streams }) => streams.open]]],
  ["End of speech to final caption", duration, 1, percentiles(({ latencies_s }) => latencies_s.final, "p50", "p95")],
  ["Word to partial caption", duration, 1, percentiles(({ latencies_s }) => latencies_s.partial, "p50", "p95")],
  ["Inference processes at work", share, 1, [["Busy", busyShare]]],
  [
    "Requests waiting",
    count,
    4,
    [
      ["Finals", ({ queue }) => queue.finals],
      ["Partials", ({ queue }) => queue.partials],
    ],
  ],
  ["Event loop late by", duration, 0.02, percentiles(({ event_loop_lag_s }) => event_loop_lag_s, "p50", "p99")],
];

const element = (id) => document.getElementById(id);

// --- words for figures ---

const GAP = "–";

function count(n) {
  return n === null ? GAP : Math.round(n).toLocaleString("en");
}

function share(part) {
  return part === null ? GAP : `${Math.round(part * 100)} %`;
}

function duration(s) {
  if (s === null) return GAP;
  if (s < 0.01) return `${(s * 1000).toFixed(1)} ms`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 120) return `${s.toFixed(1)} s`;
  return s < 7200 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`;
}

function interval(ms) {
  return ms === null ? "Paused: finals are all there is time for" : duration(ms / 1000);
}

function bytes(n) {
  if (n === null || n === undefined) return GAP;
  return n < 2 ** 30 ? `${Math.round(n / 2 ** 20)} MiB` : `${(n / 2 ** 30).toFixed(1)} GiB`;
}

function refusals(refused) {
  const codes = Object.entries(refused).map(([code, n]) => `${n} ${code.replaceAll("_", " ")}`);
  return codes.length > 0 ? codes.join(", ") : "0";
}

function batchWords(batches) {
  const n = Object.values(batches).reduce((sum, times) => sum + times, 0);
  const requests = Object.entries(batches).reduce((sum, [size, times]) => sum + size * times, 0);
  return n > 0 ? `${count(n)}, of ${(requests / n).toFixed(1)} requests on average` : "0";
}

function gpuMemory(memory) {
  return memory ? `${bytes(memory.used_bytes)} of ${bytes(memory.total_bytes)}` : GAP;
}

// --- graphs ---

function percentiles(of, low, high) {
  return [low, high].map((rank) => [`${rank.slice(1)} %`, (stats) => of(stats)[rank]]);
}

/** Computing time per second and process, lately. */
function busyShare(stats, history) {
  const before = history.find(({ at_s }) => at_s >= stats.at_s - BUSY_OVER_S);
  if (!before || before === stats || stats.workers.length === 0) return null;
  const share = (stats.compute_s - before.compute_s) / (stats.at_s - before.at_s) / stats.workers.length;
  return Math.min(1, share);
}

/** One figure over time. The lines are for the eye; the key beside them says the newest values in words. */
class Graph {
  #format;
  #least;
  #lines;
  #newest;
  #top;
  #paths;

  /** `least` is the smallest value that the scale ends with, so that noise does not look like a mountain. */
  constructor(parent, [title, format, least, lines]) {
    this.#format = format;
    this.#least = least;
    this.#lines = lines;
    const figure = make("figure", "graph");
    const keys = make("dl", "keys");
    this.#newest = lines.map(([name]) => {
      const value = make("dd", "", GAP);
      const key = make("div");
      key.append(make("dt", "", name), value);
      keys.append(key);
      return value;
    });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const y of [0, 50, 100]) svg.append(svgElement("line", { x1: 0, x2: 100, y1: y, y2: y }));
    this.#paths = lines.map(() => svgElement("path", {}));
    svg.append(...this.#paths);
    const scale = make("div", "scale");
    scale.setAttribute("aria-hidden", "true");
    this.#top = make("span");
    scale.append(this.#top, make("span", "", "0"));
    const frame = make("div", "frame");
    frame.append(svg, scale);
    figure.append(make("figcaption", "", title), keys, frame);
    parent.append(figure);
  }

  show(history) {
    const now_s = history.at(-1).at_s;
    const series = this.#lines.map(([, value]) => history.map((stats) => [stats.at_s - now_s, value(stats, history)]));
    const top = niceCeiling(Math.max(this.#least, ...series.flat().map(([, value]) => value ?? 0)));
    this.#top.textContent = this.#format(top);
    series.forEach((points, i) => {
      this.#paths[i].setAttribute("d", pathOf(points, top));
      this.#newest[i].textContent = this.#format(points.at(-1)[1]);
    });
  }
}

function pathOf(points, top) {
  let drawing = false;
  return points
    .map(([at_s, value]) => {
      const command = value === null ? "" : `${drawing ? "L" : "M"}${x(at_s)} ${(100 - (100 * value) / top).toFixed(2)}`;
      drawing = value !== null;
      return command;
    })
    .join("");
}

function x(at_s) {
  return (100 + (100 * at_s) / HISTORY_S).toFixed(2);
}

/** The next of 1, 2, 5, 10, 20 …, so that the scale does not change with every point. */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

function svgElement(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

// --- tables ---

/** Rows of texts, the first of each its heading. Cells that are there are kept, lest a reader's place in them is lost. */
function fill(id, rows) {
  const body = element(id).querySelector("tbody");
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((texts, i) => {
    const row = body.rows[i] ?? body.insertRow();
    texts.forEach((text, j) => {
      if (!row.cells[j]) row.append(j === 0 ? rowHeading() : make("td"));
      if (row.cells[j].textContent !== text) row.cells[j].textContent = text;
    });
  });
}

function rowHeading() {
  const heading = make("th");
  heading.scope = "row";
  return heading;
}

// --- the server ---

const graphs = GRAPHS.map((graph) => new Graph(element("graphs"), graph));
let history = [];

function show(stats) {
  // A server that was started anew begins anew.
  if (history.length > 0 && stats.compute_s < history.at(-1).compute_s) history = [];
  history = [...history.filter(({ at_s }) => at_s >= stats.at_s - HISTORY_S && at_s < stats.at_s), stats];
  for (const graph of graphs) graph.show(history);
  fill(
    "latencies",
    DELAYS.map(([name, of]) => [name, duration(of(stats).p50), duration(of(stats).p95), count(of(stats).n)]),
  );
  fill(
    "workers",
    stats.workers.map((worker, number) => [
      count(number),
      STATES[worker.state],
      count(worker.restarts),
      bytes(worker.resident_memory_bytes),
      gpuMemory(worker.device_memory),
    ]),
  );
  fill("now", NOW.map(([name, value]) => [name, value(stats)]));
  fill("counts", COUNTS.map(([name, value]) => [name, value(stats)]));
}

function showState(state, words) {
  if (element("state").textContent === words) return; // it would be read out again
  element("state").dataset.state = state;
  element("state").textContent = words;
}

async function ask() {
  let response;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch("v1/stats", { headers: authorization(accessToken()), signal, cache: "no-store" });
  } catch {
    showState("lost", "The server does not answer; trying again");
    return true;
  }
  if (response.status === 401) {
    showState("idle", "Waiting for the access token");
    askForToken(watch);
    return false;
  }
  if (!response.ok) {
    showState("lost", `The server answers ${response.status}; trying again`);
    return true;
  }
  const stats = await response.json();
  showState(stats.state === "ready" ? "live" : stats.state, STATES[stats.state]);
  show(stats);
  return true;
}

async function watch() {
  while (await ask()) await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
}

document.documentElement.dataset.theme = new Settings().get("theme");
watch();
