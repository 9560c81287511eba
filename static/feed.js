/**
 * The captions of one session, for somebody who reads along: server-sent events, begun anew whenever they break off.
 *
 *     connecting ─► live ◄─► reconnecting           until the session is over, or cannot be read:
 *                    └─► ended | unknown | private
 *
 * By `fetch` and not by EventSource: that one cannot show a token, and does not notice a connection that is dead.
 * Knows nothing of the page.
 */

import { authorization } from "./token.js";

/** The server gives a sign of life every 15 s. */
const MAX_SILENCE_MS = 40_000;
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 5000;

const STATE_OF_REFUSAL = { 204: "ended", 401: "private", 404: "unknown" };

export class CaptionFeed {
  #url;
  #token;
  #listener;
  #lastId = null;
  #retryMs = FIRST_RETRY_MS;
  #wake = () => {};

  /** `listener` is {received(event), state(state)}. A first `snapshot` tells all that was said before. */
  constructor(url, token, listener) {
    this.#url = url;
    this.#token = token;
    this.#listener = listener;
    // Who has the network or the page back does not want to wait for the next try.
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
  }

  /** Read until the session is over or turns out to be out of reach. */
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

  /** One connection. The state in which all is over, or null: it broke off. */
  async #read() {
    const abort = new AbortController();
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), MAX_SILENCE_MS);
    };
    alive();
    try {
      const headers = authorization(this.#token);
      if (this.#lastId !== null) headers["Last-Event-ID"] = this.#lastId;
      const response = await fetch(this.#url, { headers, signal: abort.signal, cache: "no-store" });
      if (response.status in STATE_OF_REFUSAL) return STATE_OF_REFUSAL[response.status];
      if (!response.ok) return null;
      this.#retryMs = FIRST_RETRY_MS;
      this.#listener.state("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return null;
        alive();
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
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

  /** Whether it was the end. A comment is a sign of life and no event. */
  #take(block) {
    const data = block.match(/^data: (.*)$/m);
    if (!data) return false;
    const event = JSON.parse(data[1]);
    this.#lastId = block.match(/^id: (.*)$/m)[1];
    this.#listener.received(event);
    return event.type === "end";
  }

  #delay() {
    const ms = this.#retryMs;
    this.#retryMs = Math.min(2 * ms, MAX_RETRY_MS);
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, ms);
    });
  }
}
