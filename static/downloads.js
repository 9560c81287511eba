// @ts-check
/** What a reader can do with the transcript of a room: download, copy, print. */

import { copyFrom, make, save } from "./dom.js";
import { t } from "./language.js";
import { fetchPatiently } from "./silence.js";
import { authorization } from "./token.js";
import { fileName } from "./transcript.js";

const MAX_SILENCE_MS = 15_000;

/**
 * The transcript that is offered: where it is, who may read it, when it began, what it says.
 *
 * @typedef {object} Offered
 * @property {URL} room
 * @property {string} token
 * @property {() => Date} began
 * @property {() => string} track the language; "": the original
 * @property {() => string} text
 */

/**
 * Put the buttons into an element of the page.
 *
 * @param {HTMLElement} place
 * @param {Offered} offered
 */
export function offerDownloads(place, offered) {
  const failure = make("p", "", "failure");
  failure.setAttribute("role", "alert");
  const file = (/** @type {string} */ words, /** @type {string} */ format) =>
    button(words, async () => {
      failure.textContent = "";
      await download(offered, format).catch(() => {
        failure.textContent = t("The server does not give the file now. Copy the text instead, or try again later.");
      });
    });
  const copy = button(t("Copy"), () => copyFrom(copy, offered.text()));
  place.replaceChildren(
    file("WebVTT", "vtt"),
    file("SRT", "srt"),
    // The server's text has no titles of parts.
    button(t("Text"), () => save(new Blob([offered.text()], { type: "text/plain" }), fileName(offered.began(), "txt"))),
    copy,
    button(t("Print"), () => print()),
    failure,
  );
}

/**
 * @param {string} words
 * @param {() => void} clicked
 */
function button(words, clicked) {
  const made = make("button", words, "quiet");
  made.type = "button";
  made.addEventListener("click", clicked);
  return made;
}

/**
 * The token is sent in a header, because addresses are kept in histories and logs.
 *
 * @param {Offered} offered
 * @param {string} format
 */
async function download({ room, token, began, track }, format) {
  const url = new URL(`${room}/transcript.${format}`);
  if (track()) url.searchParams.set("track", track());
  const response = await fetchPatiently(url, { headers: authorization(token), cache: "no-store" }, MAX_SILENCE_MS);
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  save(await response.blob(), fileName(began(), format));
}
