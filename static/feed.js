// @ts-check
/**
 * The captions of one session for a reader: server-sent events, requested again whenever the connection is lost.
 *
 *     connecting ─► live ◄─► reconnecting           until the session is over, or cannot be read:
 *                    └─► ended | unknown | private
 *
 * Uses `fetch` and not EventSource, which can neither send a token nor notice a dead connection.
 * Independent of the page.
 */

import { authorization } from "./token.js";

/** @import { ReaderEvent } from "./messages.js" */

/** @typedef {"connecting" | "live" | "reconnecting" | "ended" | "unknown" | "private"} FeedState */

/**
 * A first `snapshot` has everything that was said before.
 *
 * @typedef {object} FeedListener
 * @property {(event: ReaderEvent) => void} received
 * @property {(state: FeedState) => void} state
 */

/** The server sends at least a comment every 15 s. */
const MAX_SILENCE_MS = 40_000;
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 5000;

/** @type {Record<number, FeedState>} */
const STATE_OF_STATUS_CODE = { 204: "ended", 401: "private", 404: "unknown" };

export class CaptionFeed {
  #url;
  #token;
  #listener;
  /** @type {string | null} */
  #lastId = null;
  #retryMs = FIRST_RETRY_MS;
  #wake = () => {};

  /**
   * @param {URL} url
   * @param {string} token
   * @param {FeedListener} listener
   */
  constructor(url, token, listener) {
    this.#url = url;
    this.#token = token;
    this.#listener = listener;
    // Retry at once when the network returns or the page becomes visible.
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
  }

  /** Read until the session is over or turns out to be unreadable. */
  async run() {
    this.#listener.state("connecting");
    for (;;) {
      const end = await this.#read();
      if (end) {
        this.#listener.state(end);
        return;
      }
      this.#listener.state("reconnecting");
      await this.#delay();
    }
  }

  /**
   * Read over one connection until its end. Return the final state, or null if the connection was lost.
   *
   * @returns {Promise<FeedState | null>}
   */
  async #read() {
    const abort = new AbortController();
    let silence = 0;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), MAX_SILENCE_MS);
    };
    alive();
    try {
      const headers = authorization(this.#token);
      if (this.#lastId !== null) headers["Last-Event-ID"] = this.#lastId;
      const response = await fetch(this.#url, { headers, signal: abort.signal, cache: "no-store" });
      const end = STATE_OF_STATUS_CODE[response.status];
      if (end) return end;
      if (!response.ok || !response.body) return null;
      this.#retryMs = FIRST_RETRY_MS;
      this.#listener.state("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return null;
        alive();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          if (this.#take(block)) return "ended";
        }
      }
    } catch {
      return null;
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
  }

  /**
   * Take a block of the stream; return whether it was the last event. A comment only shows that the server is alive.
   *
   * @param {string} block
   */
  #take(block) {
    const data = block.match(/^data: (.*)$/m);
    if (!data) return false;
    /** @type {ReaderEvent} */
    const event = JSON.parse(data[1]);
    this.#lastId = block.match(/^id: (.*)$/m)?.[1] ?? this.#lastId;
    this.#listener.received(event);
    return event.type === "end";
  }

  /** @returns {Promise<void>} */
  #delay() {
    const ms = this.#retryMs;
    this.#retryMs = Math.min(2 * ms, MAX_RETRY_MS);
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, ms);
    });
  }
}
