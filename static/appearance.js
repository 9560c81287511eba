// @ts-check
/** How captions look, on the publisher's page and on the readers' page. */

import { element } from "./dom.js";

/** @import { Settings } from "./settings.js" */

export const CAPTION_SIZE_PERCENT = { min: 50, max: 200 };
const STEP_PERCENT = 10;

/**
 * Give the page the appearance that the settings describe.
 *
 * @param {Settings} settings
 */
export function showAppearance(settings) {
  const root = document.documentElement;
  root.dataset.theme = settings.get("theme");
  root.dataset.captionColors = settings.get("captionColors");
  const size = captionSize(settings);
  root.style.setProperty("--caption-scale", String(size / 100));
  element("caption-size").textContent = `${size} %`;
}

/**
 * Keep a size that is one step larger (1) or smaller (-1), within bounds. `showAppearance` shows it.
 *
 * @param {Settings} settings
 * @param {1 | -1} direction
 */
export function stepCaptionSize(settings, direction) {
  settings.set("captionSize", within(captionSize(settings) + direction * STEP_PERCENT));
}

/** @param {Settings} settings */
function captionSize(settings) {
  return within(settings.get("captionSize"));
}

/** @param {number} percent */
function within(percent) {
  const { min, max } = CAPTION_SIZE_PERCENT;
  return Math.max(min, Math.min(max, percent));
}
