// @ts-check
/** The readers' page: joins the feed of a room with the parts of the page, as this reader wants to see them. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp } from "./captions.js";
import { bind, element } from "./dom.js";
import { offerDownloads } from "./downloads.js";
import { CaptionFeed } from "./feed.js";
import { offerPageLanguages, t } from "./language.js";
import { overlayOptions } from "./overlay.js";
import { beganAfterMs, partTitle, Reading } from "./reading.js";
import { roomWords } from "./room-words.js";
import { ScreenLock } from "./screen-lock.js";
import { Settings } from "./settings.js";
import { SpeakerNames } from "./speaker-names.js";
import { tokenInAddress } from "./token.js";
import { chooseTrack, chosenTrack, listTracks, ORIGINAL } from "./tracks.js";
import { TranscriptView } from "./transcript-view.js";

/** @import { Connection } from "./feed.js" */
/** @import { Caption, OpenCaption, ReaderEvent, Room, Snapshot, Translation } from "./messages.js" */
/** @import { ShownText } from "./tracks.js" */

/** The live lines begin with this many captions of a snapshot. */
const RECENT_CAPTIONS = 3;

const root = document.documentElement;
const overlay = overlayOptions(location.search);
const settings = new Settings(overlay?.values);
const names = new SpeakerNames();
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"), names);
const transcriptView = new TranscriptView(element("transcript"), element("jump"), names);
const screenLock = new ScreenLock();
const reading = new Reading();

/** @type {Room | null} */
let room = null;
/** @type {Connection} */
let connection = "connecting";
/** Whether the newest part ended because the server was stopped. */
let stopped = false;
let clearTimer = 0;
/** The language that this reader wants, whether the room has it or not. */
let wanted = chosenTrack(settings);
/** @type {WeakMap<Caption, ((shown: ShownText) => void)[]>} What shows each caption, to show it in another language. */
const places = new WeakMap();

// --- what is said ---

/** @param {ReaderEvent} event */
function received(event) {
  switch (event.type) {
    case "room":
      room = event;
      forgetOthers(event);
      break;
    case "snapshot":
      showSnapshot(event);
      break;
    case "partial":
      showPartial(event);
      return;
    case "final":
      if (reading.take(event)) showFinal(event, { recent: true });
      break;
    case "translation":
      showTranslation(event);
      return;
    case "name":
      transcriptView.quietly(() => names.give(reading.session, event.speaker, event.name));
      return;
    case "gap":
      // A gap without length means that only partials were lost, no captions.
      if (event.end_ms > event.start_ms) showGap(event.start_ms, event.end_ms);
      return;
    case "end":
      stopped = event.reason === "draining";
      rollUp.abandonPartials();
      break;
    default:
      return;
  }
  showRoom();
}

/**
 * Forget what was deleted, and an earlier event at the same link.
 *
 * @param {Room} room
 */
function forgetOthers({ session, parts }) {
  const listed = new Set([session, ...parts.map((part) => part.session)]);
  transcriptView.keepParts(listed);
  if (!reading.keep(listed)) return;
  rollUp.clear();
  offerTracks();
}

/** @param {Snapshot} snapshot */
function showSnapshot(snapshot) {
  const { session, language, partial, partials = partial ? [partial] : [] } = snapshot;
  stopped = false;
  // The utterance that was open when the connection was lost comes again below, or has its final.
  rollUp.abandonPartials();
  rollUp.beginSession(language, session);
  // Names may have been given while the connection was lost.
  const given = snapshot.names?.filter(({ speaker, name }) => names.of(session, speaker) !== name) ?? [];
  if (given.length > 0) transcriptView.quietly(() => names.begin(session, given));
  const { captions, translated, replaces } = reading.begin(snapshot);
  transcriptView.beginPart(session, beganAfterMs(room?.parts ?? [], session));
  if (replaces) transcriptView.clearPart();
  offerTracks();
  for (const caption of translated) showAgain(session, caption);
  // In a video, captions that were said a while ago would be wrong.
  const nRecent = overlay ? 0 : RECENT_CAPTIONS;
  for (const [i, final] of captions.entries()) showFinal(final, { recent: i >= captions.length - nRecent });
  for (const open of partials) showPartial(open);
}

/** @param {OpenCaption} partial */
function showPartial(partial) {
  // Only finals are translated.
  if (reading.isTranslated(reading.session, wanted)) return;
  rollUp.showPartial(partial);
  clearLater();
}

/**
 * @param {Caption} final
 * @param {{ recent: boolean }} options
 */
function showFinal(final, { recent }) {
  const { session } = reading;
  const shown = reading.shown(session, final, wanted);
  /** @type {((shown: ShownText) => void)[]} */
  const shows = [];
  if (recent) {
    shows.push(rollUp.showFinal({ ...final, ...shown }));
    clearLater();
  }
  if (final.text.trim() === "") return;
  shows.push(transcriptView.add({ ...shown, startMs: final.start_ms, channel: final.channel }));
  places.set(final, shows);
}

/** @param {Translation} translation */
function showTranslation(translation) {
  const caption = reading.translate(translation);
  if (!caption || translation.language !== wanted) return;
  showAgain(reading.session, caption);
  clearLater();
}

/**
 * Show a caption in the language that is wanted now.
 *
 * @param {string} session
 * @param {Caption} caption
 */
function showAgain(session, caption) {
  for (const show of places.get(caption) ?? []) show(reading.shown(session, caption, wanted));
}

/**
 * @param {number} startMs
 * @param {number} endMs
 */
function showGap(startMs, endMs) {
  const seconds = Math.ceil((endMs - startMs) / 1000);
  transcriptView.add({ text: t("[{seconds} s without captions]", { seconds }), startMs, language: root.lang });
}

/** In a video, lines that are over must not stand for ever. */
function clearLater() {
  if (!overlay?.holdMs) return;
  clearTimeout(clearTimer);
  clearTimer = setTimeout(() => rollUp.clear(), overlay.holdMs);
}

// --- the room ---

function showRoom() {
  const isEmpty = reading.isEmpty;
  const words = roomWords(connection, room, { stopped, isEmpty });
  element("state").dataset.state = words.mark;
  if (element("state").textContent !== words.short) element("state").textContent = words.short;
  element("notice").hidden = words.title === "";
  element("notice-title").textContent = words.title;
  element("notice-text").textContent = words.text;
  element("notice-downloads").hidden = isEmpty || room?.state !== "ended";
  element("open-downloads").hidden = isEmpty || room?.state === "ended";
  element("transcript-empty").hidden = !isEmpty || words.title !== "";
  root.toggleAttribute("data-empty", isEmpty);

  const isLive = room?.state === "live";
  screenLock.keep(isLive && connection !== "unknown" && connection !== "private");
  if (!room) return;
  root.dataset.room = room.state;
  if (overlay && !isLive) rollUp.clear();
  applyAppearance();
  document.title = element("title").textContent = room.title || t("Live captions");
  for (const part of room.parts) transcriptView.namePart(part.session, partTitle(part, room.parts, root.lang));
}

/** @param {Connection} changed */
function connectionChanged(changed) {
  connection = changed;
  showRoom();
}

// --- what the reader chooses ---

/** Offer the languages that the room has. */
function offerTracks() {
  listTracks(element("track", HTMLSelectElement), reading.tracks, wanted);
}

element("track").addEventListener("change", () => {
  wanted = element("track", HTMLSelectElement).value;
  chooseTrack(settings, wanted);
  if (reading.isTranslated(reading.session, wanted)) rollUp.abandonPartials();
  transcriptView.quietly(() => {
    for (const [session, caption] of reading.all()) showAgain(session, caption);
  });
});

function applyAppearance() {
  showAppearance(settings);
  // The transcript is all that there is to see when the event is over.
  root.dataset.view = room?.state === "ended" ? "transcript" : settings.get("view");
  root.dataset.position = settings.get("position");
  root.dataset.font = settings.get("font");
  root.dataset.spacing = settings.get("spacing");
  root.toggleAttribute("data-unmarked-speakers", !settings.get("speakerMarks"));
}

/** @param {1 | -1} direction */
function changeCaptionSize(direction) {
  stepCaptionSize(settings, direction);
  applyAppearance();
}

function announce() {
  transcriptView.announce(settings.get("announce"));
}

bind("view", settings, "view", applyAppearance);
bind("position", settings, "position", applyAppearance);
bind("caption-colors", settings, "captionColors", applyAppearance);
bind("font", settings, "font", applyAppearance);
bind("spacing", settings, "spacing", applyAppearance);
bind("speaker-marks", settings, "speakerMarks", applyAppearance);
bind("theme", settings, "theme", applyAppearance);
offerPageLanguages(element("page-language", HTMLSelectElement));
bind("page-language", settings, "pageLanguage", () => location.reload());
bind("announce", settings, "announce", announce);
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("open-options").addEventListener("click", () => element("options", HTMLDialogElement).showModal());
element("open-downloads").addEventListener("click", () => element("downloads-dialog", HTMLDialogElement).showModal());
// Another token in the address does not load the page again.
addEventListener("hashchange", () => location.reload());

root.toggleAttribute("data-overlay", overlay !== null);
if (overlay?.lines) element("roll-up").style.setProperty("--lines", String(overlay.lines));
announce();

const name = location.pathname.split("/").pop();
const address = new URL(`../v1/rooms/${name}`, location.href);
address.search = address.hash = "";
// The token of a private room. Browsers do not send what follows `#`, so it is in no server's log.
const token = tokenInAddress() ?? "";
const offered = {
  room: address,
  token,
  began: () => new Date(room?.parts[0]?.started_at_ms ?? Date.now()),
  track: () => (reading.tracks.includes(wanted) ? wanted : ORIGINAL),
  text: () => reading.text(room?.parts ?? [], root.lang, wanted, (session, speaker) => names.of(session, speaker)),
};
for (const id of ["notice-downloads", "downloads"]) offerDownloads(element(id), offered);
applyAppearance();
new CaptionFeed(address, token, { received, connection: connectionChanged }).run();
