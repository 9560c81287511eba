// @ts-check
/** The finals on the page, with their times. */

import { CaptionBlocks, makeHead } from "./caption-blocks.js";
import { make } from "./dom.js";
import { t } from "./language.js";
import { SpeakerNames } from "./speaker-names.js";
import { clock } from "./transcript.js";

/** @import { Rename } from "./speaker-names.js" */
/** @import { ShownText } from "./tracks.js" */
/** @import { ShownTurn } from "./turns.js" */

/** How long an original is hidden from screen readers, where its translation would be announced too. */
const MAX_TRANSLATION_MS = 10_000;

/** Screen readers learn of changes a moment after them. */
const QUIET_MS = 1000;

/**
 * The finals with their times, in parts if there are any. Follows the newest one until the reader scrolls back, and
 * keeps their place then.
 */
export class TranscriptView {
  #log;
  #jump;
  /** Has all entries; its size is that of the text. */
  #content = make("div");
  /** @type {HTMLElement} */
  #part = this.#content;
  /** When it began. */
  #partMs = 0;
  /** @type {Map<string, { element: HTMLElement, heading: HTMLElement }>} */
  #parts = new Map();
  #following = true;
  #missed = 0;
  #layout = "";
  #isAnnounced = false;
  #quietTimer = 0;
  #names;
  #rename;
  #session = "";

  /**
   * @param {HTMLElement} log scrolls
   * @param {HTMLElement} jump is the button that leads back to its end
   * @param {SpeakerNames} names
   * @param {Rename | null} rename null: nobody can give names here
   */
  constructor(log, jump, names = new SpeakerNames(), rename = null) {
    this.#log = log;
    this.#jump = jump;
    this.#names = names;
    this.#rename = rename;
    log.append(this.#content);
    log.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.jumpToLive());
    // Text and window change their sizes by new captions, larger type, a turned phone, its keyboard, a longer header.
    const resized = new ResizeObserver(() => this.#following && this.#toEnd());
    resized.observe(log);
    resized.observe(this.#content);
  }

  /**
   * The entries that follow belong to this session.
   *
   * @param {string} session
   */
  beginSession(session) {
    this.#session = session;
  }

  /**
   * The entries that follow belong to this part, which comes last if it is a new one.
   *
   * @param {string} id that of its session
   * @param {number} beganMs after the first part
   */
  beginPart(id, beganMs) {
    this.beginSession(id);
    this.#partMs = beganMs;
    let part = this.#parts.get(id);
    if (!part) {
      part = { element: make("div", "", "part"), heading: make("h2") };
      part.heading.dir = "auto";
      part.element.append(part.heading);
      this.#content.append(part.element);
      this.#parts.set(id, part);
    }
    this.#part = part.element;
  }

  /**
   * Name a part, if there is one with this id.
   *
   * @param {string} id
   * @param {string} title
   */
  namePart(id, title) {
    const heading = this.#parts.get(id)?.heading;
    if (heading && heading.textContent !== title) heading.textContent = title;
  }

  /**
   * Remove all parts but these. What comes next of the others is not shown.
   *
   * @param {ReadonlySet<string | null>} ids
   */
  keepParts(ids) {
    for (const [id, { element }] of this.#parts) {
      if (ids.has(id)) continue;
      element.remove();
      this.#parts.delete(id);
    }
  }

  /** Remove the entries of the part that was begun last. Its heading stays. */
  clearPart() {
    for (const entry of this.#part.querySelectorAll("p")) entry.remove();
  }

  /**
   * Add a caption; return what shows another text of it in its place. While captions are announced, screen readers
   * do not see one that stands for its translation until that has come or is late, or they would announce both.
   *
   * @param {{ text: string, startMs: number, language: string | null, channel?: number, original?: boolean, turns?: ShownTurn[] }} caption
   * @returns {(shown: ShownText) => void}
   */
  add({ text, startMs, language, channel, original = false, turns }) {
    const partMs = this.#partMs;
    // Where speakers are distinguished, a channel is a speaker.
    const label = channel === undefined || turns ? null : this.#names.ofChannel(this.#session, channel);
    const newEntry = () => new Entry(partMs, label);
    const caption = new CaptionBlocks(newEntry, this.#names, this.#session, this.#rename);
    caption.show({ text, language, original, turns }, startMs);
    this.#part.append(...caption.elements);
    caption.showHeads();
    const reveal = () => {
      for (const entry of caption.elements) entry.removeAttribute("aria-hidden");
    };
    if (original && this.#isAnnounced) {
      for (const entry of caption.elements) entry.setAttribute("aria-hidden", "true");
      setTimeout(reveal, MAX_TRANSLATION_MS);
    }
    if (!this.#following) this.#missed += 1;
    this.#showJump();
    return (shown) => {
      caption.show(shown, startMs);
      caption.showHeads();
      reveal();
    };
  }

  clear() {
    this.#content.replaceChildren();
    this.#parts.clear();
    this.#part = this.#content;
    this.#partMs = 0;
    this.#following = true;
    this.#showJump();
  }

  /**
   * Have screen readers announce new captions. Off by default: most of their users also hear what is said.
   *
   * @param {boolean} on
   */
  announce(on) {
    this.#isAnnounced = on;
    this.#log.setAttribute("aria-live", on ? "polite" : "off");
  }

  /**
   * Change captions that are shown already: nobody wants to hear all of them again.
   *
   * @param {() => void} change
   */
  quietly(change) {
    this.#log.setAttribute("aria-live", "off");
    change();
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => this.announce(this.#isAnnounced), QUIET_MS);
  }

  jumpToLive() {
    this.#following = true;
    this.#toEnd();
    this.#showJump();
    this.#log.focus({ preventScroll: true });
  }

  #scrolled() {
    // A change of the layout scrolls too. Only the reader's own scrolling stops the following.
    if (this.#following && this.#layout !== this.#measured()) return this.#toEnd();
    const toEndPx = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
    // Half a line of tolerance, for fractions of pixels and touch screens that stop just before the end.
    this.#following = toEndPx < 16;
    this.#showJump();
  }

  #toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#layout = this.#measured();
  }

  #measured() {
    return `${this.#log.scrollHeight} ${this.#log.clientHeight}`;
  }

  #showJump() {
    if (this.#following) this.#missed = 0;
    this.#jump.hidden = this.#following;
    this.#jump.textContent =
      this.#missed > 0 ? t("Jump to live ({count} new)", { count: this.#missed }) : t("Jump to live");
  }
}

/** Words in the transcript, with the time at which they begin. */
export class Entry {
  element;
  head = makeHead();
  #time = make("time");
  #words = make("span");
  #partMs;

  /**
   * @param {number} partMs when the part began
   * @param {HTMLElement | null} label of the channel; null: the channels are mixed, or are speakers
   * @param {"p" | "li"} tag
   */
  constructor(partMs, label, tag = "p") {
    this.element = make(tag);
    this.#partMs = partMs;
    // The words decide the direction, because the time has none; the time stands where the line begins.
    this.element.dir = "auto";
    const said = make("div", "", "said");
    said.append(this.head, this.#words);
    this.element.append(this.#time, ...(label ? [label] : []), said);
  }

  /**
   * @param {string} text
   * @param {number} startMs
   * @param {ShownText} shown
   */
  show(text, startMs, { language, original }) {
    this.#time.textContent = clock(this.#partMs + startMs);
    this.#words.textContent = text;
    this.#words.lang = language ?? "";
    this.#words.classList.toggle("original", original);
  }
}
