// @ts-check
/** The readers' page: joins the feed of a session with the parts of the page, as this reader wants to see them. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp, TranscriptView } from "./captions.js";
import { bind, element } from "./dom.js";
import { CaptionFeed } from "./feed.js";
import { Settings } from "./settings.js";
import { tokenInAddress } from "./token.js";

/** @import { FeedState } from "./feed.js" */
/** @import { Caption, ReaderEvent, Snapshot } from "./messages.js" */

/** The live lines begin with this many captions of a snapshot. */
const RECENT_CAPTIONS = 3;

/** @type {Record<FeedState, string>} */
const STATES = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  ended: "The captions have ended",
  unknown: "There is no such session, or it has ended",
  private: "This session is private: the link is missing its secret",
};
/** @type {Partial<Record<FeedState, string>>} How the mark beside the words looks; see `style.css`. */
const MARKS = { ended: "idle", unknown: "failed", private: "failed" };

const settings = new Settings();
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"));
const transcriptView = new TranscriptView(element("transcript"), element("jump"));
/** @type {Set<number>} The utterances whose finals are shown. After a reconnection they may come again. */
const shown = new Set();

/** @param {ReaderEvent} event */
function received(event) {
  switch (event.type) {
    case "snapshot":
      showSnapshot(event);
      break;
    case "partial":
      rollUp.showPartial(event);
      break;
    case "final":
      showFinal(event, { recent: true });
      break;
    case "gap":
      // A gap without length means that only partials were lost, no captions.
      if (event.end_ms > event.start_ms) showGap(event.start_ms, event.end_ms);
      break;
    case "end":
      rollUp.abandonPartials();
      break;
  }
}

/** @param {Snapshot} snapshot */
function showSnapshot({ title, language, finals, partial, partials = partial ? [partial] : [] }) {
  if (title) {
    document.title = title;
    element("title").textContent = title;
  }
  // The utterance that was open when the connection was lost comes again below, or has its final.
  rollUp.abandonPartials();
  rollUp.beginSession(language);
  const missed = finals.filter(({ utterance }) => !shown.has(utterance));
  for (const [i, final] of missed.entries()) showFinal(final, { recent: i >= missed.length - RECENT_CAPTIONS });
  for (const open of partials) rollUp.showPartial(open);
}

/**
 * @param {Caption} final
 * @param {{ recent: boolean }} options
 */
function showFinal(final, { recent }) {
  if (shown.has(final.utterance)) return;
  shown.add(final.utterance);
  if (recent) rollUp.showFinal(final);
  const text = final.text.trim();
  if (text === "") return;
  element("transcript-empty").hidden = true;
  transcriptView.add({ text, startMs: final.start_ms, language: final.language, channel: final.channel });
}

/**
 * @param {number} startMs
 * @param {number} endMs
 */
function showGap(startMs, endMs) {
  const text = `[${Math.ceil((endMs - startMs) / 1000)} s without captions]`;
  transcriptView.add({ text, startMs, language: "en" });
}

/** @param {FeedState} state */
function showState(state) {
  element("state").dataset.state = MARKS[state] ?? state;
  element("state").textContent = STATES[state];
}

function applyAppearance() {
  showAppearance(settings);
  const root = document.documentElement;
  root.dataset.view = settings.get("view");
  root.dataset.position = settings.get("position");
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
bind("theme", settings, "theme", applyAppearance);
bind("announce", settings, "announce", announce);
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("open-options").addEventListener("click", () => element("options", HTMLDialogElement).showModal());

document.documentElement.toggleAttribute("data-overlay", new URLSearchParams(location.search).get("overlay") === "1");
applyAppearance();
announce();

const id = location.pathname.split("/").pop();
// The token of a private session. Browsers do not send what follows `#`, so it is in no server's log.
const token = tokenInAddress() ?? "";
new CaptionFeed(new URL(`../v1/sessions/${id}/events`, location.href), token, { received, state: showState }).run();
