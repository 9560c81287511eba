/**
 * One press of "start" until the last caption: joins capture and stream, and owns the state that the page shows.
 *
 *     idle ─► asking ─► connecting ◄─► loading | busy      asking: the browser asks the user for the microphone
 *                          │                               loading, busy: the server refused for now; we ask again
 *                          ▼
 *                        live ◄─► recovering | overloaded | draining      as the server says
 *                          │  ◄─► reconnecting             the connection is lost; the server waits for us
 *                          │
 *                          ▼
 *                      finishing ─► idle                    stop was pressed; the last caption is on its way
 *
 * From every state a failure leads to `failed`, a broken connection to `lost`, the server's own end to `ended`:
 * all three are as good as idle to start from.
 */

import { Capture } from "./microphone.js";
import { CaptionStream, preflight } from "./stream.js";
import { Problem } from "./words.js";

const RESTING = ["idle", "failed", "lost", "ended"];
const RUNNING = ["live", "recovering", "overloaded", "draining", "reconnecting"];
const STATE_OF_STATUS = { ready: "live", recovering: "recovering", overloaded: "overloaded", draining: "draining" };

/** Refusals after which asking again helps, and the state that shows it. */
const STATE_OF_REFUSAL = { loading: "loading", overloaded: "busy", draining: "busy" };
/** When a refusal that passes names no time. */
const DEFAULT_RETRY_S = 2;
/** The server bounds its own draining below this; only a dead connection takes longer. */
const MAX_FINISHING_MS = 30_000;

const PROBLEM_OF_CLOSE = { 1001: "server_stopped", 1008: "refused", 1011: "internal", 1013: "overloaded" };

export class Session {
  state = "idle";
  #listener;
  #abort = null;
  #capture = null;
  #stream = null;
  #fatal = null;
  #finishingTimer = null;

  /**
   * `listener` is {state(state, detail), received(event), level(chunk, chunk_ms), suspended(boolean), dropped(ms),
   * failed(problem)}.
   */
  constructor(listener) {
    this.#listener = listener;
  }

  get resting() {
    return RESTING.includes(this.state);
  }

  get running() {
    return RUNNING.includes(this.state);
  }

  /** From a user's gesture. `choice` as for Capture.open; `options` is {language, private}; language null: detect. */
  async start(choice, options, token) {
    const abort = (this.#abort = new AbortController());
    this.#fatal = null;
    this.#enter("asking");
    try {
      await this.#openCapture(choice, abort.signal);
      this.#enter("connecting");
      await this.#untilAccepted(token, abort.signal);
      this.#openStream(options, token);
    } catch (error) {
      if (!abort.signal.aborted) this.#fail("failed", error);
    }
  }

  /** Ask for the last captions if there is a stream; otherwise give up what was begun. */
  stop() {
    if (this.running) {
      this.#capture.close();
      this.#stream.stop();
      this.#enter("finishing");
      this.#finishingTimer = setTimeout(() => this.#closed(null), MAX_FINISHING_MS);
    } else if (!this.resting && this.state !== "finishing") {
      this.#release();
      this.#enter("idle");
    }
  }

  /** Another source for the running stream. */
  async changeSource(choice) {
    try {
      await this.#capture?.switchTo(choice);
    } catch (error) {
      this.#listener.failed(Problem.of(error));
    }
  }

  resume() {
    return this.#capture?.resume();
  }

  async #openCapture(choice, signal) {
    const capture = await Capture.open(choice, {
      chunk: (chunk) => {
        this.#listener.level(chunk, (chunk.pcm.length * 1000) / capture.sampleRateHz);
        this.#stream?.sendAudio(chunk.pcm);
      },
      ended: () => this.#sourceEnded(),
      suspended: (suspended) => this.#listener.suspended(suspended),
    });
    // Stop may have been pressed while the browser asked; then nobody else would close this capture.
    if (signal.aborted) capture.close();
    signal.throwIfAborted();
    this.#capture = capture;
  }

  async #untilAccepted(token, signal) {
    for (;;) {
      try {
        await preflight(token, signal);
        return;
      } catch (error) {
        const state = STATE_OF_REFUSAL[error.code];
        if (!state) throw error;
        const retryAfterS = error.retryAfterS ?? DEFAULT_RETRY_S;
        this.#enter(state, { retryAfterS });
        await delay(retryAfterS * 1000, signal);
      }
    }
  }

  #openStream(options, token) {
    const sampleRateHz = this.#capture.sampleRateHz;
    this.#stream = new CaptionStream(
      { ...options, token, sampleRateHz },
      {
        received: (event) => this.#received(event),
        dropped: (ms) => this.#listener.dropped(ms),
        lost: () => this.running && this.#enter("reconnecting"),
        resumed: () => this.running && this.#enter("live"),
        closed: (code) => this.#closed(code),
      },
    );
  }

  #received(event) {
    if (event.type === "ready") this.#enter("live");
    if (event.type === "status" && this.running) this.#enter(STATE_OF_STATUS[event.state] ?? this.state);
    if (event.type === "error" && event.fatal) this.#fatal = new Problem(event.code, event.message);
    this.#listener.received(event);
    if (event.type === "end") this.#ended(event);
  }

  #ended({ reason }) {
    if (this.#fatal) this.#fail("lost", this.#fatal);
    else if (reason === "stop") {
      this.#release();
      this.#enter("idle");
    } else this.#fail("ended", new Problem("server_stopped"));
  }

  /** The socket closed without `end`. */
  #closed(code) {
    const unconnected = this.state === "connecting";
    this.#fail("lost", this.#fatal ?? new Problem(PROBLEM_OF_CLOSE[code] ?? (unconnected ? "unreachable" : "lost")));
  }

  /** Unplugged, or sharing ended in the browser's own bar: what was said until then is still finished properly. */
  #sourceEnded() {
    this.stop();
    this.#listener.failed(new Problem("source_ended"));
  }

  #fail(state, error) {
    this.#release();
    this.#enter(state);
    this.#listener.failed(Problem.of(error));
  }

  #release() {
    clearTimeout(this.#finishingTimer);
    this.#abort.abort();
    this.#capture?.close();
    this.#stream?.close();
    this.#capture = this.#stream = null;
  }

  #enter(state, detail = {}) {
    this.state = state;
    this.#listener.state(state, detail);
  }
}

/** Resolves after `ms`; rejects when `signal` aborts. */
function delay(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
