/**
 * The native protocol, version 1: asks whether the server takes a stream, then audio out and events in.
 *
 * Knows nothing of microphones or of the page. Times are milliseconds.
 */

import { Problem } from "./words.js";
import { authorization } from "./token.js";

const SUBPROTOCOL = "livecaption.v1";
/** Audio the browser may hold unsent before chunks wait here, where they can still be dropped. */
const SOCKET_BACKLOG_MS = 250;
/** Audio that waits here before the oldest is dropped: older audio would come as captions nobody needs any more. */
const MAX_BACKLOG_MS = 2000;
/**
 * Audio that the server has and that no final covers yet, kept in case the server dies with it: it may have 60 s that
 * wait for finals, and an open utterance.
 */
const MAX_ACKNOWLEDGED_MS = 120_000;
/** What may wait while the connection is lost, when all is wanted: what the server waits for a publisher, and more. */
const MAX_OUTAGE_MS = 90_000 + MAX_ACKNOWLEDGED_MS;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 2000;
/** Close codes that are nobody's decision about the stream: no Close came, or a proxy's. */
const ABNORMAL_CLOSE_CODES = [1006, 1012];

function streamUrl() {
  return new URL("v1/stream", document.baseURI);
}

/**
 * Ask whether a stream would be accepted now; return if so.
 *
 * A browser hides the HTTP answer to a refused WebSocket, so the same question is asked in plain HTTP first.
 * Throws Problem with the server's code; `retryAfterS` is set where asking again makes sense.
 */
export async function preflight(token, signal) {
  const headers = authorization(token);
  let response;
  try {
    response = await fetch(streamUrl(), { headers, signal, cache: "no-store" });
  } catch (error) {
    signal.throwIfAborted();
    throw new Problem("unreachable", error.message);
  }
  const answer = await response.json().catch(() => ({}));
  // 426: all that is missing is the upgrade.
  if (response.status === 426) return;
  const retryAfterS = answer.retry_after_s ?? Number.parseFloat(response.headers.get("Retry-After") ?? "");
  throw new Problem(
    answer.code ?? `http_${response.status}`,
    answer.message ?? response.statusText,
    Number.isFinite(retryAfterS) ? retryAfterS : null,
  );
}

/** The WebSocket subprotocols to offer. A page cannot set headers on a WebSocket, so the token travels here. */
function subprotocols(token) {
  if (!token) return [SUBPROTOCOL];
  const base64 = btoa(utf8Bytes(token));
  return [SUBPROTOCOL, `token.${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`];
}

/** The text as UTF-8, one character a byte: what headers and `btoa` take. */
function utf8Bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** One stream of captions. Where its connection breaks, it connects again and the session goes on. */
export class CaptionStream {
  #start;
  #token;
  #listener;
  #bytesPerMs;
  #socket;
  #retryTimer = null;
  #retryMs = FIRST_RETRY_MS;
  #lostAt_ms = null;
  /** The first `ready`; null: there is no session yet. */
  #ready = null;
  #lastSeq = 0;
  /** Whether the end of the stream has been told: nothing is to be resumed. */
  #over = false;
  #stopped = false;
  /** Audio may be sent over the present connection. */
  #open = false;
  /** More than usual may wait, until what was said while the connection was lost is sent. */
  #catchingUp = false;
  /** Chunks that may be asked for again: first those that were sent, then those that wait. */
  #chunks = [];
  #nSent = 0;
  #firstSample = 0;
  #waitingBytes = 0;

  /**
   * Connect and send `start`. `listener` is {received(event), dropped(ms), lost(), resumed(), closed(code)}; `lost` and
   * `resumed` take turns, `closed` comes once, unless `close` was called.
   */
  constructor({ token, sampleRateHz, language, private: isPrivate = false }, listener) {
    this.#token = token;
    this.#listener = listener;
    this.#bytesPerMs = (sampleRateHz * 2) / 1000;
    this.#start = {
      type: "start",
      encoding: "pcm_s16le",
      sample_rate: sampleRateHz,
      channels: 1,
      language,
      private: isPrivate,
    };
    this.#connect();
  }

  /** Send mono 16-bit samples, or keep them a while. Before `start` is out: ignored. */
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

  /** No more audio: send what waits, then ask for the last captions. The server answers with `end`. */
  stop() {
    this.#stopped = true;
    if (this.#open) this.#sendLast();
  }

  /** Leave now; the listener hears nothing more. */
  close() {
    clearTimeout(this.#retryTimer);
    this.#letGo();
    this.#socket.close(1000);
  }

  #connect() {
    const url = streamUrl();
    url.protocol = url.protocol.replace("http", "ws");
    // A full server lets in who comes back.
    if (this.#ready) url.searchParams.set("resume", this.#ready.session);
    this.#socket = new WebSocket(url, subprotocols(this.#token));
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    this.#socket.onclose = ({ code }) => this.#closed(code);
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

  #received(event) {
    if (event.seq) this.#lastSeq = event.seq;
    if (event.type === "ack") this.#forget(event.received_ms - MAX_ACKNOWLEDGED_MS);
    if (event.type === "final") this.#forget(event.end_ms);
    if (event.type === "end" || (event.type === "error" && event.fatal)) this.#over = true;
    if (event.type === "ready") {
      if (this.#ready) return this.#resume(event.received_ms);
      this.#ready = event;
    }
    this.#listener.received(event);
  }

  #resume(received_ms) {
    const first = this.#forget(received_ms);
    if (this.#chunks.length > 0) this.#chunks[0] = this.#chunks[0].subarray(first - this.#firstSample);
    this.#firstSample = first;
    this.#nSent = 0;
    this.#waitingBytes = this.#chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#open = true;
    this.#lostAt_ms = null;
    this.#retryMs = FIRST_RETRY_MS;
    this.#listener.resumed();
    if (this.#stopped) this.#sendLast();
  }

  /** Nothing before this millisecond will be sent again; the number of its first sample, as the server counts. */
  #forget(received_ms) {
    const sample = Math.floor((received_ms * this.#start.sample_rate) / 1000);
    while (this.#nSent > 0 && this.#firstSample + this.#chunks[0].length <= sample) {
      this.#firstSample += this.#chunks.shift().length;
      this.#nSent -= 1;
    }
    return sample;
  }

  #closed(code) {
    const wasLost = this.#lostAt_ms !== null;
    this.#open = false;
    const windowMs = this.#ready?.resume_window_ms ?? 0;
    const now_ms = performance.now();
    if (!wasLost) this.#lostAt_ms = now_ms;
    if (this.#over || !ABNORMAL_CLOSE_CODES.includes(code) || now_ms - this.#lostAt_ms >= windowMs) {
      this.#listener.closed(code);
      return;
    }
    this.#catchingUp = true;
    if (!wasLost) this.#listener.lost();
    this.#retryTimer = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
  }

  #sendWaiting(maxBuffered) {
    while (this.#open && this.#nSent < this.#chunks.length && this.#socket.bufferedAmount < maxBuffered) {
      const pcm = this.#chunks[this.#nSent];
      this.#socket.send(pcm);
      this.#waitingBytes -= pcm.byteLength;
      this.#nSent += 1;
    }
    if (this.#open && this.#waitingBytes <= MAX_BACKLOG_MS * this.#bytesPerMs) this.#catchingUp = false;
  }

  #sendLast() {
    this.#sendWaiting(Infinity);
    this.#send({ type: "stop" });
  }

  #letGo() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }
}
