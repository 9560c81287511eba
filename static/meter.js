// @ts-check
/**
 * Levels of the chunks -> a bar from -60 to 0 dBFS, and warnings.
 *
 * Time is counted in audio, because timers sleep in background tabs.
 */

import { t } from "./language.js";

/** @typedef {"clipping" | "no_signal" | ""} LevelWarning */

const FLOOR_DB = -60;
/** A usual time constant of level meters: fast enough to follow words, slow enough to be read. */
const RELEASE_MS = 300;
/** 0.1 dB below full scale: converters clip there, before the last code. */
const CLIP_PEAK = 0.989;
const CLIP_WARNING_MS = 2000;
const NO_SIGNAL_MS = 5000;
/** A screen reader reads the value on request, so this is often enough. */
const ANNOUNCE_MS = 500;

export class Meter {
  #element;
  #warn;
  #shownDb = FLOOR_DB;
  #clipMs = 0;
  #silentMs = 0;
  #sinceAnnouncedMs = 0;
  /** @type {LevelWarning} */
  #warning = "";

  /**
   * @param {HTMLElement} element with the role meter
   * @param {(warning: LevelWarning) => void} warn is called when the warning changes
   */
  constructor(element, warn) {
    this.#element = element;
    this.#warn = warn;
  }

  /**
   * Take the level of `chunkMs` of audio; `rms` and `peak` are 0..1 of full scale.
   *
   * @param {{ rms: number, peak: number }} level
   * @param {number} chunkMs
   */
  push({ rms, peak }, chunkMs) {
    const levelDb = Math.max(FLOOR_DB, 20 * Math.log10(rms));
    const releasedDb = this.#shownDb + (levelDb - this.#shownDb) * (1 - Math.exp(-chunkMs / RELEASE_MS));
    this.#shownDb = Math.max(levelDb, releasedDb);
    this.#clipMs = peak >= CLIP_PEAK ? CLIP_WARNING_MS : Math.max(0, this.#clipMs - chunkMs);
    this.#silentMs = 20 * Math.log10(peak) > FLOOR_DB ? 0 : this.#silentMs + chunkMs;
    this.#show(chunkMs);
  }

  /** Return to the floor, because the capture has ended. */
  reset() {
    this.#shownDb = FLOOR_DB;
    this.#clipMs = this.#silentMs = 0;
    this.#show(ANNOUNCE_MS);
  }

  /** @param {number} elapsedMs */
  #show(elapsedMs) {
    this.#element.style.setProperty("--level", (1 - this.#shownDb / FLOOR_DB).toFixed(3));
    this.#sinceAnnouncedMs += elapsedMs;
    if (this.#sinceAnnouncedMs >= ANNOUNCE_MS) {
      this.#sinceAnnouncedMs = 0;
      this.#element.setAttribute("aria-valuenow", String(Math.round(this.#shownDb)));
      this.#element.setAttribute("aria-valuetext", t("{level} decibels", { level: Math.round(this.#shownDb) }));
    }
    /** @type {LevelWarning} */
    const warning = this.#clipMs > 0 ? "clipping" : this.#silentMs >= NO_SIGNAL_MS ? "no_signal" : "";
    if (warning === this.#warning) return;
    this.#warning = warning;
    this.#warn(warning);
  }
}
