// @ts-check
/** The levels of the sounds that are captured: a meter for each, and notices where one is too loud or missing. */

import { element } from "./dom.js";
import { t } from "./language.js";
import { Meter } from "./meter.js";

/** @import { LevelWarning } from "./meter.js" */
/** @import { Chunk } from "./microphone.js" */
/** @import { Notices } from "./notices.js" */

const WORDS = {
  "": "",
  clipping: t("Too loud: the sound is distorted. Turn the microphone down, or move away from it."),
  no_signal: t("No sound arrives. Is the microphone muted, or is another one in use?"),
};

const SECOND_WORDS = {
  "": "",
  clipping: t("The second sound is too loud: it is distorted."),
  no_signal: t("No sound arrives from the second source. Is it muted?"),
};

export class Levels {
  /** Whether no sound arrives, in words; "": it does. */
  warning = "";
  #notices;
  #changed;
  #meters;

  /**
   * @param {Notices} notices
   * @param {() => boolean} mayBeSilent whether the second source is one that is often silent, such as a call in a tab
   * @param {() => void} changed is called when `warning` may be another one
   */
  constructor(notices, mayBeSilent, changed) {
    this.#notices = notices;
    this.#changed = changed;
    this.#meters = [
      new Meter(element("meter"), (warning) => this.#warn(warning)),
      new Meter(element("second-meter"), (warning) => {
        const isExpected = warning === "no_signal" && mayBeSilent();
        notices.show("second_level", isExpected ? "" : SECOND_WORDS[warning]);
      }),
    ];
  }

  /**
   * @param {Chunk} chunk
   * @param {number} chunkMs
   */
  push({ levels }, chunkMs) {
    for (const [i, level] of levels.entries()) this.#meters[i].push(level, chunkMs);
  }

  reset() {
    for (const meter of this.#meters) meter.reset();
  }

  /** @param {LevelWarning} warning */
  #warn(warning) {
    this.warning = warning === "no_signal" ? t("No sound") : "";
    this.#notices.show("level", WORDS[warning]);
    this.#changed();
  }
}
