/** The page of transcripts: lists and finds what the server keeps, shows one, downloads and deletes it. */

import { Settings } from "./settings.js";
import { accessToken, askForToken, authorization } from "./token.js";
import { clock } from "./transcript.js";

const TIMEOUT_MS = 15_000;
const FORMATS = { vtt: "WebVTT", srt: "SRT", txt: "Text", json: "JSON" };
const STATES = { open: "running", ended: "", interrupted: "interrupted" };

const element = (id) => document.getElementById(id);

/** The number to list on from; null: that was all. */
let next = null;
/** What was searched for, which may differ from what stands in the field now. */
let query = "";
let opened = null;

// --- the server ---

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch(path, { ...options, headers: authorization(accessToken()), signal, cache: "no-store" });
  } catch {
    throw new Refusal(0, "The server does not answer");
  }
  if (response.ok) return response;
  const { code, message } = await response.json().catch(() => ({}));
  if (code === "no_store") throw new Refusal(404, "This server keeps no transcripts");
  if (response.status === 404) throw new Refusal(404, "This transcript is not there any more");
  throw new Refusal(response.status, message ?? `The server answers ${response.status}`);
}

/** Do it, tell what went wrong, and ask for the token where it is missing. */
async function attempt(task) {
  try {
    await task();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status !== 401) return showState("failed", error.message);
    showState("idle", "Waiting for the access token");
    askForToken(() => attempt(task));
  }
}

function transcriptPath(session, format) {
  return `v1/sessions/${encodeURIComponent(session.id)}/transcript.${format}?line_length=${element("line-length").value}`;
}

// --- the list ---

async function list() {
  const parameters = new URLSearchParams();
  if (query) parameters.set("q", query);
  if (next !== null) parameters.set("before", next);
  const page = await (await ask(`v1/sessions?${parameters}`)).json();
  if (next === null) element("sessions").replaceChildren();
  element("sessions").append(...page.sessions.map(listItem));
  next = page.next;
  element("more").hidden = next === null;
  tellCount();
}

function tellCount() {
  const n = element("sessions").children.length;
  const more = element("more").hidden ? "" : " or more";
  const found = query ? " found" : "";
  showState("live", n === 1 ? `1 transcript${found}` : `${n || "No"}${more} transcripts${found}`);
}

function search(words) {
  query = words.trim();
  next = null;
  attempt(list);
}

function listItem(session) {
  const button = make("button");
  button.type = "button";
  button.dataset.session = session.id;
  button.append(make("strong", "", name(session)), make("span", "", details(session)));
  for (const { start_ms, parts } of session.excerpts ?? []) {
    const excerpt = make("span", "excerpt", `${clock(start_ms)}  `);
    excerpt.append(...parts.map((part, i) => (i % 2 === 1 ? make("mark", "", part) : part)));
    button.append(excerpt);
  }
  button.addEventListener("click", () => attempt(() => open(session)));
  const item = make("li");
  item.append(button);
  return item;
}

function name({ title, started_at }) {
  return title || new Date(started_at).toLocaleString("en", { dateStyle: "full", timeStyle: "short" });
}

function details({ title, started_at, duration_ms, finals, language, state }) {
  const began = title ? new Date(started_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }) : "";
  const captions = finals === 1 ? "1 caption" : `${finals.toLocaleString("en")} captions`;
  return [began, clock(duration_ms), captions, language, STATES[state]].filter(Boolean).join(" · ");
}

// --- one transcript ---

async function open(session) {
  const [{ captions }, newest] = await Promise.all([
    ask(transcriptPath(session, "json")).then((response) => response.json()),
    ask(`v1/sessions/${encodeURIComponent(session.id)}`).then((response) => response.json()),
  ]);
  opened = newest;
  markOpened();
  element("opened").hidden = false;
  element("opened-title").textContent = name(newest);
  element("opened-details").textContent = details(newest);
  element("downloads").replaceChildren(...Object.entries(FORMATS).map(([format, words]) => download(newest, format, words)));
  element("captions").replaceChildren(...captions.map(captionItem));
  element("opened-title").focus();
}

function captionItem({ start_ms, text, language }) {
  const item = make("li");
  const said = make("span", "", text);
  said.dir = "auto";
  if (language) said.lang = language;
  item.append(make("time", "", clock(start_ms)), said);
  return item;
}

/** A link, so that it can be copied; but a private transcript needs the token, which no link carries. */
function download(session, format, words) {
  const link = make("a", "", words);
  const fileName = `${session.started_at.slice(0, 16).replaceAll(":", "")}-captions.${format}`;
  link.href = transcriptPath(session, format);
  link.download = fileName;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    attempt(async () => save(await (await ask(transcriptPath(session, format))).blob(), fileName));
  });
  return link;
}

function save(blob, fileName) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function markOpened() {
  for (const button of element("sessions").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.session === opened?.id));
  }
}

async function deleteOpened() {
  const { id } = opened;
  await ask(`v1/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
  opened = null;
  element("opened").hidden = true;
  element("captions").replaceChildren();
  element("sessions").querySelector(`[data-session="${CSS.escape(id)}"]`)?.parentElement.remove();
  tellCount();
  element("query").focus();
}

// --- the page ---

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function showState(state, words) {
  element("state").dataset.state = state;
  element("state").textContent = words;
}

element("delete").addEventListener("click", () => {
  const running = opened.state === "open" ? " It is still running: captions go on, and are not kept any more." : "";
  element("delete-text").textContent = `${name(opened)}: ${details(opened)}. It cannot be brought back.${running}`;
  element("delete-dialog").returnValue = "";
  element("delete-dialog").showModal();
});

element("delete-dialog").addEventListener("close", () => {
  if (element("delete-dialog").returnValue === "delete") attempt(deleteOpened);
});

element("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search(element("query").value);
});
element("more").addEventListener("click", () => attempt(list));
element("line-length").addEventListener("change", () => {
  for (const link of element("downloads").children) {
    link.search = `line_length=${element("line-length").value}`;
  }
});

document.documentElement.dataset.theme = new Settings().get("theme");
search("");
