// @ts-check
/** The page of transcripts: lists and searches what the server stores; shows, downloads, renames, deletes one of them. */

import { CaptionBlocks } from "./caption-blocks.js";
import { ask, element, make, save } from "./dom.js";
import { language as pageLanguage, t } from "./language.js";
import { Settings } from "./settings.js";
import { fetchPatiently } from "./silence.js";
import { SinksPanel } from "./sinks.js";
import { askForName } from "./speaker-dialog.js";
import { SpeakerNames } from "./speaker-names.js";
import { accessToken, authorization } from "./token.js";
import { needsToken, requireToken } from "./token-dialog.js";
import { inTrack, listTracks, ORIGINAL } from "./tracks.js";
import { clock } from "./transcript.js";
import { Entry } from "./transcript-view.js";
import { refusalWords } from "./words.js";

/** @import { Caption, Refusal, StoredSession } from "./messages.js" */

const MAX_SILENCE_MS = 15_000;
const FORMATS = { vtt: "WebVTT", srt: "SRT", txt: t("Text"), json: "JSON" };

const sessions = element("sessions");
const more = element("more", HTMLButtonElement);
const lineLength = element("line-length", HTMLSelectElement);
const track = element("track", HTMLSelectElement);
/** The services that get the captions of the session, while it runs. */
const sinks = element("sinks", HTMLDetailsElement);

/** A part of the page that shows the answer to its newest request: those before it are given up. */
class Place {
  #newest = new AbortController();

  /** Begin a request; return the signal that ends it. */
  begin() {
    this.#newest.abort();
    this.#newest = new AbortController();
    return this.#newest.signal;
  }
}

const theList = new Place();
const theTranscript = new Place();

/** @type {string | null} Where the next part of the list begins; null: there is no more. */
let next = null;
/** The lists of the rooms that the list has, by their names. @type {Map<string, HTMLElement>} */
const rooms = new Map();
/** The search that the list answers, which may differ from the text in the field. */
let query = "";
/** @type {StoredSession | null} */
let opened = null;
/** What was said in it. @type {Caption[]} */
let captions = [];
const names = new SpeakerNames();

// --- the server ---

/** The server refused a request, or did not answer it (status 0). */
class RequestFailed extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Send a request; return what is read from the answer. Throws RequestFailed.
 *
 * @param {string} path
 * @param {RequestInit} options
 * @param {(response: Response) => Promise<any>} read
 */
async function request(path, options = {}, read = (response) => response.json()) {
  let response;
  try {
    const headers = authorization(accessToken());
    response = await fetchPatiently(path, { ...options, headers, cache: "no-store" }, MAX_SILENCE_MS);
    if (response.ok) return await read(response);
  } catch {
    throw new RequestFailed(0, "", t("The server does not answer"));
  }
  /** @type {Refusal} */
  const { code = "", message = "" } = await response.json().catch(() => ({}));
  throw new RequestFailed(response.status, code, refusalWords(code, response.status, message));
}

/**
 * Run a task and show why it failed. Where the token is missing, ask for it and run the task again.
 *
 * @param {(signal?: AbortSignal) => Promise<void>} task
 * @param {Place} [place] where its answer is shown, unless a newer task begins there first
 */
async function attempt(task, place) {
  const signal = place?.begin();
  try {
    await task(signal);
    showCount();
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    if (signal?.aborted) return;
    if (error.status !== 401 && !needsToken(error.code)) return showState("failed", error.message);
    showState("idle", t("Waiting for the access token"));
    requireToken(() => attempt(task, place), error.code);
  }
}

/** @param {StoredSession} session */
function sessionPath({ id }) {
  return `v1/sessions/${encodeURIComponent(id)}`;
}

/**
 * The address of a file, as it is chosen on the page.
 *
 * @param {StoredSession} session
 * @param {string} format
 */
function filePath(session, format) {
  const parameters = new URLSearchParams({ line_length: lineLength.value });
  if (track.value !== ORIGINAL) parameters.set("track", track.value);
  return `${sessionPath(session)}/transcript.${format}?${parameters}`;
}

// --- the list ---

/** @param {AbortSignal} [signal] */
async function list(signal) {
  const before = next;
  const parameters = new URLSearchParams();
  if (query) parameters.set("q", query);
  if (before !== null) parameters.set("before", before);
  /** @type {{ sessions: StoredSession[], next: string | null }} */
  const page = await request(`v1/sessions?${parameters}`, { signal });
  if (before === null) {
    sessions.replaceChildren();
    rooms.clear();
  }
  for (const session of page.sessions) placeFor(session).append(listItem(session));
  next = page.next;
  more.hidden = next === null;
}

/**
 * The list for a session: that of its room, which stands where its newest part belongs.
 *
 * @param {StoredSession} session
 */
function placeFor({ room, room_title }) {
  if (room === null) return sessions;
  let parts = rooms.get(room);
  if (!parts) {
    parts = make("ul");
    const item = make("li", "", "room");
    const heading = make("h3", room_title || t("Room {name}", { name: room }));
    heading.dir = "auto";
    item.append(heading);
    if (room_title) item.append(make("p", room, "hint"));
    item.append(parts);
    sessions.append(item);
    rooms.set(room, parts);
  }
  return parts;
}

function showCount() {
  const shown = document.documentElement.hasAttribute("data-show-empty") ? "li" : "li:not(.empty)";
  const count = sessions.querySelectorAll(`${shown} > button`).length;
  showState("live", countWords(count));
}

/** @param {number} count */
function countWords(count) {
  if (!more.hidden && count > 0) {
    return query ? t("{count} or more transcripts found", { count }) : t("{count} or more transcripts", { count });
  }
  if (count === 0) return query ? t("No transcripts found") : t("No transcripts");
  if (count === 1) return query ? t("1 transcript found") : t("1 transcript");
  return query ? t("{count} transcripts found", { count }) : t("{count} transcripts", { count });
}

/** @param {string} words */
function search(words) {
  query = words.trim();
  next = null;
  attempt(list, theList);
}

/** @param {StoredSession} session */
function listItem(session) {
  const button = make("button");
  button.type = "button";
  button.dataset.session = session.id;
  button.append(make("strong", titleOf(session)), make("span", detailsOf(session)));
  for (const { start_ms, parts } of session.excerpts ?? []) {
    const excerpt = make("span", `${clock(start_ms)}  `, "excerpt");
    excerpt.append(...parts.map((part, i) => (i % 2 === 1 ? make("mark", part) : part)));
    button.append(excerpt);
  }
  button.addEventListener("click", () => attempt((signal) => open(session, signal), theTranscript));
  const item = make("li", "", session.finals === 0 && session.state !== "open" ? "empty" : "");
  item.append(button);
  return item;
}

/** @param {StoredSession} session */
function titleOf({ title, started_at }) {
  return title || new Date(started_at).toLocaleString(pageLanguage, { dateStyle: "full", timeStyle: "short" });
}

/** @param {StoredSession} session */
function detailsOf({ title, started_at, duration_ms, finals, language, state }) {
  const began = title
    ? new Date(started_at).toLocaleString(pageLanguage, { dateStyle: "medium", timeStyle: "short" })
    : "";
  const captions = finals === 1 ? t("1 caption") : t("{count} captions", { count: finals });
  const states = { open: t("running"), ended: "", interrupted: t("interrupted") };
  return [began, clock(duration_ms), captions, language, states[state]].filter(Boolean).join(" · ");
}

// --- one transcript ---

/**
 * @param {StoredSession} session
 * @param {AbortSignal} [signal]
 */
async function open(session, signal) {
  /** @type {[{ captions: Caption[] }, StoredSession]} */
  const [transcript, newest] = await Promise.all([
    request(`${sessionPath(session)}/transcript.json`, { signal }),
    request(sessionPath(session), { signal }),
  ]);
  opened = newest;
  captions = transcript.captions;
  names.letRename(newest.id);
  names.giveAll(newest.id, newest.names);
  const tracks = new Set(captions.flatMap(({ translations = [] }) => translations.map(({ language }) => language)));
  listTracks(track, [...tracks].sort(), track.value);
  markOpened();
  element("opened").hidden = false;
  element("opened-title").textContent = titleOf(newest);
  element("opened-details").textContent = detailsOf(newest);
  sinks.open = false;
  sinks.hidden = newest.state !== "open";
  showOpened();
  element("opened-title").focus({ preventScroll: true });
  // Below the list, as on phones, it would be out of sight.
  element("opened").scrollIntoView();
}

/** Show the captions and files as they are chosen on the page. */
function showOpened() {
  const session = opened;
  if (!session) return;
  const links = Object.entries(FORMATS).map(([format, words]) => downloadLink(session, format, words));
  element("downloads").replaceChildren(...links);
  element("captions").replaceChildren();
  for (const caption of captions) showCaption(session, caption);
}

/**
 * @param {StoredSession} session
 * @param {Caption} caption
 */
function showCaption({ id }, caption) {
  const { start_ms, channel, turns } = caption;
  const label = channel === undefined || turns ? null : names.ofChannel(id, channel);
  const blocks = new CaptionBlocks(() => new Entry(0, label, "li"), names, id, askForSpeaker);
  blocks.show(inTrack(caption, track.value), start_ms);
  element("captions").append(...blocks.elements);
  blocks.showHeads();
}

/**
 * A link, so that it can be copied. Its click is handled here, because a link cannot carry the token.
 *
 * @param {StoredSession} session
 * @param {string} format
 * @param {string} words
 */
function downloadLink(session, format, words) {
  const link = make("a", words);
  const fileName = `${session.started_at.slice(0, 16).replaceAll(":", "")}-captions.${format}`;
  link.href = filePath(session, format);
  link.download = fileName;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    attempt(async () => save(await request(filePath(session, format), {}, (response) => response.blob()), fileName));
  });
  return link;
}

function markOpened() {
  for (const button of sessions.querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.session === opened?.id));
  }
}

/**
 * @param {StoredSession} session
 * @param {string} title
 */
async function rename(session, title) {
  const body = JSON.stringify({ title: title.trim() });
  /** @type {StoredSession} */
  const renamed = await request(sessionPath(session), { method: "PATCH", body });
  const words = buttonOf(session)?.querySelector("strong");
  if (words) words.textContent = titleOf(renamed);
  if (opened?.id !== renamed.id) return;
  opened = renamed;
  element("opened-title").textContent = titleOf(renamed);
  element("opened-details").textContent = detailsOf(renamed);
}

/**
 * @param {string} id that of the session which is open
 * @param {number} speaker
 */
function askForSpeaker(id, speaker) {
  askForName(names.of(id, speaker), (name) =>
    attempt(async () => {
      const body = JSON.stringify({ names: { [speaker]: name } });
      names.giveAll(id, (await request(`v1/sessions/${id}`, { method: "PATCH", body })).names);
    }),
  );
}

/** @param {StoredSession} session */
function askForTitle(session) {
  const dialog = element("rename-dialog", HTMLDialogElement);
  const field = element("new-title", HTMLInputElement);
  field.value = session.title;
  ask(dialog, (value) => {
    if (value === "rename") attempt(() => rename(session, field.value));
  });
  field.select();
}

/** @param {StoredSession} session */
function buttonOf({ id }) {
  return sessions.querySelector(`[data-session="${CSS.escape(id)}"]`);
}

/** @param {StoredSession} session */
async function deleteStored(session) {
  await request(sessionPath(session), { method: "DELETE" }, async () => {});
  buttonOf(session)?.parentElement?.remove();
  for (const [room, parts] of rooms) {
    if (parts.childElementCount > 0) continue;
    parts.parentElement?.remove();
    rooms.delete(room);
  }
  if (opened?.id !== session.id) return;
  opened = null;
  element("opened").hidden = true;
  element("captions").replaceChildren();
  captions = [];
  element("query").focus();
}

/** @param {StoredSession} session */
function askToDelete(session) {
  const values = { title: titleOf(session), details: detailsOf(session) };
  element("delete-text").textContent =
    session.state === "open"
      ? t(
          "{title}: {details}. This cannot be undone. It is still running: captions continue, but are no longer stored.",
          values,
        )
      : t("{title}: {details}. This cannot be undone.", values);
  ask(element("delete-dialog", HTMLDialogElement), (value) => {
    if (value === "delete") attempt(() => deleteStored(session));
  });
}

// --- the page ---

/**
 * @param {string} state
 * @param {string} words
 */
function showState(state, words) {
  if (element("state").textContent === words) return; // a screen reader would announce it again
  element("state").dataset.state = state;
  element("state").textContent = words;
}

element("show-empty").addEventListener("change", () => {
  document.documentElement.toggleAttribute("data-show-empty", element("show-empty", HTMLInputElement).checked);
  showCount();
});
element("print").addEventListener("click", () => print());
element("rename").addEventListener("click", () => opened && askForTitle(opened));
element("rename-cancel").addEventListener("click", () => element("rename-dialog", HTMLDialogElement).close());
element("delete").addEventListener("click", () => opened && askToDelete(opened));
element("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search(element("query", HTMLInputElement).value);
});
more.addEventListener("click", () => attempt(list, theList));
lineLength.addEventListener("change", showOpened);
track.addEventListener("change", showOpened);

new SinksPanel({
  place: () => (opened ? sessionPath(opened) : ""),
  token: accessToken,
  askForToken: requireToken,
});

document.documentElement.dataset.theme = new Settings().get("theme");
search("");
