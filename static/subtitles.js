// @ts-check
/**
 * The server's subtitles of the sessions of this page, over HTTP.
 *
 * A server that stores nothing forgets a session five minutes after its end, and a laptop's server may be stopped by
 * then. So the subtitles of a session are fetched once when it ends, and kept.
 */

import { exportOf } from "./session-export.js";
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
  async keep(session) {
    const srt = await fetchSrt(session).catch(() => null);
    if (srt !== null) this.#finished.set(session.id, srt);
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
      const srt = this.#finished.get(session.id) ?? (await fetchSrt(session));
      cues.push(...cuesOf(session, srt));
    }
    return cues;
  }
}

/** @param {TranscribedSession} session */
async function fetchSrt(session) {
  try {
    return await (await exportOf(session, "srt", TIMEOUT_MS)).text();
  } catch (error) {
    throw new Problem("no_subtitles", /** @type {Error} */ (error).message);
  }
}
