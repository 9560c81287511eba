// @ts-check
/** The transcript on the publisher's page with its tools: announce, download, copy, clear. */

import { TranscriptView } from "./captions.js";
import { ask, copyFrom, element, save } from "./dom.js";
import { Subtitles } from "./subtitles.js";
import { fileName, Transcript, toSrt, toText, toVtt } from "./transcript.js";
import { Problem } from "./words.js";

/** @import { Final, Ready } from "./messages.js" */

/**
 * @typedef {object} PanelListener
 * @property {() => void} cleared
 * @property {(problem: Problem) => void} failed
 */

const TOOLS = ["download-vtt", "download-srt", "download-txt", "copy", "clear"];

export class TranscriptPanel {
  view = new TranscriptView(element("transcript"), element("jump"));
  #transcript = new Transcript();
  #subtitles = new Subtitles();
  #listener;
  /** @type {{ date: Date, atMs: number } | null} When the first session began. */
  #began = null;

  /** @param {PanelListener} listener */
  constructor(listener) {
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

  /** @param {Ready} ready */
  beginSession({ session, reader_token }) {
    const nowMs = performance.now();
    this.#began ??= { date: new Date(), atMs: nowMs };
    this.#transcript.beginSession(session, reader_token ?? "", Math.round(nowMs - this.#began.atMs));
  }

  /** The session is over: its subtitles are complete. */
  endSession() {
    const session = this.#transcript.sessions.at(-1);
    if (session && session.captions.length > 0) this.#subtitles.keep(session);
  }

  /** @param {Final} final */
  add(final) {
    const caption = this.#transcript.add(final);
    if (!caption) return;
    this.view.add(caption);
    this.#showTools();
  }

  #text() {
    return toText(this.#transcript.captions);
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
    save(new Blob([text], { type }), fileName(this.#began?.date ?? new Date(), extension));
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
