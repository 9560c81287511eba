// @ts-check
/**
 * The languages in which the captions of a room can be read: the original, and those into which they are translated.
 *
 * Only finals are translated, each a moment after it was said. Until then, and where a translation is missing, the
 * original stands in its place, marked. So a reader sees that captions go on, and no sentence is a gap.
 */

/** @import { Caption } from "./messages.js" */
/** @import { Settings } from "./settings.js" */

/** The track of those who read what is said. */
export const ORIGINAL = "";

/**
 * A caption as it is shown. `original`: it stands for a translation that has not come.
 *
 * @typedef {{ text: string, language: string | null, original: boolean }} ShownText
 */

/**
 * Return the text of a caption in a track.
 *
 * @param {Caption} caption
 * @param {string} track one of its session, or ORIGINAL
 * @returns {ShownText}
 */
export function inTrack({ text, language, translations }, track) {
  const translation = translations?.find((each) => each.language === track);
  if (translation) return { text: translation.text, language: track, original: false };
  return { text: text.trim(), language, original: track !== ORIGINAL && language !== track };
}

/**
 * The track that this reader has chosen: in the address, or else as it was before.
 *
 * @param {Settings} settings
 */
export function chosenTrack(settings) {
  return new URLSearchParams(location.search).get("track") ?? settings.get("track");
}

/**
 * Keep a choice, also in the address, which is shared and loaded again.
 *
 * @param {Settings} settings
 * @param {string} track
 */
export function chooseTrack(settings, track) {
  settings.set("track", track);
  const address = new URL(location.href);
  if (track === ORIGINAL) address.searchParams.delete("track");
  else address.searchParams.set("track", track);
  history.replaceState(null, "", address);
}

/**
 * The name of a language in that language.
 *
 * @param {string} code
 */
export function trackName(code) {
  return new Intl.DisplayNames(code, { type: "language" }).of(code) ?? code;
}
