// @ts-check
/**
 * The languages in which the captions of a room can be read: the original, and those into which they are translated.
 *
 * Only finals are translated, each a moment after it was said. Until then, and where a translation is missing, the
 * original stands in its place, marked. So a reader sees that captions go on, and no sentence is a gap.
 */

import { t } from "./language.js";
import { translatedTurn, turnsOf } from "./turns.js";

/** @import { Caption } from "./messages.js" */
/** @import { Settings } from "./settings.js" */
/** @import { ShownTurn } from "./turns.js" */

/** The track of those who read what is said. */
export const ORIGINAL = "";

/**
 * A caption as it is shown. `original`: it stands for a translation that has not come. `turns` are undefined if speakers are
 * not distinguished.
 *
 * @typedef {{ text: string, language: string | null, original: boolean, turns: ShownTurn[] | undefined }} ShownText
 */

/**
 * Return the text of a caption in a track.
 *
 * @param {Caption} caption
 * @param {string} track one of its session, or ORIGINAL
 * @returns {ShownText}
 */
export function inTrack(caption, track) {
  const { text, language, translations } = caption;
  const translation = translations?.find((each) => each.language === track);
  if (translation) {
    const turns = translatedTurn(caption, translation.text);
    return { text: translation.text, language: track, original: false, turns };
  }
  const original = track !== ORIGINAL && language !== track;
  return { text: text.trim(), language, original, turns: turnsOf(caption) };
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
 * List the tracks that a reader can choose, and choose one. Without translations there is nothing to choose.
 *
 * @param {HTMLSelectElement} list
 * @param {string[]} tracks those beside the original
 * @param {string} wanted the one to choose, if it is among them
 */
export function listTracks(list, tracks, wanted) {
  const codes = [ORIGINAL, ...tracks];
  list.hidden = tracks.length === 0;
  if (codes.join() !== [...list.options].map(({ value }) => value).join()) {
    const options = codes.map((code) => new Option(code === ORIGINAL ? t("Original") : trackName(code), code));
    for (const option of options) if (option.value !== ORIGINAL) option.lang = option.value;
    list.replaceChildren(...options);
  }
  list.value = codes.includes(wanted) ? wanted : ORIGINAL;
}

/**
 * The name of a language in that language.
 *
 * @param {string} code
 */
export function trackName(code) {
  return new Intl.DisplayNames(code, { type: "language" }).of(code) ?? code;
}
