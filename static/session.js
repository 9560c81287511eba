// @ts-check
/**
 * From one press of "start" to the last caption: joins capture and stream, and owns the state that the page shows.
 *
 *     idle ─► asking ─► connecting ◄─► loading | busy      asking: the browser asks the user for the microphone
 *                          │                               loading, busy: the server refused for now; asked again
 *                          ▼
 *                        live ◄─► recovering | overloaded | draining      as the server reports
 *                          │  ◄─► reconnecting             the connection is lost; the session goes on as soon as the
 *                          │                               server is back, or if it is gone, the next part begins
 *                          ▼
 *                      finishing ─► break                   paused; the last caption is on its way, then more may follow
 *                                └► idle                    the event was ended
 *
 * From every state a failure leads to `failed`, a broken connection to `lost`, an end by the server to `ended`, and
 * another page that takes over to `replaced`. From all of them the user can start again, as from `idle` and `break`.
 */

import { Capture } from "./microphone.js";
import { CaptionStream, preflight } from "./stream.js";
import { Problem } from "./words.js";

/** @import { End, Ready, StreamEvent } from "./messages.js" */
/** @import { Choice, Chunk } from "./microphone.js" */
/** @import { ResumePoint, StreamOptions } from "./stream.js" */
/** @import { SessionState } from "./words.js" */

/**
 * @typedef {object} SessionListener
 * @property {(state: SessionState, detail: { retryAfterS?: number }) => void} state
 * @property {(event: StreamEvent) => void} received
 * @property {(chunk: Chunk, chunkMs: number) => void} level
 * @property {(suspended: boolean) => void} suspended
 * @property {(ms: number) => void} dropped
 * @property {(interruption: Interruption) => void} interrupted
 * @property {(problem: Problem) => void} failed
 */

/**
 * What happens to a session whose microphone is open: its connection is lost, perhaps because the server restarts; it
 * goes on; or it cannot, the page waits for the server, and the next part begins.
 *
 * @typedef {"lost" | "restarting" | "resumed" | "waiting" | "next_part"} Interruption
 */

/** @typedef {Omit<StreamOptions, "token" | "sampleRateHz" | "nChannels" | "earlier">} Wishes */

/** @type {readonly SessionState[]} */
const RESTING = ["idle", "break", "failed", "lost", "ended", "replaced"];
/** @type {readonly SessionState[]} */
const RUNNING = ["live", "recovering", "overloaded", "draining", "reconnecting"];
/** @type {Record<string, SessionState>} */
const STATE_OF_STATUS = { ready: "live", recovering: "recovering", overloaded: "overloaded", draining: "draining" };

/** @type {Record<string, SessionState>} Refusals that pass with time, and the state that shows them. */
const STATE_OF_REFUSAL = { loading: "loading", overloaded: "busy", draining: "busy" };
/** The wait before the next try, if the refusal does not name one. */
const DEFAULT_RETRY_S = 2;
/** The server does not have the session any more. The next part can begin. */
const GONE = ["unknown_session", "session_ended", "wrong_token", "unsupported_resume"];
/** The server has left, has lost its connection for too long, or restarts. */
const SERVER_LEFT = [1001, 1006, 1012, 1013];
/**
 * How long a page with an open microphone waits for a server that is gone. Longer: an open microphone is forgotten.
 * Shorter: somebody must come to the lectern after the server's machine was restarted.
 */
const MAX_ABSENCE_MS = 10 * 60_000;
/** How long a server takes at most to notice that a connection is lost: by its next ping, and the wait for the answer. */
const MAX_UNNOTICED_MS = 30_000;
/** The server's own limit for its last captions is shorter; only a dead connection takes longer. */
const MAX_FINISHING_MS = 30_000;

/** @type {Record<number, string>} */
const PROBLEM_OF_CLOSE_CODE = { 1001: "server_stopped", 1011: "internal", 1013: "overloaded" };
/** The server names a mistake before it closes with this code. Without one, another page has taken the session over. */
const REPLACED = 1008;
/** Sound that a session loses with its end, and that is worth a report. Less is on its way at any time. */
const MIN_LOST_MS = 2000;

export class Session {
  /** @type {SessionState} */
  state = "idle";
  /** Whether the page waits for a server that takes the sound. */
  isWaiting = false;
  #listener;
  #abort = new AbortController();
  /** @type {Capture | null} */
  #capture = null;
  /** @type {CaptionStream | null} */
  #stream = null;
  /** @type {Problem | null} */
  #fatal = null;
  #finishingTimer = 0;
  #token = "";
  /** @type {Wishes} */
  #wishes = { language: null };
  #endsEvent = false;
  /** Whether this session has been live: then captions are to go on by themselves. */
  #wasLive = false;
  /** @type {Ready | null} The newest of this page: the server knows by its token that a part which still runs is ours. */
  #former = null;
  /**
   * Until when somebody who speaks in the room may be a part of our own, whose `ready` was lost on its way. By the clock
   * of `performance`; 0: all our parts are known.
   */
  #unknownUntilMs = 0;
  /** Until when, by the clock of `performance`; 0: nothing is lost. */
  #absentUntilMs = 0;

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

  /** What goes on with this session after the page was loaded again; null: there is nothing to go on with. */
  get resumePoint() {
    return this.#stream?.resumePoint ?? null;
  }

  /**
   * Start, or go on with an earlier session of this page. Call it from a user's gesture, or where the microphone is
   * allowed.
   *
   * @param {Choice} choice
   * @param {Wishes} wishes
   * @param {string} token
   * @param {ResumePoint | null} earlier
   */
  async start(choice, wishes, token, earlier = null) {
    const abort = new AbortController();
    this.#abort = abort;
    this.#fatal = null;
    this.#endsEvent = false;
    this.#wasLive = false;
    this.#token = token;
    this.#wishes = wishes;
    this.isWaiting = false;
    this.#absentUntilMs = this.#unknownUntilMs = 0;
    if (earlier) this.#former = earlier.ready;
    this.#enter("asking");
    try {
      const { sampleRateHz, nChannels } = await this.#openCapture(choice, abort.signal);
      this.#enter("connecting");
      // Rate and channels of a stream are fixed, and another microphone may have another rate.
      if (earlier?.sampleRateHz === sampleRateHz && earlier.nChannels === nChannels) {
        this.#wasLive = true;
        this.#openStream({ ...wishes, token, sampleRateHz, nChannels, earlier });
        return;
      }
      if (earlier) this.#listener.interrupted("next_part");
      await this.#untilAccepted(abort.signal);
      this.#openStream({ ...this.#claims(wishes), token, sampleRateHz, nChannels });
    } catch (error) {
      if (!abort.signal.aborted) this.#fail("failed", error);
    }
  }

  /**
   * Ask for the last captions if there is a stream; otherwise cancel the start.
   *
   * @param {boolean} endsEvent whether no other part follows
   */
  stop(endsEvent = false) {
    this.#endsEvent = endsEvent;
    if (this.running && this.#stream && !this.isWaiting) {
      this.#capture?.close();
      this.#stream.stop(endsEvent);
      this.#enter("finishing");
      this.#finishingTimer = setTimeout(() => this.#closed(null), MAX_FINISHING_MS);
    } else if (!this.resting && this.state !== "finishing") {
      const wasLive = this.#wasLive;
      this.#release();
      this.#enter(wasLive ? "break" : "idle");
    }
  }

  /**
   * Rest in this state, which the page knows from elsewhere.
   *
   * @param {"idle" | "break"} state
   */
  rest(state) {
    this.#enter(state);
  }

  /** The page is being left, perhaps only loaded again: the server keeps the session for a while. */
  leave() {
    this.#capture?.close();
    this.#stream?.leave();
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
   * Give a speaker of the running session a name. The server sends it back as an event.
   *
   * @param {number} speaker
   * @param {string} name
   */
  nameSpeaker(speaker, name) {
    this.#stream?.nameSpeaker(speaker, name);
  }

  /**
   * @param {Choice} choice
   * @param {AbortSignal} signal
   */
  async #openCapture(choice, signal) {
    const capture = await Capture.open(choice, {
      chunk: (chunk, chunkMs) => {
        this.#listener.level(chunk, chunkMs);
        this.#stream?.sendAudio(chunk.pcm);
      },
      ended: (isLast) => this.#sourceEnded(isLast),
      suspended: (suspended) => this.#listener.suspended(suspended),
    });
    // Stop may have been pressed while the browser asked; then nothing else would close this capture.
    if (signal.aborted) capture.close();
    signal.throwIfAborted();
    this.#capture = capture;
    return capture;
  }

  /**
   * The wishes for a new session. A part of our own that still runs does not refuse it.
   *
   * @param {Wishes} wishes
   * @returns {Wishes}
   */
  #claims(wishes) {
    if (!wishes.room || !this.#former) return wishes;
    return { ...wishes, room: { ...wishes.room, former: this.#former.resume_token } };
  }

  /** @param {AbortSignal} signal */
  async #untilAccepted(signal) {
    for (;;) {
      try {
        const earlier = this.resumePoint;
        await preflight(
          this.#token,
          earlier ? { resume: earlier.ready.session } : { room: this.#wishes.room?.name },
          signal,
        );
        return;
      } catch (error) {
        const problem = Problem.from(error);
        const absent = problem.code === "unreachable" && performance.now() < this.#absentUntilMs;
        const state = absent ? "reconnecting" : STATE_OF_REFUSAL[problem.code];
        if (!state) throw error;
        const retryAfterS = problem.retryAfterS ?? DEFAULT_RETRY_S;
        this.#enter(state, absent ? {} : { retryAfterS });
        await delay(retryAfterS * 1000, signal);
      }
    }
  }

  /** @param {StreamOptions} options */
  #openStream(options) {
    this.#stream = new CaptionStream(options, {
      received: (event) => this.#received(event),
      dropped: (ms) => this.#listener.dropped(ms),
      lost: (code) => this.#lost(code),
      resumed: () => this.#resumed(),
      closed: (code) => this.#closed(code),
    });
  }

  /** @param {number} code */
  #lost(code) {
    if (!this.running) return;
    this.#enter("reconnecting");
    this.#listener.interrupted(code === 1012 ? "restarting" : "lost");
  }

  #resumed() {
    this.#absentUntilMs = 0;
    if (this.state === "finishing") return;
    this.#enter("live");
    this.#listener.interrupted("resumed");
  }

  /** @param {StreamEvent} event */
  #received(event) {
    if (event.type === "ready") {
      this.#wasLive = true;
      this.#former = event;
      this.#absentUntilMs = this.#unknownUntilMs = 0;
      this.#enter("live");
    }
    if (event.type === "status" && this.running) this.#enter(STATE_OF_STATUS[event.state] ?? this.state);
    if (event.type === "error" && event.fatal)
      this.#fatal = new Problem(event.code, event.message, event.retry_after_s);
    this.#listener.received(event);
    if (event.type === "end") this.#ended(event);
  }

  /** @param {End} end */
  #ended({ reason }) {
    if (this.#fatal) this.#fail("lost", this.#fatal);
    else if (reason === "stop") {
      this.#release();
      this.#enter(this.#endsEvent ? "idle" : "break");
    } else if (reason === "replaced") this.#fail("replaced", new Problem("replaced"));
    else if (this.running) this.#goOn();
    else this.#fail("ended", new Problem("server_stopped"));
  }

  /**
   * The connection is closed without `end`; code null: it does not answer. A server that was asked just before lets the
   * page connect; if that fails, something between them passes no WebSockets.
   *
   * @param {number | null} code
   */
  #closed(code) {
    const nowMs = performance.now();
    // Perhaps the server has begun a part, and its answer is lost.
    if (this.state === "connecting" && !this.#fatal) {
      this.#unknownUntilMs = nowMs + (this.#former?.resume_window_ms ?? 0) + MAX_UNNOTICED_MS;
    }
    const isTaken = this.#fatal?.code === "room_taken";
    const isOwn = isTaken && nowMs < this.#unknownUntilMs;
    const passes = this.#fatal
      ? isOwn || GONE.includes(this.#fatal.code) || this.#fatal.code in STATE_OF_REFUSAL
      : SERVER_LEFT.includes(code ?? 0);
    if (passes && this.#wasLive && this.state !== "finishing") {
      this.#goOn();
      return;
    }
    // Somebody else has begun while this page was away.
    if ((isTaken && this.#wasLive) || (code === REPLACED && !this.#fatal)) {
      this.#fail("replaced", new Problem("replaced"));
      return;
    }
    const unconnected = this.state === "connecting";
    const cause = PROBLEM_OF_CLOSE_CODE[code ?? 0] ?? (unconnected ? "no_websocket" : "lost");
    this.#fail(this.#wasLive ? "lost" : "failed", this.#fatal ?? new Problem(cause));
  }

  /**
   * The microphone is open, and the sound is kept. Once the server takes it, the session goes on, or if that is gone,
   * the next part begins.
   */
  async #goOn() {
    const stream = this.#stream;
    const wasRefused = this.state === "connecting";
    const retryAfterS = this.#fatal?.retryAfterS ?? DEFAULT_RETRY_S;
    this.#fatal = null;
    this.isWaiting = true;
    this.#absentUntilMs ||= performance.now() + MAX_ABSENCE_MS;
    this.#enter("reconnecting");
    this.#listener.interrupted("waiting");
    if (!stream || !this.#capture || performance.now() > this.#absentUntilMs)
      return this.#fail("lost", new Problem("lost"));
    const { signal } = this.#abort;
    try {
      if (wasRefused) await delay(retryAfterS * 1000, signal);
      await this.#untilAccepted(signal);
      this.isWaiting = false;
      if (stream.resumePoint) {
        this.#enter("reconnecting");
        stream.reconnect();
        return;
      }
      this.#listener.interrupted("next_part");
      this.#enter("connecting");
      const { room, ...wishes } = this.#wishes;
      stream.beginNext(this.#claims(room ? { ...wishes, room: { ...room, take_over: false } } : wishes));
    } catch (error) {
      if (!signal.aborted) this.#fail("lost", error);
    }
  }

  /**
   * A microphone was unplugged, or sharing was ended in the browser. After the last source, the last captions still come.
   *
   * @param {boolean} isLast
   */
  #sourceEnded(isLast) {
    if (isLast) this.stop();
    this.#listener.failed(new Problem(isLast ? "source_ended" : "one_source_ended"));
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
    const lostMs = this.#wasLive ? (this.#stream?.unsentMs ?? 0) : 0;
    if (lostMs >= MIN_LOST_MS) this.#listener.dropped(lostMs);
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
