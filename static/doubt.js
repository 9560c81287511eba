// @ts-check
/** Finals -> whether the speech may be in another language than the one of the captions. No DOM, no state of the page. */

/** @import { Final } from "./messages.js" */

/**
 * A model that is set to one language makes words of any other, but it is not confident. In finals of at least 4 words
 * of `tiny.en`, the confidence was 0.28 to 0.54 with eight other languages (median 0.37, 21 finals), and 0.48 to 0.97 with
 * English, also spontaneous, noisy and by telephone (median 0.84, 40 finals). So the mean of four tells them apart:
 * docs/decisions/0047-doubtful-language.md.
 */
const MIN_CONFIDENCE = 0.5;
const WINDOW = 4;
/** The confidence of fewer words says little: "Okay." had 0.40. */
const MIN_WORDS = 4;

export class Doubt {
  /** @type {number[]} */
  #confidences = [];

  /**
   * Take a final; return whether there is doubt.
   *
   * @param {Pick<Final, "text" | "confidence">} final
   */
  push({ text, confidence }) {
    if (text.trim().split(/\s+/).length >= MIN_WORDS) {
      this.#confidences = [...this.#confidences, confidence].slice(-WINDOW);
    }
    const sum = this.#confidences.reduce((total, each) => total + each, 0);
    return this.#confidences.length === WINDOW && sum / WINDOW < MIN_CONFIDENCE;
  }
}
