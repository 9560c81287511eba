// @ts-check
/** Which words of a caption are whose. No DOM. */

/** @import { Caption } from "./messages.js" */

/**
 * A part of a caption that is shown as one block. `speaker` is null if nobody is certain. `startMs` counts as that of its
 * caption.
 *
 * @typedef {{ speaker: number | null, text: string, startMs: number }} ShownTurn
 */

/**
 * Return the turns of a caption; undefined if speakers are not distinguished.
 *
 * @param {Pick<Caption, "turns">} caption
 * @param {number} offsetMs when its session began
 * @returns {ShownTurn[] | undefined}
 */
export function turnsOf({ turns }, offsetMs = 0) {
  return turns?.map(({ speaker, text, start_ms }) => ({
    speaker,
    text: text.trim(),
    startMs: start_ms + offsetMs,
  }));
}

/**
 * Return the one turn of a translation. Which of its words are whose is known only if one person speaks.
 *
 * @param {Pick<Caption, "turns" | "start_ms">} caption
 * @param {string} text
 * @returns {ShownTurn[] | undefined}
 */
export function translatedTurn({ turns, start_ms }, text) {
  if (!turns) return undefined;
  return [{ speaker: turns.length === 1 ? turns[0].speaker : null, text, startMs: start_ms }];
}
