// @ts-check
/** Presentation: nothing but captions, on the whole screen where the browser allows it, and a screen that stays on. */

import { element } from "./dom.js";
import { t } from "./language.js";

const button = element("present", HTMLButtonElement);

export function isPresenting() {
  return document.documentElement.hasAttribute("data-presenting");
}

/**
 * Begin or leave the presentation.
 *
 * @param {boolean} on
 */
export function present(on) {
  document.documentElement.toggleAttribute("data-presenting", on);
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? t("Leave") : t("Present");
  // iPhones have no full screen; there the captions fill the browser's window.
  if (on) document.documentElement.requestFullscreen?.().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
}

button.addEventListener("click", () => present(!isPresenting()));
document.addEventListener("keydown", ({ key }) => key === "Escape" && isPresenting() && present(false));
document.addEventListener("fullscreenchange", () => document.fullscreenElement || present(false));

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
