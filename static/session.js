// @ts-check
/**
 * From one press of "start" to the last caption: joins capture and stream, and owns the state that the page shows.
 *
 *     idle ─► asking ─► connecting ◄─► loading | busy      asking: the browser asks the user for the microphone
 *                          │                               loading, busy: the server refused for now; asked again
 *                          ▼
 *                        live ◄─► recovering | overloaded | draining      as the server reports
 *                          │  ◄─► reconnecting             the connection is lost; the server waits for us
 *                          │
 *                          ▼
 *                      finishing ─► idle                    stop was pressed; the last caption is on its way
 *
 * From every state a failure leads to `failed`, a broken connection to `lost`, and an end by the server to `ended`.
 * From all three the user can start again, as from `idle`.
 */

import { Capture } from "./microphone.js";
import { CaptionStream, preflight } from "./stream.js";
import { Problem } from "./words.js";

/** @import { End, StreamEvent } from "./messages.js" */
/** @import { Choice, Chunk } from "./microphone.js" */
/** @import { StreamOptions } from "./stream.js" */
/** @import { SessionState } from "./words.js" */

/**
 * @typedef {object} SessionListener
 * @property {(state: SessionState, detail: { retryAfterS?: number }) => void} state
 * @property {(event: StreamEvent) => void} received
 * @property {(chunk: Chunk, chunkMs: number) => void} level
 * @property {(suspended: boolean) => void} suspended
 * @property {(ms: number) => void} dropped
 * @property {(problem: Problem) => void} failed
 */

/** @type {readonly SessionState[]} */
const RESTING = ["idle", "failed", "lost", "ended"];
/** @type {readonly SessionState[]} */
const RUNNING = ["live", "recovering", "overloaded", "draining", "reconnecting"];
/** @type {Record<string, SessionState>} */
const STATE_OF_STATUS = { ready: "live", recovering: "recovering", overloaded: "overloaded", draining: "draining" };

/** @type {Record<string, SessionState>} Refusals that pass with time, and the state that shows them. */
const STATE_OF_REFUSAL = { loading: "loading", overloaded: "busy", draining: "busy" };
/** The wait before the next try, if the refusal does not name one. */
const DEFAULT_RETRY_S = 2;
/** The server's own limit for its last captions is shorter; only a dead connection takes longer. */
const MAX_FINISHING_MS = 30_000;

/** @type {Record<number, string>} */
const PROBLEM_OF_CLOSE_CODE = { 1001: "server_stopped", 1008: "refused", 1011: "internal", 1013: "overloaded" };

export class Session {
  /** @type {SessionState} */
  state = "idle";
  #listener;
  #abort = new AbortController();
  /** @type {Capture | null} */
  #capture = null;
  /** @type {CaptionStream | null} */
  #stream = null;
  /** @type {Problem | null} */
  #fatal = null;
  #finishingTimer = 0;

  /** @param {SessionListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  get resting() {
    return RESTING.includes(this.state);
  }

  get running() {
    return RUNNING.includes(this.state);
  }

  /**
   * Start. Must be called from a user's gesture. `options.language` null: the server detects it.
   *
   * @param {Choice} choice
   * @param {{ language: string | null, private: boolean }} options
   * @param {string} token
   */
  async start(choice, options, token) {
    const abort = new AbortController();
    this.#abort = abort;
    this.#fatal = null;
    this.#enter("asking");
    try {
      const capture = await this.#openCapture(choice, abort.signal);
      this.#enter("connecting");
      await this.#untilAccepted(token, abort.signal);
      this.#openStream({ ...options, token, sampleRateHz: capture.sampleRateHz });
    } catch (error) {
      if (!abort.signal.aborted) this.#fail("failed", error);
    }
  }

  /** Ask for the last captions if there is a stream; otherwise cancel the start. */
  stop() {
    if (this.running) {
      this.#capture?.close();
      this.#stream?.stop();
      this.#enter("finishing");
      this.#finishingTimer = setTimeout(() => this.#closed(null), MAX_FINISHING_MS);
    } else if (!this.resting && this.state !== "finishing") {
      this.#release();
      this.#enter("idle");
    }
  }

  /**
   * Change the source of the running stream.
   *
   * @param {Choice} choice
   */
  async changeSource(choice) {
    try {
      await this.#capture?.switchTo(choice);
    } catch (error) {
      this.#listener.failed(Problem.from(error));
    }
  }

  resume() {
    return this.#capture?.resume();
  }

  /**
   * @param {Choice} choice
   * @param {AbortSignal} signal
   */
  async #openCapture(choice, signal) {
    const capture = await Capture.open(choice, {
      chunk: (chunk) => {
        this.#listener.level(chunk, (chunk.pcm.length * 1000) / capture.sampleRateHz);
        this.#stream?.sendAudio(chunk.pcm);
      },
      ended: () => this.#sourceEnded(),
      suspended: (suspended) => this.#listener.suspended(suspended),
    });
    // Stop may have been pressed while the browser asked; then nothing else would close this capture.
    if (signal.aborted) capture.close();
    signal.throwIfAborted();
    this.#capture = capture;
    return capture;
  }

  /**
   * @param {string} token
   * @param {AbortSignal} signal
   */
  async #untilAccepted(token, signal) {
    for (;;) {
      try {
        await preflight(token, signal);
        return;
      } catch (error) {
        const problem = Problem.from(error);
        const state = STATE_OF_REFUSAL[problem.code];
        if (!state) throw error;
        const retryAfterS = problem.retryAfterS ?? DEFAULT_RETRY_S;
        this.#enter(state, { retryAfterS });
        await delay(retryAfterS * 1000, signal);
      }
    }
  }

  /** @param {StreamOptions} options */
  #openStream(options) {
    this.#stream = new CaptionStream(options, {
      received: (event) => this.#received(event),
      dropped: (ms) => this.#listener.dropped(ms),
      lost: () => this.running && this.#enter("reconnecting"),
      resumed: () => this.running && this.#enter("live"),
      closed: (code) => this.#closed(code),
    });
  }

  /** @param {StreamEvent} event */
  #received(event) {
    if (event.type === "ready") this.#enter("live");
    if (event.type === "status" && this.running) this.#enter(STATE_OF_STATUS[event.state] ?? this.state);
    if (event.type === "error" && event.fatal) this.#fatal = new Problem(event.code, event.message);
    this.#listener.received(event);
    if (event.type === "end") this.#ended(event);
  }

  /** @param {End} end */
  #ended({ reason }) {
    if (this.#fatal) this.#fail("lost", this.#fatal);
    else if (reason === "stop") {
      this.#release();
      this.#enter("idle");
    } else this.#fail("ended", new Problem("server_stopped"));
  }

  /**
   * Fail because the connection is closed without `end`; code null: it does not answer.
   *
   * @param {number | null} code
   */
  #closed(code) {
    const unconnected = this.state === "connecting";
    const cause = PROBLEM_OF_CLOSE_CODE[code ?? 0] ?? (unconnected ? "unreachable" : "lost");
    this.#fail("lost", this.#fatal ?? new Problem(cause));
  }

  /** The microphone was unplugged, or sharing was ended in the browser. The last captions still come. */
  #sourceEnded() {
    this.stop();
    this.#listener.failed(new Problem("source_ended"));
  }

  /**
   * @param {SessionState} state
   * @param {unknown} error
   */
  #fail(state, error) {
    this.#release();
    this.#enter(state);
    this.#listener.failed(Problem.from(error));
  }

  #release() {
    clearTimeout(this.#finishingTimer);
    this.#abort.abort();
    this.#capture?.close();
    this.#stream?.close();
    this.#capture = this.#stream = null;
  }

  /**
   * @param {SessionState} state
   * @param {{ retryAfterS?: number }} detail
   */
  #enter(state, detail = {}) {
    this.state = state;
    this.#listener.state(state, detail);
  }
}

/**
 * Resolve after `ms`; reject when `signal` aborts.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function delay(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
