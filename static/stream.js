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

/** One stream of captions. */
export class CaptionStream {
  #socket;
  #listener;
  #bytesPerMs;
  #waiting = [];
  #waitingBytes = 0;

  /**
   * Connect and send `start`. `listener` is {received(event), dropped(ms), closed(code)}; `closed` comes once,
   * unless `close` was called.
   */
  constructor({ token, sampleRateHz, language }, listener) {
    this.#listener = listener;
    this.#bytesPerMs = (sampleRateHz * 2) / 1000;
    const url = streamUrl();
    url.protocol = url.protocol.replace("http", "ws");
    this.#socket = new WebSocket(url, subprotocols(token));
    this.#socket.onopen = () =>
      this.#send({ type: "start", encoding: "pcm_s16le", sample_rate: sampleRateHz, channels: 1, language });
    this.#socket.onmessage = ({ data }) => listener.received(JSON.parse(data));
    this.#socket.onclose = ({ code }) => listener.closed(code);
  }

  /** Send mono 16-bit samples, or keep them a little while the network is slow. Before `start` is out: ignored. */
  sendAudio(pcm) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#waiting.push(pcm);
    this.#waitingBytes += pcm.byteLength;
    while (this.#waiting.length > 0 && this.#socket.bufferedAmount < SOCKET_BACKLOG_MS * this.#bytesPerMs) {
      this.#socket.send(this.#shift());
    }
    let droppedBytes = 0;
    while (this.#waitingBytes > MAX_BACKLOG_MS * this.#bytesPerMs) droppedBytes += this.#shift().byteLength;
    if (droppedBytes > 0) this.#listener.dropped(droppedBytes / this.#bytesPerMs);
  }

  /** No more audio: send what waits, then ask for the last captions. The server answers with `end`. */
  stop() {
    while (this.#waiting.length > 0) this.#socket.send(this.#shift());
    this.#send({ type: "stop" });
  }

  /** Leave now; the listener hears nothing more. */
  close() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }

  #shift() {
    const pcm = this.#waiting.shift();
    this.#waitingBytes -= pcm.byteLength;
    return pcm;
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }
}
