// @ts-check
/**
 * The native protocol, version 1: asks whether the server takes a stream, then sends audio and receives events.
 *
 * Independent of microphones and of the page.
 */

import { authorization, subprotocols } from "./token.js";
import { Problem } from "./words.js";

/** @import { Ready, Refusal, Start, StreamEvent } from "./messages.js" */

/**
 * What a page that is loaded again needs to go on with its session.
 *
 * @typedef {{ ready: Ready, lastSeq: number, sampleRateHz: number }} ResumePoint
 */

/**
 * What a stream is opened with. `earlier`: the session to go on with; the other fields of `start` are then ignored.
 *
 * @typedef {{ token: string, sampleRateHz: number, earlier?: ResumePoint | null }} Opening
 * @typedef {Opening & Omit<Start, "type" | "encoding" | "sample_rate" | "channels">} StreamOptions
 */

/**
 * `lost` and `resumed` alternate; a stream that goes on with an earlier session begins as lost. `closed` is called once
 * with the close code, unless `close` was called.
 *
 * @typedef {object} StreamListener
 * @property {(event: StreamEvent) => void} received
 * @property {(ms: number) => void} dropped so much audio will never be sent
 * @property {(code: number) => void} lost
 * @property {() => void} resumed
 * @property {(code: number) => void} closed
 */

/** Audio that the browser may hold unsent; further chunks wait here, where they can still be dropped. */
const SOCKET_BACKLOG_MS = 250;
/** Beyond this the oldest waiting audio is dropped: captions of older audio would come too late to be useful. */
const MAX_BACKLOG_MS = 2000;
/**
 * Acknowledged audio that is kept in case the server crashes and loses it. The server may have 60 s that wait for
 * finals, and an open utterance.
 */
const MAX_ACKNOWLEDGED_MS = 120_000;
/** While the connection is lost, all audio is kept: longer than a server waits for its publisher by default (60 s). */
const MAX_OUTAGE_MS = 90_000 + MAX_ACKNOWLEDGED_MS;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 2000;
/** The code with which a page that is left closes: it may come back, because it is only loaded again. After 1001, which a
 * browser would send by itself, the server ends the session. */
const LEFT = 4001;
/** The server takes no stream now. As an answer to a resume, it means that the session still waits. */
const TRY_AGAIN_LATER = 1013;
/** Close codes that no decision of the server stands behind: the connection broke (1006), or a proxy closed it (1012). */
const ABNORMAL_CLOSE_CODES = [1006, 1012];

/** @param {string} room that the stream is to be a part of; "": of none. A full server accepts a stream that can take over. */
function streamUrl(room) {
  const url = new URL("v1/stream", document.baseURI);
  if (room) url.searchParams.set("room", room);
  return url;
}

/**
 * Ask whether a stream would be accepted now; return if so.
 *
 * A browser hides the HTTP answer to a refused WebSocket, so the same question is asked in plain HTTP first.
 * Throws Problem with the server's code; `retryAfterS` is set where asking again makes sense.
 *
 * @param {string} token
 * @param {string} room as in `start`; "": none
 * @param {AbortSignal} signal
 */
export async function preflight(token, room, signal) {
  const headers = authorization(token);
  let response;
  try {
    response = await fetch(streamUrl(room), { headers, signal, cache: "no-store" });
  } catch (error) {
    signal.throwIfAborted();
    throw new Problem("unreachable", /** @type {Error} */ (error).message);
  }
  /** @type {Refusal} */
  const answer = await response.json().catch(() => ({}));
  // 426: only the upgrade to a WebSocket is missing.
  if (response.status === 426) return;
  const retryAfterS = answer.retry_after_s ?? Number.parseFloat(response.headers.get("Retry-After") ?? "");
  throw new Problem(
    answer.code ?? `http_${response.status}`,
    answer.message ?? response.statusText,
    Number.isFinite(retryAfterS) ? retryAfterS : null,
  );
}

/** One stream of captions. When its connection breaks, it reconnects and resumes the session. */
export class CaptionStream {
  #start;
  #token;
  #listener;
  #bytesPerMs;
  /** @type {WebSocket} */
  #socket;
  #retryTimer = 0;
  #retryMs = FIRST_RETRY_MS;
  /** @type {number | null} */
  #lostAtMs = null;
  /** @type {Ready | null} The first `ready`; null: there is no session yet. */
  #ready = null;
  #lastSeq = 0;
  /** Whether the server has ended the stream, so that there is nothing to resume. */
  #over = false;
  /** @type {{ type: "stop", end_room: boolean } | null} null: stop was not pressed */
  #stop = null;
  /** Whether audio may be sent over the present connection. */
  #open = false;
  /** Whether more than usual may wait, until the audio from the time without a connection is sent. */
  #catchingUp = false;
  /** @type {Int16Array<ArrayBuffer>[]} Chunks that the server may need again: first those that were sent, then those that wait. */
  #chunks = [];
  #nSent = 0;
  /** The number in the stream of the first sample in `#chunks`. */
  #firstSample = 0;
  #waitingBytes = 0;
  /** Whether the position of `#chunks` in the stream is known. The server knows it after the page was loaded again. */
  #placed = true;

  /**
   * Connect and send `start`.
   *
   * @param {StreamOptions} options
   * @param {StreamListener} listener
   */
  constructor({ token, sampleRateHz, earlier = null, ...wishes }, listener) {
    this.#token = token;
    this.#listener = listener;
    this.#bytesPerMs = (sampleRateHz * 2) / 1000;
    /** @type {Start} */
    this.#start = { type: "start", encoding: "pcm_s16le", sample_rate: sampleRateHz, channels: 1, ...wishes };
    if (earlier) {
      this.#ready = earlier.ready;
      this.#lastSeq = earlier.lastSeq;
      this.#placed = false;
      this.#lostAtMs = performance.now();
    }
    this.#socket = this.#connect();
  }

  /**
   * Send mono 16-bit samples, now or as soon as possible. They are ignored as long as `start` has not been sent.
   *
   * @param {Int16Array<ArrayBuffer>} pcm
   */
  sendAudio(pcm) {
    if (!this.#open && !this.#ready) return;
    this.#chunks.push(pcm);
    this.#waitingBytes += pcm.byteLength;
    this.#sendWaiting(SOCKET_BACKLOG_MS * this.#bytesPerMs);
    const maxBytes = (this.#catchingUp ? MAX_OUTAGE_MS : MAX_BACKLOG_MS) * this.#bytesPerMs;
    let droppedBytes = 0;
    while (this.#waitingBytes > maxBytes) {
      const [dropped] = this.#chunks.splice(this.#nSent, 1);
      this.#waitingBytes -= dropped.byteLength;
      droppedBytes += dropped.byteLength;
    }
    if (droppedBytes > 0) this.#listener.dropped(droppedBytes / this.#bytesPerMs);
  }

  /**
   * End the audio: send what waits, then ask for the last captions. The server answers with `end`.
   *
   * @param {boolean} endRoom whether the event is over
   */
  stop(endRoom = false) {
    this.#stop = { type: "stop", end_room: endRoom };
    if (this.#open) this.#sendLast();
  }

  /** What goes on with this session after the page was loaded again; null: there is nothing to go on with. */
  get resumePoint() {
    if (!this.#ready || this.#over || this.#stop || this.#ready.resume_window_ms === 0) return null;
    return { ready: this.#ready, lastSeq: this.#lastSeq, sampleRateHz: this.#start.sample_rate };
  }

  /** Leave now. The listener is not called again. */
  close() {
    this.#close(1000);
  }

  /** Leave for a moment: the session waits for the page to come back. The listener is not called again. */
  leave() {
    this.#close(LEFT);
  }

  /** @param {number} code */
  #close(code) {
    clearTimeout(this.#retryTimer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
  }

  #connect() {
    const url = streamUrl(this.#ready ? "" : (this.#start.room?.name ?? ""));
    url.protocol = url.protocol.replace("http", "ws");
    // A full server admits a client that names its session.
    if (this.#ready) url.searchParams.set("resume", this.#ready.session);
    const socket = new WebSocket(url, subprotocols(this.#token));
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(code);
    return socket;
  }

  #opened() {
    if (!this.#ready) {
      this.#send(this.#start);
      this.#open = true;
    } else {
      const { session, resume_token: token } = this.#ready;
      const audio_from_ms = Math.ceil((this.#firstSample * 1000) / this.#start.sample_rate);
      this.#send({ type: "start", resume: { session, token, last_seq: this.#lastSeq, audio_from_ms } });
    }
  }

  /** @param {StreamEvent} event */
  #received(event) {
    if (event.seq) this.#lastSeq = event.seq;
    if (event.type === "ack") this.#forget(event.received_ms - MAX_ACKNOWLEDGED_MS);
    if (event.type === "error" && event.fatal && event.retry_after_s && this.#lostAtMs !== null) return;
    if (event.type === "end" || (event.type === "error" && event.fatal)) this.#over = true;
    if (event.type === "ready") {
      if (this.#ready) return this.#resume(event.received_ms);
      this.#ready = event;
    }
    this.#listener.received(event);
  }

  /** @param {number} receivedMs */
  #resume(receivedMs) {
    if (!this.#placed) this.#firstSample = this.#sampleAt(receivedMs);
    this.#placed = true;
    const first = this.#forget(receivedMs);
    if (this.#chunks.length > 0) this.#chunks[0] = this.#chunks[0].subarray(first - this.#firstSample);
    this.#firstSample = first;
    this.#nSent = 0;
    this.#waitingBytes = this.#chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#open = true;
    this.#lostAtMs = null;
    this.#retryMs = FIRST_RETRY_MS;
    this.#listener.resumed();
    if (this.#stop) this.#sendLast();
  }

  /**
   * Drop sent chunks before this millisecond, which will not be needed again. Return the number of its first sample,
   * rounded as the server rounds.
   *
   * @param {number} ms
   */
  #forget(ms) {
    const sample = this.#sampleAt(ms);
    while (this.#nSent > 0 && this.#firstSample + this.#chunks[0].length <= sample) {
      this.#firstSample += this.#chunks[0].length;
      this.#chunks.shift();
      this.#nSent -= 1;
    }
    return sample;
  }

  /** @param {number} ms */
  #sampleAt(ms) {
    return Math.floor((ms * this.#start.sample_rate) / 1000);
  }

  /** @param {number} code */
  #closed(code) {
    const wasLost = this.#lostAtMs !== null;
    const nowMs = performance.now();
    this.#open = false;
    this.#lostAtMs ??= nowMs;
    const windowMs = this.#ready?.resume_window_ms ?? 0;
    const mayReturn = ABNORMAL_CLOSE_CODES.includes(code) || (wasLost && code === TRY_AGAIN_LATER);
    if (this.#over || !mayReturn || nowMs - this.#lostAtMs >= windowMs) {
      this.#listener.closed(code);
      return;
    }
    this.#catchingUp = true;
    if (!wasLost) this.#listener.lost(code);
    this.#retryTimer = setTimeout(() => (this.#socket = this.#connect()), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
  }

  /** @param {number} maxBufferedBytes */
  #sendWaiting(maxBufferedBytes) {
    while (this.#open && this.#nSent < this.#chunks.length && this.#socket.bufferedAmount < maxBufferedBytes) {
      const pcm = this.#chunks[this.#nSent];
      this.#socket.send(pcm);
      this.#waitingBytes -= pcm.byteLength;
      this.#nSent += 1;
    }
    if (this.#open && this.#waitingBytes <= MAX_BACKLOG_MS * this.#bytesPerMs) this.#catchingUp = false;
  }

  #sendLast() {
    this.#sendWaiting(Infinity);
    if (this.#stop) this.#send(this.#stop);
  }

  /** @param {object} message */
  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }
}
