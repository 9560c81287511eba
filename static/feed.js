// @ts-check
/**
 * The captions of one room for a reader, over one connection after the other.
 *
 *     connecting ─► open ◄─► reconnecting | restarting | full
 *                    └─► over      the event has ended: looks after a while whether it goes on, or another one begins
 *         unknown: looks again after a while      private: final
 *
 * Each connection is a WebSocket or, where none can be opened, server-sent events: a browser opens only six of those to
 * one server, so a seventh tab would wait for ever. They are read by `fetch`, because an EventSource sends no token.
 * Independent of the page.
 */

import { Silence } from "./silence.js";
import { authorization, subprotocols } from "./token.js";

/** @import { ReaderEvent, Room } from "./messages.js" */

/**
 * @typedef {"connecting" | "open" | "reconnecting" | "restarting" | "full" | "over" | "unknown" | "private"} Connection
 */

/**
 * @typedef {object} FeedListener
 * @property {(event: ReaderEvent) => void} received
 * @property {(connection: Connection) => void} connection
 */

/** The server sends at least the room, or a comment, every 15 s. */
const MAX_SILENCE_MS = 40_000;
/** All readers of a room that goes on elsewhere come back within this time. */
const MAX_MOVE_MS = 300;
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 5000;
/** A room that is not there may be made later; a link can be shared before. */
const UNKNOWN_RETRY_MS = 15_000;
/** People who stay for the next event at the same link miss this of it, and all readers do not ask at the same time. */
const OVER_RETRY_MS = 15_000;
const OVER_SPREAD_MS = 15_000;
const TIMEOUT_MS = 15_000;
/** A server that restarts loads a large model within this time. Later it is unreachable, as far as a page can see. */
const RESTART_MS = 120_000;

const CLOSED_AT_THE_END = 1000;
const CLOSED_BY_A_STOP = [1001, 1012];
/** @type {Record<string, Connection>} The server's refusals that matter to a reader, by their codes. */
const OF_REFUSAL = {
  forbidden_role: "private",
  too_many_attempts: "private",
  too_many_readers: "full",
  unauthorized: "private",
  unknown_room: "unknown",
  wrong_token: "private",
};

export class CaptionFeed {
  #room;
  #token;
  #listener;
  /** The newest event that was received, as the server calls it; "": none. */
  #cursor = "";
  #epoch = "";
  #ended = false;
  /** @type {string | undefined} The newest part of the room; undefined: it has none. */
  #newestPart;
  /** @type {Connection} */
  #connection = "connecting";
  /** The present connection has received something. */
  #received = false;
  /** The server said that it stops, at this time. */
  #stoppedAtMs = Number.NEGATIVE_INFINITY;
  #retryMs = FIRST_RETRY_MS;
  #wake = () => {};
  /** Gives the present connection up. */
  #drop = () => {};

  /**
   * @param {URL} room its address in the API
   * @param {string} token the reader token of a private room, or ""
   * @param {FeedListener} listener
   */
  constructor(room, token, listener) {
    this.#room = room;
    this.#token = token;
    this.#listener = listener;
    // Look at once when the network returns or the page becomes visible. A new network has none of our connections.
    addEventListener("online", () => {
      this.#drop();
      this.#wake();
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
  }

  /** Read until the room turns out to be private. */
  async run() {
    this.#show("connecting");
    while (this.#connection !== "private") {
      this.#show(this.#after(await this.#read()));
      do await this.#pause();
      while (this.#connection === "over" && !(await this.#goesOn()));
    }
  }

  /**
   * Read until the connection is lost. Mostly a server that closes it goes on with the room elsewhere, in another of its
   * processes. So the reader learns of it only if the next connection fails.
   */
  async #read() {
    for (;;) {
      this.#received = false;
      const result = (await this.#readSocket()) ?? (await this.#readEvents());
      if (result !== "restarting" || !this.#received) return result;
      this.#stoppedAtMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, MAX_MOVE_MS * Math.random()));
    }
  }

  /** @param {Connection} connection */
  #show(connection) {
    this.#connection = connection;
    this.#listener.connection(connection);
  }

  /**
   * What a lost connection means to the reader depends on what was before.
   *
   * @param {Connection} result
   * @returns {Connection}
   */
  #after(result) {
    if (result === "restarting") this.#stoppedAtMs = performance.now();
    if (result !== "reconnecting") return result;
    if (this.#connection === "over") return "over";
    return performance.now() - this.#stoppedAtMs < RESTART_MS ? "restarting" : result;
  }

  /** The first event has come. */
  #opened() {
    this.#received = true;
    this.#stoppedAtMs = Number.NEGATIVE_INFINITY;
    this.#retryMs = FIRST_RETRY_MS;
    if (this.#connection !== "open") this.#show("open");
  }

  /** @param {ReaderEvent} event */
  #take(event) {
    this.#opened();
    if (event.type === "snapshot") this.#epoch = event.epoch;
    if (event.type === "room") {
      this.#ended = event.state === "ended";
      this.#newestPart = event.parts.at(-1)?.session;
    }
    if ("seq" in event) this.#cursor = `${this.#epoch}-${event.seq}`;
    this.#listener.received(event);
  }

  /**
   * Read over a WebSocket until its end. null: it could not be opened, and only a request without one can find out why.
   *
   * @returns {Promise<Connection | null>}
   */
  #readSocket() {
    const url = new URL(`${this.#room}/watch`);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("last_event_id", this.#cursor);
    const socket = new WebSocket(url, subprotocols(this.#token));
    return new Promise((resolve) => {
      let opened = false;
      this.#drop = () => {
        socket.close();
        resolve(opened ? "reconnecting" : null);
      };
      const silence = new Silence(this.#drop, MAX_SILENCE_MS);
      socket.onopen = () => {
        opened = true;
      };
      socket.onmessage = ({ data }) => {
        silence.broken();
        this.#take(JSON.parse(data));
      };
      socket.onclose = ({ code }) => {
        silence.end();
        if (code === CLOSED_AT_THE_END) resolve("over");
        else if (CLOSED_BY_A_STOP.includes(code)) resolve("restarting");
        else resolve(opened ? "reconnecting" : null);
      };
    });
  }

  /**
   * Read server-sent events until their end.
   *
   * @returns {Promise<Connection>}
   */
  async #readEvents() {
    const abort = new AbortController();
    this.#drop = () => abort.abort();
    const silence = new Silence(this.#drop, MAX_SILENCE_MS);
    try {
      const headers = authorization(this.#token);
      if (this.#cursor) headers["Last-Event-ID"] = this.#cursor;
      const response = await fetch(`${this.#room}/events`, { headers, signal: abort.signal, cache: "no-store" });
      if (response.status === 204) return "over";
      // A proxy that does not reach the server, or limits requests, answers with the same statuses and no code.
      if (!response.ok || !response.body) return OF_REFUSAL[(await response.json()).code] ?? "reconnecting";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return this.#ended ? "over" : "restarting";
        silence.broken();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          // A block without data is a comment.
          const data = block.match(/^data: (.*)$/m)?.[1];
          if (data) this.#take(JSON.parse(data));
        }
      }
    } catch {
      return "reconnecting";
    } finally {
      silence.end();
      abort.abort();
    }
  }

  /** Whether an event that was over goes on, or another one has begun at the link since. */
  async #goesOn() {
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await fetch(this.#room, { headers: authorization(this.#token), signal, cache: "no-store" });
      if (!response.ok) return false;
      const { state, parts } = /** @type {Room} */ (await response.json());
      return state !== "ended" || parts.at(-1)?.session !== this.#newestPart;
    } catch {
      return false;
    }
  }

  /** @returns {Promise<void>} */
  #pause() {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#connection === "private") return;
      if (this.#connection === "over") {
        setTimeout(resolve, OVER_RETRY_MS + OVER_SPREAD_MS * Math.random());
        return;
      }
      const ms = this.#connection === "unknown" ? UNKNOWN_RETRY_MS : this.#retryMs;
      this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
      setTimeout(resolve, ms);
    });
  }
}
