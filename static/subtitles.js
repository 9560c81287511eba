// @ts-check
/**
 * The server's subtitles of the sessions of this page, over HTTP.
 *
 * A server that stores nothing forgets a session five minutes after its end, and a laptop's server may be stopped by
 * then. So the subtitles of a session are fetched once when it ends, and kept.
 */

import { accessToken, authorization } from "./token.js";
import { cuesOf } from "./transcript.js";
import { Problem } from "./words.js";

/** @import { Cue, TranscribedSession } from "./transcript.js" */

/** The server takes 2 s for five hours of speech, and up to ten others may be before us. */
const TIMEOUT_MS = 15_000;

export class Subtitles {
  /** @type {Map<string, string>} SubRip of sessions that are over, by their ids */
  #finished = new Map();

  /**
   * Keep the subtitles of a session that has just ended. If the server does not answer, `cues` will ask again.
   *
   * @param {TranscribedSession} session
   */
  async keep({ id, readerToken }) {
    const srt = await fetchSrt(id, readerToken).catch(() => null);
    if (srt !== null) this.#finished.set(id, srt);
  }

  /**
   * All cues of these sessions, in order. Throws Problem `no_subtitles` if the server does not have or give them.
   *
   * @param {readonly TranscribedSession[]} sessions
   * @returns {Promise<Cue[]>}
   */
  async cues(sessions) {
    const cues = [];
    for (const session of sessions.filter(({ captions }) => captions.length > 0)) {
      const srt = this.#finished.get(session.id) ?? (await fetchSrt(session.id, session.readerToken));
      cues.push(...cuesOf(session, srt));
    }
    return cues;
  }
}

/**
 * @param {string} id
 * @param {string} readerToken
 */
async function fetchSrt(id, readerToken) {
  const url = new URL(`v1/sessions/${id}/transcript.srt`, document.baseURI);
  try {
    let response = await get(url, readerToken);
    // The readers' token is valid as long as the server remembers the session, the operator's token after that.
    if (response.status === 401) response = await get(url, accessToken());
    if (response.ok) return await response.text();
    throw new Error(`the server answers ${response.status}`);
  } catch (error) {
    throw new Problem("no_subtitles", /** @type {Error} */ (error).message);
  }
}

/**
 * @param {URL} url
 * @param {string} token
 */
function get(url, token) {
  return fetch(url, { headers: authorization(token), signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
}
