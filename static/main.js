// @ts-check
/** The publisher's page: joins the session with the parts of the page. Each state is owned by its module. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp } from "./captions.js";
import { bind, element } from "./dom.js";
import { onKeys } from "./keys.js";
import { Meter } from "./meter.js";
import { Notices, ProblemPanel } from "./notices.js";
import { isPresenting, present, ScreenLock } from "./presentation.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { offerLink, withdrawLink } from "./sharing.js";
import { fillLanguages, offerSupportedLanguages, refreshSources } from "./sources.js";
import { accessToken } from "./token.js";
import { askForToken } from "./token-dialog.js";
import { clock } from "./transcript.js";
import { TranscriptPanel } from "./transcript-panel.js";
import { Problem, stateWords, statusWords } from "./words.js";

/** @import { Final, Ready, StreamEvent } from "./messages.js" */
/** @import { Choice } from "./microphone.js" */
/** @import { SessionState } from "./words.js" */

/** The typical delay is the median of this many finals. */
const DELAY_WINDOW = 20;

const LEVEL_WORDS = {
  "": "",
  clipping: "Too loud: the sound is distorted. Turn the microphone down, or move away from it.",
  no_signal: "No sound arrives. Is the microphone muted, or is another one in use?",
};

const startButton = element("start-stop", HTMLButtonElement);

const settings = new Settings();
const notices = new Notices(element("notice"));
const problems = new ProblemPanel(element("problem"));
const screenLock = new ScreenLock();
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"));
const transcript = new TranscriptPanel({ cleared: () => rollUp.clear(), failed: showProblem });
const meter = new Meter(element("meter"), (warning) => notices.show("level", LEVEL_WORDS[warning]));
const session = new Session({
  state: showState,
  received,
  level: (chunk, chunkMs) => meter.push(chunk, chunkMs),
  suspended: showSuspended,
  dropped: showDropped,
  failed: showProblem,
});

/** @type {number | null} When the running session began; null: none is running. */
let startedAtMs = null;
/** @type {number[]} Those of the newest finals. */
let delaysMs = [];
let droppedMs = 0;

// --- start and stop ---

function startOrStop() {
  if (session.state === "finishing") return;
  if (session.resting) start();
  else session.stop();
}

function start() {
  problems.hide();
  notices.clear();
  droppedMs = 0;
  const language = element("language", HTMLSelectElement).value || null;
  session.start(choice(), { language, private: settings.get("private") }, accessToken());
}

/** @returns {Choice} */
function choice() {
  return {
    source: settings.get("source"),
    echoCancellation: settings.get("echoCancellation"),
    noiseSuppression: settings.get("noiseSuppression"),
    autoGainControl: settings.get("autoGainControl"),
  };
}

function changeSource() {
  if (session.running) session.changeSource(choice());
}

/** @param {SessionState} state */
function buttonWords(state) {
  if (state === "finishing") return "Finishing…";
  if (state === "idle") return transcript.isEmpty ? "Start captions" : "Continue captions";
  if (session.resting) return "Start again";
  return session.running ? "Stop captions" : "Cancel";
}

// --- what the session reports ---

/**
 * @param {SessionState} state
 * @param {{ retryAfterS?: number }} detail
 */
function showState(state, detail) {
  element("state").dataset.state = state;
  element("state").textContent = stateWords(state, detail);
  document.title = session.running ? "● livecaption" : "livecaption";
  startButton.textContent = buttonWords(state);
  startButton.dataset.action = session.resting ? "start" : "stop";
  startButton.setAttribute("aria-disabled", String(state === "finishing"));
  // A session cannot become private, or public, while it runs.
  element("private", HTMLInputElement).disabled = !session.resting;
  screenLock.keep(session.running);
  if (session.resting) endSession();
}

/** @param {StreamEvent} event */
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
      // A gap without length means that only partials were lost, no sound.
      if (event.end_ms > event.start_ms) showDropped(event.end_ms - event.start_ms);
      break;
    case "status":
      notices.show("server", statusWords(event));
      break;
    case "error":
      if (!event.fatal) notices.show("server", event.message);
      break;
  }
}

/** @param {Ready} ready */
function beginSession(ready) {
  offerLink(ready.session, ready.reader_token ?? "");
  startedAtMs = performance.now();
  delaysMs = [];
  transcript.beginSession(ready);
  rollUp.beginSession(ready.language);
  // Both are better known now: the labels of the microphones, and the languages of a model that was being loaded.
  refreshSources(settings);
  offerSupportedLanguages();
}

function endSession() {
  // After any other end the server is gone, or about to go.
  if (startedAtMs !== null && session.state === "idle") transcript.endSession();
  startedAtMs = null;
  meter.reset();
  rollUp.abandonPartials();
  withdrawLink();
  showSuspended(false);
  // It describes a server that this page has left.
  notices.show("server", "");
}

/** @param {Final} event */
function showFinal(event) {
  rollUp.showFinal(event);
  transcript.add(event);
  if (event.text.trim() === "") return;
  element("welcome").hidden = true;
  delaysMs = [...delaysMs, event.latency_ms].slice(-DELAY_WINDOW);
  element("latency").textContent = seconds(event.latency_ms);
  element("latency-median").textContent = seconds(median(delaysMs));
}

/** @param {number} ms */
function showDropped(ms) {
  droppedMs += ms;
  notices.show("network", `The network is slow: ${seconds(droppedMs)} of sound was not sent.`);
}

/** @param {boolean} suspended */
function showSuspended(suspended) {
  element("resume").hidden = !suspended;
  notices.show("suspended", suspended ? "The browser has paused the sound." : "");
}

/** @param {Problem} problem */
function showProblem(problem) {
  if (problem.code === "unauthorized") askForToken(start);
  else problems.show(problem);
}

setInterval(() => {
  if (startedAtMs !== null) element("session-time").textContent = clock(performance.now() - startedAtMs);
}, 500);

/** @param {number} ms */
function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** @param {number[]} values */
function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
}

// --- how the page looks ---

function applyAppearance() {
  showAppearance(settings);
}

/** @param {1 | -1} direction */
function changeCaptionSize(direction) {
  stepCaptionSize(settings, direction);
  applyAppearance();
}

function showOptions() {
  element("options", HTMLDialogElement).showModal();
}

function announce() {
  transcript.view.announce(settings.get("announce"));
}

// --- controls ---

fillLanguages();
bind("language", settings, "language");
bind("private", settings, "private");
bind("theme", settings, "theme", applyAppearance);
bind("caption-colors", settings, "captionColors", applyAppearance);
bind("announce", settings, "announce", announce);
bind("shortcuts", settings, "shortcuts");
bind("source", settings, "source", changeSource);
bind("echo-cancellation", settings, "echoCancellation", changeSource);
bind("noise-suppression", settings, "noiseSuppression", changeSource);
bind("auto-gain", settings, "autoGainControl", changeSource);

startButton.addEventListener("click", startOrStop);
element("resume").addEventListener("click", () => session.resume());
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("open-options").addEventListener("click", showOptions);
navigator.mediaDevices?.addEventListener("devicechange", () => refreshSources(settings));

onKeys(
  {
    " ": startOrStop,
    p: () => present(!isPresenting()),
    "+": () => changeCaptionSize(1),
    "=": () => changeCaptionSize(1),
    "-": () => changeCaptionSize(-1),
    j: () => transcript.view.jumpToLive(),
    "?": showOptions,
  },
  () => settings.get("shortcuts"),
);

refreshSources(settings);
offerSupportedLanguages();
applyAppearance();
announce();
if (!window.isSecureContext) showProblem(new Problem("insecure_context"));
