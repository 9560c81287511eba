/**
 * Levels of the chunks -> a bar from -60 to 0 dBFS, and warnings.
 *
 * Time is counted in audio: timers sleep in background tabs.
 */

const FLOOR_DB = -60;
/** Usual for level meters in software: fast enough to follow words, slow enough to be read. */
const RELEASE_MS = 300;
/** 0.1 dB below full scale: converters clip there, before the last code. */
const CLIP_PEAK = 0.989;
const CLIP_WARNING_MS = 2000;
const NO_SIGNAL_MS = 5000;

export class Meter {
  #element;
  #warn;
  #shown_db = FLOOR_DB;
  #clip_ms = 0;
  #silent_ms = 0;
  #announced_ms = 0;
  #warning = "";

  /** `element` has role meter; `warn` is called with "clipping", "no_signal" or "" when that changes. */
  constructor(element, warn) {
    this.#element = element;
    this.#warn = warn;
  }

  /** Take the level of `chunk_ms` of audio; `rms` and `peak` are 0..1 of full scale. */
  push({ rms, peak }, chunk_ms) {
    const level_db = Math.max(FLOOR_DB, 20 * Math.log10(rms));
    const released_db = this.#shown_db + (level_db - this.#shown_db) * (1 - Math.exp(-chunk_ms / RELEASE_MS));
    this.#shown_db = Math.max(level_db, released_db);
    this.#clip_ms = peak >= CLIP_PEAK ? CLIP_WARNING_MS : Math.max(0, this.#clip_ms - chunk_ms);
    this.#silent_ms = 20 * Math.log10(peak) > FLOOR_DB ? 0 : this.#silent_ms + chunk_ms;
    this.#show(chunk_ms);
  }

  /** Nothing is captured any more. */
  reset() {
    this.#shown_db = FLOOR_DB;
    this.#clip_ms = this.#silent_ms = 0;
    this.#show(Infinity);
  }

  #show(elapsed_ms) {
    this.#element.style.setProperty("--level", (1 - this.#shown_db / FLOOR_DB).toFixed(3));
    // A screen reader asks when it wants to know; twice a second is enough for it.
    this.#announced_ms += elapsed_ms;
    if (this.#announced_ms >= 500) {
      this.#announced_ms = 0;
      this.#element.setAttribute("aria-valuenow", Math.round(this.#shown_db));
      this.#element.setAttribute("aria-valuetext", `${Math.round(this.#shown_db)} decibels`);
    }
    const warning = this.#clip_ms > 0 ? "clipping" : this.#silent_ms >= NO_SIGNAL_MS ? "no_signal" : "";
    if (warning !== this.#warning) this.#warn((this.#warning = warning));
  }
}
