// @ts-check
/** Presentation: nothing but captions, on the whole screen where the browser allows it. */

import { element } from "./dom.js";
import { t } from "./language.js";

const button = element("present", HTMLButtonElement);
let changed = () => {};

/**
 * Call a function whenever the presentation begins or is left.
 *
 * @param {() => void} listener
 */
export function onPresentation(listener) {
  changed = listener;
}

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
  changed();
  // iPhones have no full screen; there the captions fill the browser's window.
  if (on) document.documentElement.requestFullscreen?.().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
}

button.addEventListener("click", () => present(!isPresenting()));
document.addEventListener("keydown", ({ key }) => key === "Escape" && isPresenting() && present(false));
document.addEventListener("fullscreenchange", () => document.fullscreenElement || present(false));
