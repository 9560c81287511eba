/** Wiring of the page to read along: which session, what it tells, and how this reader wants to see it. */

import { showAppearance, stepCaptionSize } from "./appearance.js";
import { RollUp, TranscriptView } from "./captions.js";
import { CaptionFeed } from "./feed.js";
import { Settings } from "./settings.js";
import { tokenInAddress } from "./token.js";

/** Captions of before that the live lines begin with. */
const RECENT_CAPTIONS = 3;

const STATES = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  ended: "The speaker has finished",
  unknown: "There is no such session, or it was forgotten",
  private: "This session is private: its link has a secret that is missing here",
};
/** How the mark beside the words looks; see style.css. */
const MARKS = { ended: "idle", unknown: "failed", private: "failed" };

const element = (id) => document.getElementById(id);

const settings = new Settings();
const rollUp = new RollUp(element("roll-up"), element("roll-up-lines"));
const transcriptView = new TranscriptView(element("transcript"), element("jump"));
/** The last utterance of which the final is shown; what comes again after a lost connection is older than that. */
let lastUtterance = -1;

const HANDLERS = {
  snapshot({ title, language, finals, partial }) {
    if (title) element("title").textContent = document.title = title;
    // What was open when the connection was lost is told anew, or has its final.
    rollUp.abandonPartials();
    rollUp.beginSession(language);
    const missed = finals.filter(({ utterance }) => utterance > lastUtterance);
    missed.forEach((final, i) => showFinal(final, { recent: i >= missed.length - RECENT_CAPTIONS }));
    if (partial) rollUp.showPartial(partial);
  },
  partial: (event) => rollUp.showPartial(event),
  final: (event) => showFinal(event, { recent: true }),
  // One of no length is no loss of captions.
  gap: ({ start_ms, end_ms }) => end_ms > start_ms && showGap(start_ms, end_ms),
  end: () => rollUp.abandonPartials(),
};

function showFinal(event, { recent }) {
  if (event.utterance <= lastUtterance) return;
  lastUtterance = event.utterance;
  if (recent) rollUp.showFinal(event);
  const text = event.text.trim();
  if (text === "") return;
  element("transcript-empty").hidden = true;
  transcriptView.add({ ...event, text });
}

function showGap(start_ms, end_ms) {
  transcriptView.add({ text: `[${Math.ceil((end_ms - start_ms) / 1000)} s without captions]`, start_ms, language: "en" });
}

function showState(state) {
  element("state").dataset.state = MARKS[state] ?? state;
  element("state").textContent = STATES[state];
}

function applyAppearance() {
  showAppearance(settings);
  const root = document.documentElement;
  root.dataset.view = settings.get("view");
  root.dataset.position = settings.get("position");
  rollUp.follow();
}

function changeCaptionSize(direction) {
  stepCaptionSize(settings, direction);
  applyAppearance();
}

function bind(id, name, applied) {
  const control = element(id);
  const property = control.type === "checkbox" ? "checked" : "value";
  control[property] = settings.get(name);
  control.addEventListener("change", () => {
    settings.set(name, control[property]);
    applied();
  });
}

const announce = () => transcriptView.announce(settings.get("announce"));

bind("view", "view", applyAppearance);
bind("position", "position", applyAppearance);
bind("caption-colors", "captionColors", applyAppearance);
bind("theme", "theme", applyAppearance);
bind("announce", "announce", announce);
element("smaller").addEventListener("click", () => changeCaptionSize(-1));
element("larger").addEventListener("click", () => changeCaptionSize(1));
element("open-options").addEventListener("click", () => element("options").showModal());
new ResizeObserver(() => rollUp.follow()).observe(element("roll-up"));

document.documentElement.toggleAttribute("data-overlay", new URLSearchParams(location.search).get("overlay") === "1");
applyAppearance();
announce();

const id = location.pathname.split("/").pop();
/** Of a private session: behind the link, where no server's log sees it. */
const token = tokenInAddress() ?? "";
new CaptionFeed(new URL(`../v1/sessions/${id}/events`, location), token, {
  received: (event) => HANDLERS[event.type]?.(event),
  state: showState,
}).run();
