// @ts-check
/** The two places where captions are read: the roll-up lines, and the transcript that scrolls. */

import { make } from "./dom.js";
import { t } from "./language.js";
import { channelName, clock } from "./transcript.js";

/** @import { Partial } from "./messages.js" */
/** @import { ShownText } from "./tracks.js" */

/** Utterances kept in the roll-up, unless more are open. Each begins a line of its own: older ones are out of sight. */
const MAX_UTTERANCES = 16;

/** How long an original is hidden from screen readers, where its translation would be announced too. */
const MAX_TRANSLATION_MS = 10_000;

/**
 * Roll-up captions, as on live television: new words appear at the end of the last line, full lines move up.
 *
 * Each utterance is a block of its own, so later words never move a line break above it. Where channels are captioned
 * apart, several may be open: they stay at the end, and of each the last two lines are shown.
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

  /** @param {Pick<Partial, "utterance" | "text" | "stable" | "channel">} partial */
  showPartial({ utterance, text, stable, channel }) {
    // The space between them belongs to the stable words, or it would be underlined as tentative too.
    const tentative = text.slice(stable.length).trimStart();
    this.#write(utterance, channel, text.slice(0, text.length - tentative.length), tentative, this.#language);
  }

  /**
   * Show a final; return what shows another text of it in its place.
   *
   * @param {{ utterance: number, text: string, language: string | null, channel?: number, original?: boolean }} final
   * @returns {(shown: ShownText) => void}
   */
  showFinal({ utterance, text, language, channel, original = false }) {
    if (text.trim() === "") this.#open.get(utterance)?.element.remove();
    else this.#write(utterance, channel, text, "", language ?? this.#language);
    const line = this.#open.get(utterance);
    const ended = line?.element;
    this.#open.delete(utterance);
    // Where the transcript shows finals too, the page hides them here.
    ended?.classList.add("final");
    ended?.classList.toggle("original", original);
    if (channel !== undefined && ended?.isConnected) this.#lines.insertBefore(ended, this.#firstOpen());
    return (shown) => {
      line?.show(shown.text, "", shown.language ?? this.#language);
      ended?.classList.toggle("original", shown.original);
      this.#follow();
    };
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

  /** The first line of an utterance above `number` that is not final; null: there is none. */
  #firstOpen(number = -1) {
    // Channels may open in another order than that of their numbers: a snapshot goes by channel.
    const later = [...this.#open].filter(([other]) => other > number).sort(([a], [b]) => a - b);
    return later[0]?.[1].element ?? null;
  }

  /** Remove the oldest lines. Those of open utterances stay, or their later words would never be seen. */
  #removeOldest() {
    /** @type {Set<Element>} */
    const open = new Set([...this.#open.values()].map(({ element }) => element));
    const ended = [...this.#lines.children].filter((line) => !open.has(line));
    const excess = Math.max(0, this.#lines.childElementCount - MAX_UTTERANCES);
    for (const line of ended.slice(0, excess)) line.remove();
  }

  #follow() {
    this.#viewport.scrollTop = this.#viewport.scrollHeight;
  }

  /**
   * @param {number} utterance
   * @param {number | undefined} channel
   * @param {string} stable
   * @param {string} tentative
   * @param {string} language
   */
  #write(utterance, channel, stable, tentative, language) {
    let line = this.#open.get(utterance);
    if (!line) {
      line = new UtteranceLine(channelName(channel));
      if (channel !== undefined) this.#viewport.dataset.channels = "";
      // Finals come in order, but a partial may overtake the final of the preceding utterance.
      this.#lines.insertBefore(line.element, this.#firstOpen(utterance));
      this.#open.set(utterance, line);
      this.#removeOldest();
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
  /** Shows the last two lines. */
  #last = make("div", "", "last-lines");

  /** @param {string} channel "": the channels are mixed */
  constructor(channel) {
    if (channel === "") {
      this.element.append(this.#stable, this.#tentative);
      this.element.dir = "auto";
      return;
    }
    const words = make("bdi");
    words.append(this.#stable, this.#tentative);
    this.#last.append(words);
    this.element.append(make("span", channel, "channel"), this.#last);
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

  /**
   * @param {HTMLElement} log scrolls
   * @param {HTMLElement} jump is the button that leads back to its end
   */
  constructor(log, jump) {
    this.#log = log;
    this.#jump = jump;
    log.append(this.#content);
    log.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.jumpToLive());
    // Text and window change their sizes by new captions, larger type, a turned phone, its keyboard, a longer header.
    const resized = new ResizeObserver(() => this.#following && this.#toEnd());
    resized.observe(log);
    resized.observe(this.#content);
  }

  /**
   * The entries that follow belong to this part, which comes last if it is a new one.
   *
   * @param {string} id
   * @param {number} beganMs after the first part
   */
  beginPart(id, beganMs) {
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
   * @param {{ text: string, startMs: number, language: string | null, channel?: number, original?: boolean }} caption
   * @returns {(shown: ShownText) => void}
   */
  add({ text, startMs, language, channel, original = false }) {
    const entry = make("p");
    const words = make("span");
    const show = (/** @type {ShownText} */ shown) => {
      words.textContent = shown.text;
      words.lang = shown.language ?? "";
      words.classList.toggle("original", shown.original);
      entry.removeAttribute("aria-hidden");
    };
    show({ text, language, original });
    if (original && this.#isAnnounced) {
      entry.setAttribute("aria-hidden", "true");
      setTimeout(() => entry.removeAttribute("aria-hidden"), MAX_TRANSLATION_MS);
    }
    // The words decide the direction, because the time has none; the time stands where the line begins.
    entry.dir = "auto";
    entry.append(make("time", clock(this.#partMs + startMs)));
    if (channel !== undefined) entry.append(make("span", channelName(channel), "channel"));
    entry.append(words);
    this.#part.append(entry);
    if (!this.#following) this.#missed += 1;
    this.#showJump();
    return show;
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
