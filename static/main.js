/** Wiring of the page: elements, settings, keys, and what the session tells. Each state is owned by its module. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp, TranscriptView } from "./captions.js";
import { DEFAULT_MICROPHONE, DISPLAY, listMicrophones } from "./microphone.js";
import { Meter } from "./meter.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Transcript, clock, fileName, toSrt, toText, toVtt } from "./transcript.js";
import { LANGUAGES, Problem, problemWords, stateWords, statusWords } from "./words.js";
import { accessToken, askForToken } from "./token.js";

/** Finals that the typical delay is the median of. */
const LATENCY_WINDOW = 20;

const element = (id) => document.getElementById(id);

const settings = new Settings();
const transcript = new Transcript();
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"));
const transcriptView = new TranscriptView(element("transcript"), element("jump"));
const meter = new Meter(element("meter"), (warning) => notify("level", LEVEL_WORDS[warning]));
const session = new Session({
  state: showState,
  received,
  level: (chunk, chunk_ms) => meter.push(chunk, chunk_ms),
  suspended: showSuspended,
  dropped: showDropped,
  failed: showProblem,
});

// --- the session ---

let firstSessionAt_ms = null;
let firstSessionDate = new Date();
let sessionStartedAt_ms = null;
let latencies_ms = [];
let dropped_ms = 0;

function startOrStop() {
  if (session.state === "finishing") return;
  if (session.resting) start();
  else session.stop();
}

function start() {
  hideProblem();
  notices.clear();
  showNotices();
  dropped_ms = 0;
  const options = { language: element("language").value || null, private: settings.get("private") };
  session.start(choice(), options, accessToken());
}

/** What Capture.open takes. */
function choice() {
  return {
    source: settings.get("source"),
    echoCancellation: settings.get("echoCancellation"),
    noiseSuppression: settings.get("noiseSuppression"),
    autoGainControl: settings.get("autoGainControl"),
  };
}

function received(event) {
  switch (event.type) {
    case "ready":
      beginSession(event);
      break;
    case "partial":
      element("welcome").hidden = true;
      rollUp.showPartial(event);
      break;
    case "final":
      showFinal(event);
      break;
    case "gap":
      // One of no length is no loss of sound.
      if (event.end_ms > event.start_ms) showDropped(event.end_ms - event.start_ms);
      break;
    case "status":
      notify("server", statusWords(event));
      break;
    case "error":
      if (!event.fatal) notify("server", event.message);
      break;
  }
}

function beginSession({ session: id, language, reader_token }) {
  prepareSharing(id, reader_token);
  const now_ms = performance.now();
  if (firstSessionAt_ms === null) {
    firstSessionAt_ms = now_ms;
    firstSessionDate = new Date();
  }
  sessionStartedAt_ms = now_ms;
  latencies_ms = [];
  transcript.beginSession(Math.round(now_ms - firstSessionAt_ms));
  rollUp.beginSession(language);
  refreshMicrophones();
  offerKnownLanguages();
}

function showFinal(event) {
  rollUp.showFinal(event);
  const caption = transcript.add(event);
  if (!caption) return;
  element("welcome").hidden = true;
  transcriptView.add(caption);
  showTranscriptTools();
  latencies_ms = [...latencies_ms, event.latency_ms].slice(-LATENCY_WINDOW);
  element("latency").textContent = seconds(event.latency_ms);
  element("latency-median").textContent = seconds(median(latencies_ms));
}

function showState(state, detail) {
  element("state").dataset.state = state;
  element("state").textContent = stateWords(state, detail);
  document.title = session.running ? "● livecaption" : "livecaption";
  const button = element("start-stop");
  button.textContent = buttonWords(state);
  button.dataset.action = session.resting ? "start" : "stop";
  button.setAttribute("aria-disabled", state === "finishing");
  // A session stays what it was begun as.
  element("private").disabled = !session.resting;
  if (session.resting) {
    meter.reset();
    rollUp.abandonPartials();
    element("resume").hidden = true;
    element("share").hidden = true;
    sessionStartedAt_ms = null;
  }
  keepScreenOn();
}

function buttonWords(state) {
  if (state === "finishing") return "Finishing…";
  if (state === "idle") return transcript.captions.length > 0 ? "Continue captions" : "Start captions";
  if (session.resting) return "Start again";
  return session.running ? "Stop captions" : "Cancel";
}

setInterval(() => {
  if (sessionStartedAt_ms === null) return;
  element("session-time").textContent = clock(performance.now() - sessionStartedAt_ms);
}, 500);

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
}

/** A screen that sleeps takes the captions with it. Browsers drop the lock whenever the page is hidden. */
let screenLock = null;
async function keepScreenOn() {
  if (session.running && document.visibilityState === "visible") {
    screenLock ??= navigator.wakeLock?.request("screen").catch(() => null);
  } else {
    const lock = screenLock;
    screenLock = null;
    (await lock)?.release();
  }
}
document.addEventListener("visibilitychange", keepScreenOn);

// --- what goes wrong ---

const LEVEL_WORDS = {
  "": "",
  clipping: "Too loud: the sound is distorted. Turn the microphone down, or move away from it.",
  no_signal: "No sound arrives. Is the microphone muted, or another one in use?",
};

/** Standing notices by topic. */
const notices = new Map();

function notify(topic, words) {
  if ((notices.get(topic) ?? "") === words) return;
  notices.set(topic, words);
  showNotices();
}

function showNotices() {
  const words = [...notices.values()].filter(Boolean);
  element("notice").replaceChildren(...words.map((text) => withText("p", text)));
}

function showDropped(ms) {
  dropped_ms += ms;
  notify("network", `The network is slow: ${seconds(dropped_ms)} of sound was not sent.`);
}

function showSuspended(suspended) {
  element("resume").hidden = !suspended;
  notify("suspended", suspended ? "The browser has paused the sound." : "");
}

function showProblem(problem) {
  if (problem.code === "unauthorized") return askForToken(start);
  const { title, text, fixes, detail } = problemWords(problem, location);
  const parts = [withText("h2", title), withText("p", text)];
  if (fixes.length > 0) {
    const list = document.createElement("ol");
    list.append(...fixes.map(fixItem));
    parts.push(list);
  }
  if (detail) parts.push(withText("p", detail, "detail"));
  element("problem").replaceChildren(...parts);
  element("problem").hidden = false;
}

function hideProblem() {
  element("problem").hidden = true;
}

/** `fix` has what is to be typed in backticks. */
function fixItem(fix) {
  const item = document.createElement("li");
  item.append(...fix.split("`").map((part, i) => (i % 2 === 1 ? withText("code", part) : part)));
  return item;
}

function withText(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// --- sources and languages ---

async function refreshMicrophones() {
  const microphones = await listMicrophones();
  const known = new Set([DEFAULT_MICROPHONE, DISPLAY, ...microphones.map(({ deviceId }) => deviceId)]);
  element("source").replaceChildren(
    new Option("Default microphone", DEFAULT_MICROPHONE),
    ...microphones.map(({ label, deviceId }, i) => new Option(label || `Microphone ${i + 1}`, deviceId)),
    new Option("Tab or screen sound", DISPLAY),
  );
  // One that is not plugged in today stays in the settings for tomorrow.
  element("source").value = known.has(settings.get("source")) ? settings.get("source") : DEFAULT_MICROPHONE;
}

function fillLanguages() {
  const byName = Object.entries(LANGUAGES).sort(([, a], [, b]) => a.localeCompare(b));
  element("language").append(new Option("Detect", ""), ...byName.map(([code, name]) => new Option(name, code)));
  element("language").value = settings.get("language");
}

/** Leave the languages that the server's model knows. While it loads, all are there, and a refusal says the rest. */
async function offerKnownLanguages() {
  const response = await fetch(new URL("v1/info", document.baseURI), { cache: "no-store" }).catch(() => null);
  const { model } = response?.ok ? await response.json() : {};
  if (!model) return;
  for (const option of element("language").options) {
    option.hidden = option.disabled = option.value !== "" && !model.languages.includes(option.value);
  }
  // The choice stays in the settings for a day with another model.
  if (element("language").selectedOptions[0]?.disabled !== false) element("language").value = "";
}

function changeSource() {
  if (session.running) session.changeSource(choice());
}

// --- the transcript ---

function showTranscriptTools() {
  const empty = transcript.captions.length === 0;
  element("transcript-empty").hidden = !empty;
  for (const id of ["download-vtt", "download-srt", "download-txt", "copy", "clear"]) element(id).disabled = empty;
}

function download(extension, type, written) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([written(transcript.captions)], { type }));
  link.download = fileName(firstSessionDate, extension);
  link.click();
  // Some browsers read the data only after the click is through, and do not say when they have.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  transcript.unsaved = false;
}

async function copy() {
  await navigator.clipboard.writeText(toText(transcript.captions));
  element("copy").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy"), 2000);
}

function clear() {
  transcript.clear();
  transcriptView.clear();
  rollUp.clear();
  showTranscriptTools();
}

function askToClear() {
  if (!transcript.unsaved) return clear();
  element("clear-dialog").returnValue = "";
  element("clear-dialog").showModal();
}

// --- the link for readers ---

/** `token` is that of the readers of a private session, else undefined. Behind a `#`, it is sent to no server. */
function prepareSharing(id, token) {
  element("share-link").value = new URL(`watch/${id}${token ? `#token=${token}` : ""}`, document.baseURI);
  element("share-code").src = `v1/sessions/${id}/qr.svg${token ? `?reader_token=${token}` : ""}`;
  element("share-private").hidden = !token;
  element("share-local").hidden = !["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  element("share").hidden = false;
}

async function copyLink() {
  await navigator.clipboard.writeText(element("share-link").value);
  element("share-copy").textContent = "Copied";
  setTimeout(() => (element("share-copy").textContent = "Copy"), 2000);
}

// --- appearance ---

function applyAppearance() {
  showAppearance(settings);
  rollUp.follow();
}

function changeCaptionSize(direction) {
  stepCaptionSize(settings, direction);
  applyAppearance();
}

function present(on) {
  document.documentElement.toggleAttribute("data-presenting", on);
  element("present").setAttribute("aria-pressed", on);
  element("present").textContent = on ? "Leave" : "Present";
  // Where the browser has no full screen (iPhones), filling its window does.
  if (on) document.documentElement.requestFullscreen?.().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
  rollUp.follow();
}

const presenting = () => document.documentElement.hasAttribute("data-presenting");

// --- keys ---

const KEYS = {
  " ": startOrStop,
  p: () => present(!presenting()),
  "+": () => changeCaptionSize(1),
  "=": () => changeCaptionSize(1),
  "-": () => changeCaptionSize(-1),
  j: () => transcriptView.jumpToLive(),
  "?": () => element("options").showModal(),
};

function keyPressed(event) {
  if (event.key === "Escape" && presenting()) present(false);
  const action = KEYS[event.key.toLowerCase()];
  if (!action || !settings.get("shortcuts") || event.ctrlKey || event.altKey || event.metaKey) return;
  const nothingFocused = document.activeElement === document.body;
  // Space presses, scrolls and ticks whatever has the focus; letters choose in lists and write in fields.
  if (event.key === " " ? !nothingFocused : event.target.closest("select, input, dialog")) return;
  event.preventDefault();
  action();
}

// --- begin ---

function bind(id, name, applied) {
  const control = element(id);
  const property = control.type === "checkbox" ? "checked" : "value";
  control[property] = settings.get(name);
  control.addEventListener("change", () => {
    settings.set(name, control[property]);
    applied?.();
  });
}

fillLanguages();
refreshMicrophones();
bind("language", "language");
offerKnownLanguages();
bind("private", "private");
element("source").addEventListener("change", () => {
  settings.set("source", element("source").value);
  changeSource();
});
bind("theme", "theme", applyAppearance);
bind("caption-colors", "captionColors", applyAppearance);
bind("announce", "announce", () => transcriptView.announce(settings.get("announce")));
bind("shortcuts", "shortcuts");
bind("echo-cancellation", "echoCancellation", changeSource);
bind("noise-suppression", "noiseSuppression", changeSource);
bind("auto-gain", "autoGainControl", changeSource);

element("start-stop").addEventListener("click", startOrStop);
element("resume").addEventListener("click", () => session.resume());
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("present").addEventListener("click", () => present(!presenting()));
element("open-options").addEventListener("click", () => element("options").showModal());
element("download-vtt").addEventListener("click", () => download("vtt", "text/vtt", toVtt));
element("download-srt").addEventListener("click", () => download("srt", "application/x-subrip", toSrt));
element("download-txt").addEventListener("click", () => download("txt", "text/plain", toText));
element("share").addEventListener("click", () => element("share-dialog").showModal());
element("share-copy").addEventListener("click", copyLink);
element("copy").addEventListener("click", copy);
element("clear").addEventListener("click", askToClear);
element("clear-dialog").addEventListener("close", () => element("clear-dialog").returnValue === "clear" && clear());

document.addEventListener("keydown", keyPressed);
document.addEventListener("fullscreenchange", () => document.fullscreenElement || present(false));
navigator.mediaDevices?.addEventListener("devicechange", refreshMicrophones);

applyAppearance();
transcriptView.announce(settings.get("announce"));
showTranscriptTools();
if (!window.isSecureContext) showProblem(new Problem("insecure_context"));
