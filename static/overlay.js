// @ts-check
/** What the address of an overlay asks for. No DOM. A value that is none of the documented ones is ignored. */

import { CAPTION_SIZE_PERCENT } from "./appearance.js";

/** @import { Values } from "./settings.js" */

const HOLD_S = { min: 0, max: 600, default: 8 };
/** More lines than are kept for the live lines would stay empty. */
const LINES = { min: 1, max: 6 };
/** @type {Record<string, string[]>} */
const CHOICES = {
  colors: ["white-on-black", "yellow-on-black"],
  position: ["bottom", "top"],
  font: ["sans", "serif", "wide"],
};

/**
 * @typedef {object} OverlayOptions
 * @property {number} holdMs the lines are cleared after this time without news; 0: they stay
 * @property {number | null} lines null: as many as usual
 * @property {globalThis.Partial<Values>} values
 */

/**
 * Read the options of an overlay: `?overlay=1&hold=8&size=120`. null: the page is none.
 *
 * @param {string} search
 * @returns {OverlayOptions | null}
 */
export function overlayOptions(search) {
  const asked = new URLSearchParams(search);
  if (asked.get("overlay") !== "1") return null;
  return {
    holdMs: (number(asked, "hold", HOLD_S) ?? HOLD_S.default) * 1000,
    lines: number(asked, "lines", LINES),
    values: {
      captionSize: number(asked, "size", CAPTION_SIZE_PERCENT) ?? 100,
      captionColors: choice(asked, "colors"),
      position: choice(asked, "position"),
      font: choice(asked, "font"),
    },
  };
}

/**
 * @param {URLSearchParams} asked
 * @param {string} name
 * @param {{ min: number, max: number }} bounds
 */
function number(asked, name, { min, max }) {
  const text = asked.get(name) ?? "";
  const value = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

/**
 * @param {URLSearchParams} asked
 * @param {string} name
 */
function choice(asked, name) {
  const value = asked.get(name) ?? "";
  return CHOICES[name].includes(value) ? value : CHOICES[name][0];
}
