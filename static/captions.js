// @ts-check
/** The two places where captions are read: the roll-up lines, and the transcript that scrolls. */

import { make } from "./dom.js";
import { clock } from "./transcript.js";

/** @import { Partial } from "./messages.js" */

/** Utterances kept in the roll-up. Each begins a line of its own, so older ones are out of sight. */
const MAX_UTTERANCES = 6;

/**
 * Roll-up captions, as on live television: new words appear at the end of the last line, full lines move up.
 *
 * Each utterance is a block of its own, so later words never move a line break above it.
 */
export class RollUp {
  #viewport;
  #lines;
  /** @type {Map<number, UtteranceLine>} The utterances of the running session that are not final, by number. */
  #open = new Map();
  #language = "";

  /**
   * @param {HTMLElement} viewport shows the last lines of `lines`
   * @param {HTMLElement} lines
   */
  constructor(viewport, lines) {
    this.#viewport = viewport;
    this.#lines = lines;
    new ResizeObserver(() => this.#follow()).observe(viewport);
  }

  /**
   * Begin a session, whose utterances count from 0. The lines on the screen stay.
   *
   * @param {string | null} language
   */
  beginSession(language) {
    this.#open.clear();
    this.#language = language ?? "";
  }

  /** @param {Pick<Partial, "utterance" | "text" | "stable">} partial */
  showPartial({ utterance, text, stable }) {
    // The space between them belongs to the stable words, or it would be underlined as tentative too.
    const tentative = text.slice(stable.length).trimStart();
    this.#write(utterance, text.slice(0, text.length - tentative.length), tentative, this.#language);
  }

  /** @param {{ utterance: number, text: string, language: string | null }} final */
  showFinal({ utterance, text, language }) {
    if (text.trim() === "") this.#open.get(utterance)?.element.remove();
    else this.#write(utterance, text, "", language ?? this.#language);
    this.#open.delete(utterance);
  }

  /** Remove partials that will not become final, because the connection is lost or the session is over. */
  abandonPartials() {
    for (const { element } of this.#open.values()) element.remove();
    this.#open.clear();
  }

  clear() {
    this.#open.clear();
    this.#lines.replaceChildren();
  }

  #follow() {
    this.#viewport.scrollTop = this.#viewport.scrollHeight;
  }

  /**
   * @param {number} utterance
   * @param {string} stable
   * @param {string} tentative
   * @param {string} language
   */
  #write(utterance, stable, tentative, language) {
    let line = this.#open.get(utterance);
    if (!line) {
      line = new UtteranceLine();
      // Finals come in order, but a partial may overtake the final of the preceding utterance.
      const next = [...this.#open].find(([number]) => number > utterance);
      this.#lines.insertBefore(line.element, next?.[1].element ?? null);
      this.#open.set(utterance, line);
      while (this.#lines.childElementCount > MAX_UTTERANCES) this.#lines.firstElementChild?.remove();
    }
    line.show(stable, tentative, language);
    this.#follow();
  }
}

/** One utterance in the roll-up. */
class UtteranceLine {
  element = make("p");
  #stable = make("span", "", "stable");
  #tentative = make("span", "", "tentative");

  constructor() {
    this.element.append(this.#stable, this.#tentative);
    this.element.dir = "auto";
  }

  /**
   * @param {string} stable
   * @param {string} tentative
   * @param {string} language
   */
  show(stable, tentative, language) {
    this.element.lang = language;
    this.#stable.textContent = stable;
    this.#tentative.textContent = tentative;
  }
}

/** The finals with their times. Keeps the reader's place when they have scrolled back. */
export class TranscriptView {
  #log;
  #jump;
  #following = true;
  #missed = 0;

  /**
   * @param {HTMLElement} log scrolls
   * @param {HTMLElement} jump is the button that leads back to its end
   */
  constructor(log, jump) {
    this.#log = log;
    this.#jump = jump;
    log.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.jumpToLive());
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(log);
  }

  /** @param {{ text: string, startMs: number, language: string | null }} caption */
  add({ text, startMs, language }) {
    const entry = make("p");
    const words = make("span", text);
    words.lang = language ?? "";
    // The words decide the direction, because the time has none; the time stands where the line begins.
    entry.dir = "auto";
    entry.append(make("time", clock(startMs)), words);
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

  /**
   * Have screen readers announce new captions. Off by default: most of their users also hear what is said.
   *
   * @param {boolean} on
   */
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
    const toEndPx = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
    // Half a line of tolerance, for fractions of pixels and touch screens that stop just before the end.
    this.#following = toEndPx < 16;
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
