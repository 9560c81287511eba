// @ts-check
/** The page of figures: asks `/v1/stats` once a second, draws the last two minutes, and writes everything into tables. */

import { element, make } from "./dom.js";
import { Graph, HISTORY_S } from "./graph.js";
import { decimal, t } from "./language.js";
import { Settings } from "./settings.js";
import { accessToken, authorization } from "./token.js";
import { needsToken, requireToken } from "./token-dialog.js";

/** @import { GraphOptions, Reading } from "./graph.js" */
/** @import { Latencies, Refusal, Stats } from "./messages.js" */

/** @typedef {[name: string, written: (stats: Stats) => string]} Figure */

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 5000;
/** Computing time is counted in whole batches, so a share needs an average over some seconds. */
const BUSY_OVER_S = 10;

/** @type {Record<string, string>} */
const STATES = {
  loading: t("Loading the model"),
  ready: t("Ready"),
  recovering: t("An inference process is restarting"),
  draining: t("Stopping"),
  failed: t("No inference process is running"),
  stopped: t("Stopped"),
};

/** @type {[name: string, latencies: (stats: Stats) => Latencies][]} */
const DELAYS = [
  [t("End of speech to its detection"), ({ latencies_s }) => latencies_s.endpoint],
  [t("Start of speech to first caption"), ({ latencies_s }) => latencies_s.first_partial],
  [t("Word to partial caption"), ({ latencies_s }) => latencies_s.partial],
  [t("End of speech to final caption"), ({ latencies_s }) => latencies_s.final],
];

/** @type {Record<string, string>} */
const LIMIT_REASONS = {
  max_streams: t("Set by the operator"),
  unmeasured: t("Loading the model"),
  measured: t("Measured cost of the captions"),
  memory: t("Free memory"),
  late: t("Finals are late, or partials are paused"),
};

/** @type {Figure[]} */
const NOW = [
  [t("Open streams"), ({ streams }) => count(streams.open)],
  [t("Limit of open streams"), ({ streams }) => count(streams.limit)],
  [t("Reason for the limit"), ({ streams }) => LIMIT_REASONS[streams.limit_reason] ?? streams.limit_reason],
  [t("Audio between two partials"), ({ pace }) => interval(pace.partial_interval_ms)],
  [t("Finals waiting"), ({ queue }) => count(queue.finals)],
  [t("Partials waiting"), ({ queue }) => count(queue.partials)],
  [t("Requests in progress"), ({ queue }) => count(queue.in_flight)],
  [t("Computing time per second of audio, last minute"), ({ real_time_factor }) => duration(real_time_factor)],
  [t("Transcript entries waiting for the disk"), ({ store }) => (store ? count(store.waiting) : GAP)],
  [t("Event loop delay, median of the last minute"), ({ event_loop_lag_s }) => duration(event_loop_lag_s.p50)],
  [t("Event loop delay, 99 % of the last minute"), ({ event_loop_lag_s }) => duration(event_loop_lag_s.p99)],
  [t("Memory of the server"), ({ server }) => bytes(server.resident_memory_bytes)],
];

/** @type {Figure[]} */
const COUNTS = [
  [t("Streams accepted"), ({ streams }) => count(streams.accepted)],
  [t("Streams refused"), ({ streams }) => refusals(streams.refused)],
  [t("Audio received"), ({ received_audio_s }) => duration(received_audio_s)],
  [t("Audio transcribed, with repetitions"), ({ transcribed_audio_s }) => duration(transcribed_audio_s)],
  [t("Computing time"), ({ compute_s }) => duration(compute_s)],
  [t("Batches"), ({ batches }) => batchWords(batches)],
  [t("Partials requested"), ({ partials }) => count(partials.asked)],
  [t("Partials answered"), ({ partials }) => count(partials.answered)],
  [t("Partials superseded by newer ones"), ({ partials }) => count(partials.superseded)],
  [t("Partials dropped"), ({ partials }) => count(partials.dropped)],
  [t("Partials paused"), ({ pace }) => duration(pace.partials_paused_s)],
  [t("Partials failed"), ({ partials }) => count(partials.failed)],
  [t("Finals answered"), ({ finals }) => count(finals.answered)],
  [t("Finals failed"), ({ finals }) => count(finals.failed)],
  [t("Failed attempts to store transcripts"), ({ store }) => (store ? count(store.failures) : GAP)],
  [t("Transcript entries lost"), ({ store }) => (store ? count(store.lost) : GAP)],
  [t("Finals decoded twice"), ({ redone_finals }) => count(redone_finals)],
  [t("Runaway texts"), ({ runaway_texts }) => count(runaway_texts)],
];

/** @type {GraphOptions[]} */
const GRAPHS = [
  { title: t("Open streams"), format: count, leastTop: 4, lines: [[t("Open"), ({ streams }) => streams.open]] },
  {
    title: t("End of speech to final caption"),
    format: duration,
    leastTop: 1,
    lines: [
      ["50 %", ({ latencies_s }) => latencies_s.final.p50],
      ["95 %", ({ latencies_s }) => latencies_s.final.p95],
    ],
  },
  {
    title: t("Word to partial caption"),
    format: duration,
    leastTop: 1,
    lines: [
      ["50 %", ({ latencies_s }) => latencies_s.partial.p50],
      ["95 %", ({ latencies_s }) => latencies_s.partial.p95],
    ],
  },
  { title: t("Inference processes at work"), format: share, leastTop: 1, lines: [[t("Busy"), busyShare]] },
  {
    title: t("Requests waiting"),
    format: count,
    leastTop: 4,
    lines: [
      [t("Finals"), ({ queue }) => queue.finals],
      [t("Partials"), ({ queue }) => queue.partials],
    ],
  },
  {
    title: t("Event loop delay"),
    format: duration,
    leastTop: 0.02,
    lines: [
      ["50 %", ({ event_loop_lag_s }) => event_loop_lag_s.p50],
      ["99 %", ({ event_loop_lag_s }) => event_loop_lag_s.p99],
    ],
  },
];

// --- figures in words ---

const GAP = "–";

/** @param {number | null} n */
function count(n) {
  return n === null ? GAP : decimal(n);
}

/** @param {number | null} part */
function share(part) {
  return part === null ? GAP : `${decimal(part * 100)} %`;
}

/** @param {number | null} s */
function duration(s) {
  if (s === null) return GAP;
  if (s < 0.01) return `${decimal(s * 1000, 1)} ms`;
  if (s < 1) return `${decimal(s * 1000)} ms`;
  if (s < 120) return `${decimal(s, 1)} s`;
  return s < 7200 ? `${decimal(s / 60, 1)} min` : `${decimal(s / 3600, 1)} h`;
}

/** @param {number | null} ms */
function interval(ms) {
  return ms === null ? t("Paused: there is only time for finals") : duration(ms / 1000);
}

/** @param {number | null | undefined} n */
function bytes(n) {
  if (n === null || n === undefined) return GAP;
  return n < 2 ** 30 ? `${decimal(n / 2 ** 20)} MiB` : `${decimal(n / 2 ** 30, 1)} GiB`;
}

/** @param {Stats["streams"]["refused"]} refused */
function refusals(refused) {
  const codes = Object.entries(refused).map(([code, n]) => `${n} ${code.replaceAll("_", " ")}`);
  return codes.length > 0 ? codes.join(", ") : "0";
}

/** @param {Stats["batches"]} batches */
function batchWords(batches) {
  const n = Object.values(batches).reduce((sum, times) => sum + times, 0);
  const requests = Object.entries(batches).reduce((sum, [size, times]) => sum + Number(size) * times, 0);
  return n > 0 ? t("{count}, with {mean} requests on average", { count: n, mean: decimal(requests / n, 1) }) : "0";
}

/** @param {Stats["workers"][number]["device_memory"]} memory */
function gpuMemory(memory) {
  return memory ? t("{used} of {total}", { used: bytes(memory.used_bytes), total: bytes(memory.total_bytes) }) : GAP;
}

/**
 * The computing time per second and process, averaged over the last seconds.
 *
 * @type {Reading}
 */
function busyShare(stats, history) {
  const before = history.find(({ at_s }) => at_s >= stats.at_s - BUSY_OVER_S);
  if (!before || before === stats || stats.workers.length === 0) return null;
  return Math.min(1, (stats.compute_s - before.compute_s) / (stats.at_s - before.at_s) / stats.workers.length);
}

// --- tables ---

/**
 * Write rows of texts into a table. The first text of each is its heading. Existing cells are kept, because a screen
 * reader would lose its place in them.
 *
 * @param {string} id
 * @param {string[][]} rows
 */
function fill(id, rows) {
  const [body] = element(id, HTMLTableElement).tBodies;
  while (body.rows.length > rows.length) body.deleteRow(-1);
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

const graphs = GRAPHS.map((options) => new Graph(element("graphs"), options));
/** @type {Stats[]} */
let history = [];

/** @param {Stats} stats */
function show(stats) {
  const last = history.at(-1);
  // The server was restarted and counts from 0 again.
  if (last && stats.compute_s < last.compute_s) history = [];
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
  fill(
    "now",
    NOW.map(([name, written]) => [name, written(stats)]),
  );
  fill(
    "counts",
    COUNTS.map(([name, written]) => [name, written(stats)]),
  );
}

/**
 * @param {string} state
 * @param {string} words
 */
function showState(state, words) {
  if (element("state").textContent === words) return; // a screen reader would announce it again
  element("state").dataset.state = state;
  element("state").textContent = words;
}

/** Ask once; return whether to ask again. */
async function update() {
  let response;
  /** @type {Stats & Refusal} */
  let answer;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch("v1/stats", { headers: authorization(accessToken()), signal, cache: "no-store" });
    answer = await (response.ok ? response.json() : response.json().catch(() => ({})));
  } catch {
    showState("lost", t("The server does not answer; trying again"));
    return true;
  }
  if (!response.ok) {
    const { code = "" } = answer;
    if (needsToken(code)) {
      showState("idle", t("Waiting for the access token"));
      requireToken(watch, code);
      return false;
    }
    showState("lost", t("The server answers {status}; trying again", { status: response.status }));
    return true;
  }
  showState(answer.state === "ready" ? "live" : answer.state, STATES[answer.state]);
  show(answer);
  return true;
}

async function watch() {
  while (await update()) await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
}

document.documentElement.dataset.theme = new Settings().get("theme");
watch();
