// @ts-check
/** The level of the microphone before anything is sent. */

import { Capture } from "./microphone.js";

/** @import { Choice, Chunk } from "./microphone.js" */

/** Longer: an open microphone is forgotten. Shorter: no time to walk to the lectern and speak. */
const MAX_TEST_MS = 60_000;

export class MicrophoneTest {
  #level;
  #changed;
  /** @type {AbortController | null} null: no test runs */
  #running = null;

  /**
   * @param {(chunk: Chunk, chunkMs: number) => void} level
   * @param {(isRunning: boolean) => void} changed
   */
  constructor(level, changed) {
    this.#level = level;
    this.#changed = changed;
  }

  get isRunning() {
    return this.#running !== null;
  }

  /**
   * Begin from a user's gesture. Throws Problem.
   *
   * @param {Choice} choice
   */
  async start(choice) {
    const running = new AbortController();
    this.#running = running;
    this.#changed(true);
    /** @type {Capture} */
    let capture;
    try {
      capture = await Capture.open(choice, {
        chunk: (chunk, chunkMs) => this.#level(chunk, chunkMs),
        ended: () => this.stop(),
        suspended: () => {},
      });
    } catch (error) {
      if (running === this.#running) this.stop();
      throw error;
    }
    const timer = setTimeout(() => this.stop(), MAX_TEST_MS);
    const close = () => {
      clearTimeout(timer);
      capture.close();
    };
    if (running.signal.aborted) close();
    else running.signal.addEventListener("abort", close);
  }

  stop() {
    if (!this.#running) return;
    this.#running.abort();
    this.#running = null;
    this.#changed(false);
  }
}
