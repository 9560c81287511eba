// @ts-check
/** The live lines: words as they are said. `transcript-view.js` has what was said before. */

import { CaptionBlocks, makeHead } from "./caption-blocks.js";
import { make } from "./dom.js";
import { SpeakerNames } from "./speaker-names.js";

/** @import { Partial } from "./messages.js" */
/** @import { ShownText } from "./tracks.js" */
/** @import { ShownTurn } from "./turns.js" */

/** Utterances kept in the roll-up, unless more are open. Each begins a line of its own: older ones are out of sight. */
const MAX_UTTERANCES = 16;

/**
 * Roll-up captions, as on live television: new words appear at the end of the last line, full lines move up.
 *
 * Each utterance, and each turn of it, is a block of its own, so later words never move a line break above it. Where channels are captioned
 * apart, several may be open: they stay at the end, and of each the last two lines are shown.
 */
export class RollUp {
  #viewport;
  #lines;
  #names;
  /** @type {Map<number, CaptionBlocks>} The utterances of the running session that are not final, by number. */
  #open = new Map();
  #language = "";
  #session = "";

  /**
   * @param {HTMLElement} viewport shows the last lines of `lines`
   * @param {HTMLElement} lines
   * @param {SpeakerNames} names
   */
  constructor(viewport, lines, names = new SpeakerNames()) {
    this.#viewport = viewport;
    this.#lines = lines;
    this.#names = names;
    new ResizeObserver(() => this.#follow()).observe(viewport);
  }

  /**
   * Begin a session, whose utterances count from 0. The lines on the screen stay.
   *
   * @param {string | null} language
   * @param {string} session
   */
  beginSession(language, session = "") {
    this.#open.clear();
    delete this.#viewport.dataset.channels;
    this.#language = language ?? "";
    this.#session = session;
  }

  /** @param {Pick<Partial, "utterance" | "text" | "stable" | "channel">} partial */
  showPartial({ utterance, text, stable, channel }) {
    const live = { text, language: this.#language, original: false, turns: undefined, nStable: stable.length };
    this.#write(utterance, channel, live);
  }

  /**
   * Show a final; return what shows another text of it in its place.
   *
   * @param {{ utterance: number, text: string, language: string | null, channel?: number, original?: boolean, turns?: ShownTurn[] }} final
   * @returns {(shown: ShownText) => void}
   */
  showFinal({ utterance, text, language, channel, original = false, turns }) {
    if (text.trim() === "") this.remove(utterance);
    else this.#write(utterance, channel, { text, language: language ?? this.#language, original, turns });
    const caption = this.#open.get(utterance);
    this.#open.delete(utterance);
    if (!caption) return () => {};
    if (channel !== undefined) this.#settle(caption, channel);
    // Where the transcript shows finals too, the page hides them here.
    for (const line of caption.elements) line.classList.add("final");
    caption.showHeads();
    return (shown) => {
      caption.show({ ...shown, language: shown.language ?? this.#language }, 0);
      for (const line of caption.elements) line.classList.add("final");
      caption.showHeads();
      this.#follow();
    };
  }

  /**
   * Put a final of a channel before what is open. Its label may be a name now: only finals show whether channels are
   * speakers.
   *
   * @param {CaptionBlocks} caption
   * @param {number} channel
   */
  #settle({ elements: [line] }, channel) {
    line.querySelector(".channel")?.replaceWith(this.#names.ofChannel(this.#session, channel));
    this.#lines.insertBefore(line, this.#firstOpen());
  }

  /**
   * Remove the partial of this utterance, if there is one.
   *
   * @param {number} utterance
   */
  remove(utterance) {
    for (const line of this.#open.get(utterance)?.elements ?? []) line.remove();
    this.#open.delete(utterance);
  }

  /** Remove partials that will not become final, because the connection is lost or the session is over. */
  abandonPartials() {
    for (const utterance of this.#open.keys()) this.remove(utterance);
  }

  clear() {
    this.#open.clear();
    this.#lines.replaceChildren();
  }

  /** The first line of an utterance above `number` that is not final; null: there is none. */
  #firstOpen(number = -1) {
    // Channels may open in another order than that of their numbers: a snapshot goes by channel.
    const later = [...this.#open].filter(([other]) => other > number).sort(([a], [b]) => a - b);
    return later[0]?.[1].elements[0] ?? null;
  }

  /** Remove the oldest lines. Those of open utterances stay, or their later words would never be seen. */
  #removeOldest() {
    /** @type {Set<Element>} */
    const open = new Set([...this.#open.values()].flatMap(({ elements }) => elements));
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
   * @param {LiveText} live
   */
  #write(utterance, channel, live) {
    let caption = this.#open.get(utterance);
    if (!caption) {
      const label = channel === undefined ? null : this.#names.ofChannel(this.#session, channel);
      if (label) this.#viewport.dataset.channels = "";
      caption = new CaptionBlocks(() => new LiveBlock(label), this.#names, this.#session);
      // Finals come in order, but a partial may overtake the final of the preceding utterance.
      this.#lines.insertBefore(caption.elements[0], this.#firstOpen(utterance));
      this.#open.set(utterance, caption);
      this.#removeOldest();
    }
    caption.show(live, 0);
    this.#follow();
  }
}

/** A text in the live lines, of which the first characters stay; `nStable` is missing where all do. @typedef {ShownText & { nStable?: number }} LiveText */

/** Words in the live lines. */
class LiveBlock {
  element = make("p");
  head = makeHead();
  #stable = make("span", "", "stable");
  #tentative = make("span", "", "tentative");

  /** @param {HTMLElement | null} label of the channel; null: the channels are mixed */
  constructor(label) {
    if (!label) {
      this.element.append(this.head, this.#stable, this.#tentative);
      this.element.dir = "auto";
      return;
    }
    const words = make("bdi");
    words.append(this.#stable, this.#tentative);
    // Of each, the last two lines are shown.
    const last = make("div", "", "last-lines");
    last.append(words);
    this.element.append(label, last);
  }

  /**
   * @param {string} text
   * @param {number} _startMs
   * @param {LiveText} shown
   */
  show(text, _startMs, { language, original, nStable = text.length }) {
    // The space between them belongs to the stable words, or it would be underlined as tentative too.
    const tentative = text.slice(nStable).trimStart();
    this.element.lang = language ?? "";
    this.element.classList.toggle("original", original);
    this.#stable.textContent = text.slice(0, text.length - tentative.length);
    this.#tentative.textContent = tentative;
  }
}
