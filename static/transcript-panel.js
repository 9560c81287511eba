// @ts-check
/** The transcript on the publisher's page with its tools: announce, download, copy, clear. */

import { ask, copyFrom, element, save } from "./dom.js";
import { exportOf } from "./session-export.js";
import { Subtitles } from "./subtitles.js";
import { fileName, Transcript, toSrt, toText, toVtt } from "./transcript.js";
import { TranscriptView } from "./transcript-view.js";
import { Problem } from "./words.js";

/** @import { Caption } from "./messages.js" */
/** @import { Rename, SpeakerNames } from "./speaker-names.js" */
/** @import { SpokenSession } from "./tab.js" */

/**
 * @typedef {object} PanelListener
 * @property {() => void} cleared
 * @property {(problem: Problem) => void} failed
 */

/** A page that goes on with its session must not wait longer for what was said before. */
const MAX_RESTORING_MS = 5000;

const TOOLS = ["download-vtt", "download-srt", "download-txt", "copy", "clear"];

export class TranscriptPanel {
  view;
  #names;
  #transcript = new Transcript();
  #subtitles = new Subtitles();
  #listener;
  /** @type {number | null} When the first session began, by the Unix clock. */
  #beganAtMs = null;

  /**
   * @param {PanelListener} listener
   * @param {SpeakerNames} names
   * @param {Rename} rename
   */
  constructor(listener, names, rename) {
    this.view = new TranscriptView(element("transcript"), element("jump"), names, rename);
    this.#names = names;
    this.#listener = listener;
    element("download-vtt").addEventListener("click", () => this.#downloadSubtitles("vtt", "text/vtt", toVtt));
    element("download-srt").addEventListener("click", () =>
      this.#downloadSubtitles("srt", "application/x-subrip", toSrt),
    );
    element("download-txt").addEventListener("click", () => this.#save("txt", "text/plain", this.#text()));
    element("copy").addEventListener("click", () => copyFrom(element("copy", HTMLButtonElement), this.#text()));
    element("clear").addEventListener("click", () => this.#askToClear());
    this.#showTools();
  }

  get isEmpty() {
    return this.#transcript.captions.length === 0;
  }

  /** The newest session that has captions. */
  get newest() {
    return this.#transcript.sessions.filter(({ captions }) => captions.length > 0).at(-1);
  }

  /** @param {SpokenSession} session */
  beginSession({ id, readerToken, beganAtMs }) {
    this.#beganAtMs ??= beganAtMs;
    this.#transcript.beginSession(id, readerToken, beganAtMs - this.#beganAtMs);
    this.view.beginSession(id);
  }

  /**
   * Show the captions of sessions that this tab had before it was loaded again. Those that the server does not have any
   * more are left out.
   *
   * @param {readonly SpokenSession[]} sessions
   */
  async restore(sessions) {
    const found = await Promise.all(sessions.map(captionsOf));
    sessions.forEach((session, i) => {
      const { captions, names } = found[i];
      this.beginSession(session);
      this.#names.giveAll(session.id, names);
      for (const final of captions) this.add(final);
    });
    this.#transcript.unsaved = false; // the server has them
  }

  /** The session is over: its subtitles are complete. */
  endSession() {
    const session = this.#transcript.sessions.at(-1);
    if (session && session.captions.length > 0) this.#subtitles.keep(session);
  }

  /**
   * Whether the final of this utterance of the newest session is known.
   *
   * @param {number} utterance
   */
  has(utterance) {
    return this.#transcript.has(utterance);
  }

  /**
   * @param {Caption} final
   * @returns {boolean} whether it is a new one
   */
  add(final) {
    const caption = this.#transcript.add(final);
    if (!caption) return false;
    this.view.add(caption);
    this.#showTools();
    return true;
  }

  #text() {
    const { sessions } = this.#transcript;
    return sessions.map(({ id, captions }) => toText(captions, (speaker) => this.#names.of(id, speaker))).join("");
  }

  /**
   * @param {string} extension
   * @param {string} type
   * @param {typeof toVtt} written
   */
  async #downloadSubtitles(extension, type, written) {
    try {
      this.#save(extension, type, written(await this.#subtitles.cues(this.#transcript.sessions)));
    } catch (error) {
      this.#listener.failed(Problem.from(error));
    }
  }

  /**
   * @param {string} extension
   * @param {string} type
   * @param {string} text
   */
  #save(extension, type, text) {
    save(new Blob([text], { type }), fileName(new Date(this.#beganAtMs ?? Date.now()), extension));
    this.#transcript.unsaved = false;
  }

  #askToClear() {
    if (!this.#transcript.unsaved) return this.#clear();
    ask(element("clear-dialog", HTMLDialogElement), (value) => value === "clear" && this.#clear());
  }

  #clear() {
    this.#transcript.clear();
    this.view.clear();
    this.#showTools();
    this.#listener.cleared();
  }

  #showTools() {
    element("transcript-empty").hidden = !this.isEmpty;
    for (const id of TOOLS) element(id, HTMLButtonElement).disabled = this.isEmpty;
  }
}

/**
 * @param {SpokenSession} session
 * @returns {Promise<{ captions: Caption[], names?: Record<string, string> }>}
 */
async function captionsOf(session) {
  try {
    return await (await exportOf(session, "json", MAX_RESTORING_MS)).json();
  } catch {
    return { captions: [] };
  }
}
