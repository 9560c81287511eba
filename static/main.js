// @ts-check
/** The publisher's page: joins the session with the parts of the page. Each state is owned by its module. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp } from "./captions.js";
import { ask, bind, element } from "./dom.js";
import { Doubt } from "./doubt.js";
import { serverInfo } from "./info.js";
import { DISPLAY } from "./input.js";
import { onKeys } from "./keys.js";
import { decimal, offerPageLanguages, t } from "./language.js";
import { Levels } from "./levels.js";
import { MicrophoneTest } from "./microphone-test.js";
import { Notices, ProblemPanel } from "./notices.js";
import { isPresenting, onPresentation, present } from "./presentation.js";
import { ScreenLock } from "./screen-lock.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Sharing } from "./sharing.js";
import { SinksPanel } from "./sinks.js";
import { chosenSources, chosenTracks, offerLanguages, offerTracks, refreshSources } from "./sources.js";
import { SpeakersPanel } from "./speakers-panel.js";
import { claimTab, keepTab, readTab } from "./tab.js";
import { accessToken } from "./token.js";
import { askForToken, needsToken } from "./token-dialog.js";
import { inTrack, ORIGINAL } from "./tracks.js";
import { clock } from "./transcript.js";
import { TranscriptPanel } from "./transcript-panel.js";
import {
  faultWords,
  keepingWords,
  modelWords,
  otherLanguageWords,
  otherModelWords,
  Problem,
  problemWords,
  stateWords,
  statusWords,
} from "./words.js";

/** @import { Final, Info, Ready, SpeakerNamed, StreamEvent } from "./messages.js" */
/** @import { Choice } from "./microphone.js" */
/** @import { Interruption, Wishes } from "./session.js" */
/** @import { ResumePoint } from "./stream.js" */
/** @import { SessionState } from "./words.js" */

/** The usual delay is the median of this many finals. */
const DELAY_WINDOW = 20;
/** As the server: docs/protocol.md. */
const MAX_HOTWORDS = 100;
const MAX_HOTWORD_CHARACTERS = 100;
/** The last captions before the page was loaded again fill its lines. */
const RESTORED_LINES = 2;

/** @type {Record<Interruption, string>} */
const INTERRUPTION_WORDS = {
  lost: t("The connection is lost. Speak on: your speech is kept, and captions go on by themselves."),
  restarting: t("The server restarts. Captions go on by themselves."),
  resumed: "",
  waiting: t("The server does not take the sound now. Captions go on by themselves once it does."),
  next_part: t("The server could not go on where it was. Captions continue as a new part of the event."),
};

const startButton = element("start-stop", HTMLButtonElement);

const settings = new Settings();
const notices = new Notices(element("notice"));
const problems = new ProblemPanel(element("problem"));
const screenLock = new ScreenLock();
const speakers = new SpeakersPanel(settings, (speaker, name) => session.nameSpeaker(speaker, name));
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"), speakers.names);
const transcript = new TranscriptPanel(
  { cleared: forgetCaptions, failed: showProblem },
  speakers.names,
  speakers.rename.bind(speakers),
);
const levels = new Levels(notices, () => settings.get("secondSource") === DISPLAY, showMark);
const showLevels = levels.push.bind(levels);
const microphoneTest = new MicrophoneTest(showLevels, showMicrophoneTest);
const session = new Session({
  state: showState,
  received,
  level: showLevels,
  suspended: showSuspended,
  dropped: showDropped,
  interrupted: showInterruption,
  failed: showProblem,
});
/** What this tab was doing when it was loaded again. */
const before = readTab();
/** What this tab is doing, for the time after it is loaded again. */
const tab = { ...before, running: /** @type {ResumePoint | null} */ (null) };
// Another page of this browser may have chosen another kind of event meanwhile.
if (before.event) settings.useHere("private", before.event.private);
const sharing = new Sharing({
  room: before.event,
  isPrivate: () => settings.get("private"),
  title: () => settings.get("title"),
  token: accessToken,
  isFixed: () => !session.resting || tab.event !== null,
  askForToken: (again, code) => askForToken(again, { code, action: t("Share") }),
  shared: () => showCodeTrouble(null),
});
new SinksPanel({
  place: () => `v1/rooms/${sharing.room.name}`,
  token: accessToken,
  askForToken: (again, code) => askForToken(again, { code, action: t("Send captions there") }),
});
const isOnlyTab = claimTab(tab);
/** @type {ResumePoint | null} The session to go on with; null: the next start begins a new one. */
let interrupted = before.running;
/** @type {Info | null} */
let info = null;
/** Whether the captions from before the page was loaded again are on their way. */
let isRestoring = before.sessions.length > 0 || before.running !== null || before.event !== null;
/** Why there is no code in the corner of a presentation. */
let codeTrouble = "";
/** @type {number | null} When the running session began, by the Unix clock; null: none is running. */
let startedAtMs = null;
/** @type {number[]} Those of the newest finals. */
let delaysMs = [];
let droppedMs = 0;
let doubt = new Doubt();

// --- start, pause, end ---

function startOrPause() {
  if (session.state === "finishing" || isRestoring) return;
  if (session.resting) start();
  else session.stop();
}

/** @type {"idle" | "break"} Where the page was before the last start. */
let startedFrom = "idle";

/** @param {boolean} takeOver whether another page that speaks in the event is to stop */
function start(takeOver = false) {
  const earlier = interrupted;
  interrupted = null;
  startedFrom = session.state === "break" ? "break" : "idle";
  microphoneTest.stop();
  problems.hide();
  notices.clear();
  element("event-over").hidden = true;
  droppedMs = 0;
  if (earlier) startedAtMs = tab.sessions.at(-1)?.beganAtMs ?? Date.now();
  session.start(choice(), wishes(takeOver), accessToken(), earlier);
}

/**
 * @param {boolean} takeOver
 * @returns {Wishes}
 */
function wishes(takeOver) {
  const { name, secret } = sharing.room;
  const hotwords = settings
    .get("hotwords")
    .split(/[\n,]/)
    .map((word) => word.trim());
  const pace = settings.get("pace");
  return {
    language: element("language", HTMLSelectElement).value || null,
    private: settings.get("private"),
    title: settings.get("title"),
    hotwords: hotwords
      .filter(Boolean)
      .slice(0, MAX_HOTWORDS)
      .map((word) => word.slice(0, MAX_HOTWORD_CHARACTERS)),
    ...(pace && { endpointing: { preset: pace } }),
    ...(chosenTracks().length > 0 && { translate: chosenTracks() }),
    ...speakers.wishes(),
    ...(settings.get("keep") ? {} : { keep: false }),
    room: { name, secret, take_over: takeOver },
  };
}

function askToEnd() {
  ask(element("end-dialog", HTMLDialogElement), (value) => value === "end" && endEvent());
}

async function endEvent() {
  if (session.running && !session.isWaiting) return session.stop(true);
  if (session.state === "finishing") return;
  // A session that waits for a server cannot tell it that no other part follows.
  session.stop();
  try {
    await sharing.endEvent();
    interrupted = null;
    tab.event = null;
    session.rest("idle");
    showEventOver();
  } catch (error) {
    const problem = Problem.from(error);
    if (needsToken(problem.code)) askForToken(endEvent, { code: problem.code, action: t("End event") });
    else showProblem(problem);
  }
}

function showEventOver() {
  element("event-transcript", HTMLAnchorElement).href = sharing.link;
  element("event-over").hidden = tab.sessions.length === 0;
}

async function testMicrophone() {
  if (microphoneTest.isRunning) return microphoneTest.stop();
  problems.hide();
  try {
    await microphoneTest.start(choice());
    showSources();
  } catch (error) {
    showProblem(Problem.from(error));
  }
}

/** @param {boolean} isRunning */
function showMicrophoneTest(isRunning) {
  element("test-microphone").textContent = isRunning ? t("Stop the test") : t("Test microphone");
  element("test-microphone").setAttribute("aria-pressed", String(isRunning));
  if (!isRunning) levels.reset();
}

/** @returns {Choice} */
function choice() {
  return {
    sources: chosenSources(settings),
    echoCancellation: settings.get("echoCancellation"),
    noiseSuppression: settings.get("noiseSuppression"),
    autoGainControl: settings.get("autoGainControl"),
  };
}

function changeSource() {
  showWhetherApart();
  if (session.running) session.changeSource(choice());
}

/** Show which sources there are now. */
async function showSources() {
  await refreshSources(settings, !session.resting);
  showWhetherApart();
}

function showWhetherApart() {
  element("second-level").hidden = chosenSources(settings).length === 1;
  speakers.show();
}

/** @param {SessionState} state */
function buttonWords(state) {
  if (state === "finishing") return t("Finishing…");
  if (state === "break" || interrupted) return t("Continue captions");
  if (state === "idle") return t("Start captions");
  if (session.resting) return t("Start again");
  return session.running ? t("Pause captions") : t("Cancel");
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
  element("test-microphone").hidden = !session.resting;
  screenLock.keep(session.running);
  speakers.names.letRename(session.running ? (tab.sessions.at(-1)?.id ?? null) : null);
  showMark();
  if (session.resting) endSession();
  showEvent();
  keep();
}

/** An event that has begun can be ended, and cannot become private, or public. */
function showEvent() {
  element("private", HTMLInputElement).disabled = !session.resting || tab.event !== null;
  element("end-event").hidden = !(tab.event && (session.running || session.resting));
}

/** A presentation hides the state, unless there is trouble. */
function showMark() {
  const isFine = session.state === "live" || session.state === "idle";
  element("stage-mark").textContent = isFine ? levels.warning || codeTrouble : stateWords(session.state, {});
}

async function toggleCode() {
  showCodeTrouble(await sharing.toggleCorner());
}

/** @param {Problem | null} problem */
function showCodeTrouble(problem) {
  codeTrouble = problem ? t("No QR code. {reason}", { reason: problemWords(problem, location).title }) : "";
  showMark();
}

/** @param {Interruption} interruption */
function showInterruption(interruption) {
  notices.show("network", INTERRUPTION_WORDS[interruption]);
  if (interruption !== "resumed") notices.show("server", "");
  // What is open here is not open in the next part.
  if (interruption === "next_part") rollUp.abandonPartials();
}

/** Keep what a page that is loaded again needs. */
function keep() {
  tab.running = session.resumePoint ?? interrupted;
  keepTab(tab);
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
    case "name":
      nameSpeaker(event);
      break;
    case "gap":
      // A gap without length means that only partials were lost, no sound.
      if (event.end_ms > event.start_ms) showDropped(event.end_ms - event.start_ms);
      break;
    case "status":
      notices.show("server", statusWords(event));
      break;
    case "error":
      if (!event.fatal) notices.show("server", faultWords(event.code));
      break;
  }
}

/** @param {Ready} ready */
function beginSession(ready) {
  tab.event = sharing.room;
  showEvent();
  sharing.admitted(ready.room?.reader_token ?? "");
  sharing.tellTitle({ isSeen: true });
  startedAtMs = Date.now();
  delaysMs = [];
  doubt = new Doubt();
  const spoken = { id: ready.session, readerToken: ready.reader_token ?? "", beganAtMs: startedAtMs };
  tab.sessions.push(spoken);
  keep();
  if (ready.speakers) speakers.names.begin(spoken.id);
  speakers.names.letRename(spoken.id);
  transcript.beginSession(spoken);
  rollUp.beginSession(ready.language, spoken.id);
  // Both are better known now: the labels of the microphones, and the languages of a model that was being loaded.
  showSources();
  learn();
}

function endSession() {
  // After any other end the server is gone, or about to go.
  const isComplete = session.state === "idle" || session.state === "break";
  if (startedAtMs !== null && isComplete) transcript.endSession();
  if (startedAtMs !== null && session.state === "idle") {
    tab.event = null;
    showEventOver();
  }
  startedAtMs = null;
  levels.reset();
  rollUp.abandonPartials();
  showSuspended(false);
  // They describe a server that this page has left.
  notices.show("server", "");
  notices.show("network", "");
}

/** @param {Final} event */
function showFinal(event) {
  // The page was loaded again, and shows its words already.
  if (transcript.has(event.utterance)) return rollUp.remove(event.utterance);
  rollUp.showFinal({ ...event, ...inTrack(event, ORIGINAL) });
  if (!transcript.add(event)) return;
  keep();
  notices.show("language", doubt.push(event) ? doubtWords() : "");
  element("welcome").hidden = true;
  delaysMs = [...delaysMs, event.latency_ms].slice(-DELAY_WINDOW);
  element("latency").textContent = seconds(event.latency_ms);
  element("latency-median").textContent = seconds(median(delaysMs));
}

/** @param {SpeakerNamed} event */
function nameSpeaker({ speaker, name }) {
  const running = tab.sessions.at(-1);
  if (running) transcript.view.quietly(() => speakers.names.give(running.id, speaker, name));
}

function doubtWords() {
  const languages = info?.model?.languages ?? [];
  const code = element("language", HTMLSelectElement).value;
  // A model that detects languages has found that of the speaker.
  if (code === "") return "";
  return languages.length === 1 ? otherModelWords(code) : otherLanguageWords(code);
}

/** @param {number} ms */
function showDropped(ms) {
  droppedMs += ms;
  notices.show("sound", t("{seconds} of sound is lost. It has no captions.", { seconds: seconds(droppedMs) }));
}

/** @param {boolean} suspended */
function showSuspended(suspended) {
  element("resume").hidden = !suspended;
  notices.show("suspended", suspended ? t("The browser has paused the sound. Press Resume sound.") : "");
}

/** @param {Problem} problem */
function showProblem(problem) {
  if (needsToken(problem.code)) {
    // Nothing has gone wrong yet.
    if (session.state === "failed") session.rest(startedFrom);
    askForToken(start, { code: problem.code });
  } else if (problem.code === "room_taken") askToTakeOver();
  else problems.show(problem);
}

function askToTakeOver() {
  ask(element("taken-dialog", HTMLDialogElement), (value) =>
    value === "take-over" ? start(true) : problems.show(new Problem("room_taken")),
  );
}

setInterval(() => {
  if (startedAtMs !== null) element("session-time").textContent = clock(Date.now() - startedAtMs);
}, 500);

/** @param {number} ms */
function seconds(ms) {
  return `${decimal(ms / 1000, 1)} s`;
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

function forgetCaptions() {
  rollUp.clear();
  tab.sessions = session.running ? tab.sessions.slice(-1) : [];
  keep();
}

function showOptions() {
  element("options", HTMLDialogElement).showModal();
}

function announce() {
  transcript.view.announce(settings.get("announce"));
}

// --- the server ---

async function learn() {
  info = await serverInfo(accessToken());
  sharing.learn(info);
  offerLanguages(info?.model?.languages ?? null, settings.get("language"));
  if (info) offerTracks(info.model?.tracks ?? [], settings);
  speakers.learn(info);
  element("model").textContent = info?.model ? modelWords(info.model) : "";
  showKeeping();
}

function showKeeping() {
  // Older servers do not say it.
  element("keeping").textContent = info?.transcripts ? keepingWords(info.transcripts, settings.get("keep")) : "";
}

// --- a page that was loaded again ---

async function restore() {
  if (before.running) sharing.admitted(before.running.ready.room?.reader_token ?? "");
  await transcript.restore(before.sessions);
  if (!(await isOnlyTab)) interrupted = null;
  isRestoring = false;
  element("welcome").hidden = !transcript.isEmpty;
  const { id = "", captions = [] } = transcript.newest ?? {};
  rollUp.beginSession(null, id);
  for (const [utterance, caption] of captions.slice(-RESTORED_LINES).entries()) {
    rollUp.showFinal({ utterance: -1 - utterance, ...caption });
  }
  if (before.running) rollUp.beginSession(before.running.ready.language, before.running.ready.session);
  if (interrupted && (await mayListen())) start();
  else session.rest(before.event ? "break" : "idle");
}

/** Whether the microphone can be opened without a press of the user. */
async function mayListen() {
  await showSources();
  if (chosenSources(settings).includes(DISPLAY)) return false;
  const name = /** @type {PermissionName} */ ("microphone");
  const permission = await navigator.permissions?.query({ name }).catch(() => null);
  return permission?.state === "granted";
}

// --- controls ---

bind("language", settings, "language");
bind("private", settings, "private", () => sharing.switchKind());
bind("event-title", settings, "title", () => sharing.tellTitle());
bind("hotwords", settings, "hotwords");
bind("pace", settings, "pace");
bind("keep", settings, "keep", showKeeping);
bind("theme", settings, "theme", applyAppearance);
offerPageLanguages(element("page-language", HTMLSelectElement));
bind("page-language", settings, "pageLanguage", () => location.reload());
bind("caption-colors", settings, "captionColors", applyAppearance);
bind("announce", settings, "announce", announce);
bind("shortcuts", settings, "shortcuts");
bind("source", settings, "source", changeSource);
bind("second-source", settings, "secondSource", changeSource);
bind("echo-cancellation", settings, "echoCancellation", changeSource);
bind("noise-suppression", settings, "noiseSuppression", changeSource);
bind("auto-gain", settings, "autoGainControl", changeSource);

startButton.addEventListener("click", startOrPause);
// Enter that is held presses a button again and again.
startButton.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
element("end-event").addEventListener("click", askToEnd);
element("test-microphone").addEventListener("click", testMicrophone);
element("enter-token").addEventListener("click", () => askForToken(learn, { code: "", action: t("Keep") }));
element("resume").addEventListener("click", () => session.resume());
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("open-options").addEventListener("click", showOptions);
onPresentation(() => showCodeTrouble(null));
navigator.mediaDevices?.addEventListener("devicechange", showSources);

onKeys(
  {
    " ": startOrPause,
    p: () => present(!isPresenting()),
    q: () => isPresenting() && toggleCode(),
    "+": () => changeCaptionSize(1),
    "=": () => changeCaptionSize(1),
    "-": () => changeCaptionSize(-1),
    j: () => transcript.view.jumpToLive(),
    "?": showOptions,
  },
  () => settings.get("shortcuts"),
);

const eventForm = element("event", HTMLDetailsElement);
eventForm.open = settings.get("eventOpen");
eventForm.addEventListener("toggle", () => settings.set("eventOpen", eventForm.open));

// Browsers ask in their own words.
window.addEventListener("beforeunload", (event) => session.running && event.preventDefault());
window.addEventListener("pagehide", () => {
  keep();
  microphoneTest.stop();
  session.leave();
});
// A page that the browser kept as it was has left its session.
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

showSources();
offerLanguages(null, settings.get("language"));
learn();
applyAppearance();
announce();
if (isRestoring) restore();
if (!window.isSecureContext) showProblem(new Problem("insecure_context"));
