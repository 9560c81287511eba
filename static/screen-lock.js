// @ts-check
/** A screen that stays on while captions are shown. */

/** Keeps the screen on, because captions are lost on a screen that sleeps. */
export class ScreenLock {
  #wanted = false;
  /** @type {Promise<WakeLockSentinel | null> | null} */
  #lock = null;

  constructor() {
    // Browsers release the lock whenever the page is hidden.
    document.addEventListener("visibilitychange", () => this.#update());
  }

  /** @param {boolean} wanted */
  keep(wanted) {
    this.#wanted = wanted;
    this.#update();
  }

  async #update() {
    if (this.#wanted && document.visibilityState === "visible") {
      this.#lock ??= navigator.wakeLock?.request("screen").catch(() => null) ?? null;
    } else {
      const lock = this.#lock;
      this.#lock = null;
      (await lock)?.release();
    }
  }
}
