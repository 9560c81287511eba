/**
 * The two places where captions are read: the roll-up lines, and the transcript that scrolls.
 *
 * Text reaches the page by textContent alone.
 */

import { clock } from "./transcript.js";

/** Utterances kept in the roll-up. Each begins its own line, so those beyond the visible lines are out of sight. */
const MAX_UTTERANCES = 6;

/**
 * Roll-up captions, as on live television: new words appear at the end of the last line, full lines move up.
 *
 * Each utterance is a block of its own, so nothing that is written later can move a line break above it.
 */
export class RollUp {
  #viewport;
  #lines;
  /** Utterances of the running session by number: their elements. */
  #open = new Map();
  #language = "";

  /** `viewport` shows the last lines of the element `lines`. */
  constructor(viewport, lines) {
    this.#viewport = viewport;
    this.#lines = lines;
  }

  /** Utterances count from 0 again; what is on the screen stays. */
  beginSession(language) {
    this.#open.clear();
    this.#language = language ?? "";
  }

  showPartial({ utterance, text, stable }) {
    // The space between them goes with the stable words, or it would be marked as tentative too.
    const tentative = text.slice(stable.length).trimStart();
    this.#write(utterance, text.slice(0, text.length - tentative.length), tentative, this.#language);
  }

  showFinal({ utterance, text, language }) {
    if (text.trim() === "") this.#open.get(utterance)?.remove();
    else this.#write(utterance, text, "", language ?? this.#language);
    this.#open.delete(utterance);
  }

  /** What will not become final any more (the connection is gone) is not left looking as if it might. */
  abandonPartials() {
    for (const element of this.#open.values()) element.remove();
    this.#open.clear();
  }

  clear() {
    this.#open.clear();
    this.#lines.replaceChildren();
  }

  /** Show the newest lines; also after the size of the type has changed. */
  follow() {
    this.#viewport.scrollTop = this.#viewport.scrollHeight;
  }

  #write(utterance, stable, tentative, language) {
    let element = this.#open.get(utterance);
    if (!element) {
      element = document.createElement("p");
      element.append(span("stable"), span("tentative"));
      // Finals come in order, but a partial may overtake the final of the utterance before.
      const next = [...this.#open].find(([number]) => number > utterance);
      this.#lines.insertBefore(element, next?.[1] ?? null);
      this.#open.set(utterance, element);
      while (this.#lines.childElementCount > MAX_UTTERANCES) this.#lines.firstElementChild.remove();
    }
    element.lang = language;
    element.dir = "auto";
    element.firstChild.textContent = stable;
    element.lastChild.textContent = tentative;
    this.follow();
  }
}

function span(className) {
  const element = document.createElement("span");
  element.className = className;
  return element;
}

/** The finals with their times. Keeps the reader's place when they have scrolled back. */
export class TranscriptView {
  #log;
  #jump;
  #following = true;
  #missed = 0;

  /** `log` is the scrolling element, `jump` the button that leads back to its end. */
  constructor(log, jump) {
    this.#log = log;
    this.#jump = jump;
    log.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.jumpToLive());
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(log);
  }

  add({ text, start_ms, language }) {
    const entry = document.createElement("p");
    const time = document.createElement("time");
    time.textContent = clock(start_ms);
    const words = document.createElement("span");
    words.textContent = text;
    words.lang = language ?? "";
    // By the words, as the time has no direction of its own: it stands where the line begins.
    entry.dir = "auto";
    entry.append(time, words);
    this.#log.append(entry);
    if (this.#following) this.#toEnd();
    else this.#missed += 1;
    this.#showJump();
  }

  clear() {
    this.#log.replaceChildren();
    this.#following = true;
    this.#showJump();
  }

  /** Off unless the reader asks: who hears a screen reader also hears the speaker. */
  announce(on) {
    this.#log.setAttribute("aria-live", on ? "polite" : "off");
  }

  jumpToLive() {
    this.#following = true;
    this.#toEnd();
    this.#showJump();
    this.#log.focus({ preventScroll: true });
  }

  #scrolled() {
    const toEnd_px = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
    // Half a line: fractions of pixels, and touch screens that do not stop exactly at the end.
    this.#following = toEnd_px < 16;
    this.#showJump();
  }

  #toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #showJump() {
    if (this.#following) this.#missed = 0;
    this.#jump.hidden = this.#following;
    this.#jump.textContent = this.#missed > 0 ? `Jump to live (${this.#missed} new)` : "Jump to live";
  }
}
