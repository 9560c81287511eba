// @ts-check
/**
 * The native protocol, version 1: asks whether the server takes a stream, then sends audio and receives events.
 *
 * Independent of microphones and of the page.
 */

import { KeptSound } from "./kept-sound.js";
import { authorization, subprotocols } from "./token.js";
import { Problem, refusalCode } from "./words.js";

/** @import { Ready, Refusal, SpeechStart, Start, StreamEvent } from "./messages.js" */

/**
 * What a page that is loaded again needs to go on with its session.
 *
 * @typedef {{ ready: Ready, lastSeq: number, sampleRateHz: number, nChannels: number }} ResumePoint
 */

/**
 * What a stream is opened with. `earlier`: the session to go on with; the other fields of `start` are then ignored.
 *
 * @typedef {{ token: string, sampleRateHz: number, nChannels?: number, earlier?: ResumePoint | null }} Opening
 * @typedef {Opening & Omit<Start, "type" | "encoding" | "sample_rate" | "channels" | "channel_mode">} StreamOptions
 */

/**
 * `lost` and `resumed` alternate; a stream that goes on with an earlier session begins as lost. `closed` is called with
 * the close code when nothing is tried any more, unless `close` was called or `end` was received. The stream keeps its
 * sound then, for `reconnect` or `beginNext`.
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
/**
 * Beyond this the oldest waiting audio is dropped: the server takes less than is said. Shorter than `MAX_SILENCE_MS`: a
 * network that stands still would cost words before the connection counts as lost. Longer: captions come too late.
 */
const MAX_BACKLOG_MS = 10_000;
/**
 * Acknowledged audio that is kept in case the server crashes and loses it. The server may have 60 s that wait for
 * finals, and an open utterance.
 */
const MAX_ACKNOWLEDGED_MS = 120_000;
/** While the connection is lost, this much audio is kept: longer than a server waits for its publisher by default (60 s),
 * with what was acknowledged and may be needed again. */
const MAX_OUTAGE_MS = 90_000 + MAX_ACKNOWLEDGED_MS;
/** The server acknowledges audio once a second. If nothing comes for so long, the network is gone without a word. */
const MAX_SILENCE_MS = 8000;
/** The same after an outage: then the server may read slowly, because it transcribes what it was sent at once. */
const MAX_SILENCE_CATCHING_UP_MS = 30_000;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 2000;
/** The code with which a page that is left closes: it may come back, because it is only loaded again. After 1001, which a
 * browser would send by itself, the server ends the session. */
const LEFT = 4001;
/** The server takes no stream now. As an answer to a resume, it means that the session still waits. */
const TRY_AGAIN_LATER = 1013;
const LOST = 1006;
/** A name that was refused is not sent again. */
const NAME_REFUSALS = ["invalid_name", "unknown_speaker"];
/** Close codes that no decision of the server stands behind: the connection broke (1006), or a proxy closed it (1012). */
const ABNORMAL_CLOSE_CODES = [LOST, 1012];

/**
 * What the address names, if anything: a full server admits a client that names its session, or a room that somebody
 * speaks in, whose slot it can get.
 *
 * @typedef {{ resume?: string, room?: string }} Claim
 */

/** @param {Claim & { page?: string }} query */
function streamUrl(query) {
  const url = new URL("v1/stream", document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return url;
}

/**
 * Ask whether a stream would be accepted now; return if so.
 *
 * A browser hides the HTTP answer to a refused WebSocket, so the same question is asked in plain HTTP first.
 * Throws Problem with the server's code; `retryAfterS` is set where asking again makes sense.
 *
 * @param {string} token
 * @param {Claim} claim
 * @param {AbortSignal} signal
 */
export async function preflight(token, claim, signal) {
  const headers = authorization(token);
  // Browsers send an origin with a WebSocket, but not with this request.
  const page = new URL(".", document.baseURI).href;
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(MAX_SILENCE_MS)]);
  let response;
  try {
    response = await fetch(streamUrl({ ...claim, page }), { headers, signal: inTime, cache: "no-store" });
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
    refusalCode(response.status, answer.code),
    answer.message ?? response.statusText,
    Number.isFinite(retryAfterS) ? retryAfterS : null,
  );
}

/**
 * One stream of sound. When its connection breaks, it reconnects and resumes the session; if that is gone, another one can
 * follow, with all sound that is in no captions yet.
 */
export class CaptionStream {
  /** @type {Start} */
  #start;
  #token;
  #listener;
  #samplesPerMs;
  /** @type {WebSocket} */
  #socket;
  #retryTimer = 0;
  /** Runs while the server owes an answer. */
  #silenceTimer = 0;
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
  #sound;
  /** Whether the position of `#sound` in the stream is known. The server knows it after the page was loaded again. */
  #placed = true;
  /** The server has all sound before this, by its newest word. */
  #receivedMs = 0;
  /** @type {Map<number, SpeechStart>} Utterances that have no final yet. */
  #unfinished = new Map();
  /** @type {Map<number, string>} Names of speakers that the server has not sent back. */
  #names = new Map();

  /**
   * Connect and send `start`.
   *
   * @param {StreamOptions} options
   * @param {StreamListener} listener
   */
  constructor({ token, sampleRateHz, nChannels = 1, earlier = null, ...wishes }, listener) {
    this.#token = token;
    this.#listener = listener;
    this.#samplesPerMs = sampleRateHz / 1000;
    this.#sound = new KeptSound(nChannels);
    this.#start = { type: "start", encoding: "pcm_s16le", sample_rate: sampleRateHz, channels: nChannels, ...wishes };
    if (nChannels > 1) this.#start.channel_mode = "separate";
    if (earlier) {
      this.#ready = earlier.ready;
      this.#lastSeq = earlier.lastSeq;
      this.#placed = false;
      this.#catchingUp = true;
      this.#lostAtMs = performance.now();
    }
    this.#socket = this.#connect();
  }

  /**
   * Send 16-bit samples, now or as soon as possible. They are ignored as long as the first `start` was not sent.
   *
   * @param {Int16Array<ArrayBuffer>} pcm
   */
  sendAudio(pcm) {
    if (!this.#open && !this.#ready && !this.#catchingUp) return;
    this.#sound.push(pcm);
    if (this.#open) this.#expectAnswer();
    this.#sendWaiting(SOCKET_BACKLOG_MS);
    const maxMs = this.#catchingUp ? MAX_OUTAGE_MS : MAX_BACKLOG_MS;
    const nDropped = this.#sound.dropWaiting(maxMs * this.#samplesPerMs);
    if (nDropped > 0) this.#listener.dropped(nDropped / this.#samplesPerMs);
  }

  /**
   * End the audio: send what waits, then ask for the last captions. The server answers with `end`.
   *
   * @param {boolean} endRoom whether the event is over
   */
  stop(endRoom = false) {
    this.#stop = { type: "stop", end_room: endRoom };
    if (!this.#open) return;
    this.#sendLast();
    this.#noteAnswer(); // the last captions may take longer
  }

  /**
   * Give a speaker a name, now or once the connection is back.
   *
   * @param {number} speaker
   * @param {string} name
   */
  nameSpeaker(speaker, name) {
    this.#names.set(speaker, name);
    if (this.#open) this.#sendNames();
  }

  #sendNames() {
    for (const [speaker, name] of this.#names) this.#send({ type: "name", speaker, name });
  }

  /** How much sound the server does not have, by its newest word. */
  get unsentMs() {
    return this.#sound.endSample / this.#samplesPerMs - this.#receivedMs;
  }

  /** Try again to go on with the session. Call it after `closed`, where there is a `resumePoint`. */
  reconnect() {
    this.#lostAtMs = performance.now();
    this.#retryMs = FIRST_RETRY_MS;
    this.#socket = this.#connect();
  }

  /**
   * Begin another session, with the sound that is in no captions of this one. Call it after `closed` or `end`.
   *
   * @param {Omit<StreamOptions, keyof Opening>} wishes
   */
  beginNext(wishes) {
    // Behind a pause of the sound, the times of utterances are later than their sound. Then the open one is lost.
    if (this.#placed) this.#sound.rewind(this.#sampleAt(Math.min(this.#receivedMs, ...this.#unfinishedMs())));
    this.#placed = true;
    this.#sound.firstSample = this.#receivedMs = this.#lastSeq = 0;
    this.#unfinished.clear();
    this.#names.clear();
    this.#start = { ...this.#start, ...wishes };
    this.#ready = this.#lostAtMs = null;
    this.#over = false;
    this.#socket = this.#connect();
  }

  /** What goes on with this session after the page was loaded again; null: there is nothing to go on with. */
  get resumePoint() {
    if (!this.#ready || this.#over || this.#stop || this.#ready.resume_window_ms === 0) return null;
    return {
      ready: this.#ready,
      lastSeq: this.#lastSeq,
      sampleRateHz: this.#start.sample_rate,
      nChannels: this.#start.channels,
    };
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
    this.#noteAnswer();
    this.#open = false;
    this.#catchingUp = true;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
  }

  #connect() {
    const url = streamUrl(this.#ready ? { resume: this.#ready.session } : { room: this.#start.room?.name });
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, subprotocols(this.#token));
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(code);
    this.#expectAnswer();
    return socket;
  }

  /** Something was sent: if the server says nothing in time, the connection counts as lost. */
  #expectAnswer() {
    if (this.#silenceTimer) return;
    const isSlow = this.#open && this.#catchingUp;
    this.#silenceTimer = setTimeout(
      () => {
        this.#close(LEFT);
        this.#closed(LOST);
      },
      isSlow ? MAX_SILENCE_CATCHING_UP_MS : MAX_SILENCE_MS,
    );
  }

  #noteAnswer() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = 0;
  }

  #opened() {
    if (!this.#ready) {
      this.#send(this.#start);
      this.#open = true;
    } else {
      const { session, resume_token: token } = this.#ready;
      const audio_from_ms = Math.ceil((this.#sound.firstSample * 1000) / this.#start.sample_rate);
      this.#send({ type: "start", resume: { session, token, last_seq: this.#lastSeq, audio_from_ms } });
    }
  }

  /** @param {StreamEvent} event */
  #received(event) {
    this.#noteAnswer();
    if (event.seq) this.#lastSeq = event.seq;
    if (event.type === "error" && event.fatal && event.retry_after_s && this.#lostAtMs !== null) return;
    if (event.type === "end" || (event.type === "error" && event.fatal)) this.#over = true;
    this.#account(event);
    if (event.type === "name") this.#names.delete(event.speaker);
    if (event.type === "error" && NAME_REFUSALS.includes(event.code)) this.#names.clear();
    if (event.type === "end") this.#close(1000); // nothing follows
    if (event.type === "ready") {
      if (this.#ready) return this.#resume(event.received_ms);
      this.#ready = event;
    }
    this.#listener.received(event);
  }

  /**
   * Note which sound the server has, and which of it is in captions.
   *
   * @param {StreamEvent} event
   */
  #account(event) {
    if (event.type === "ack" || event.type === "end" || event.type === "ready") this.#receivedMs = event.received_ms;
    if (event.type === "ack") this.#sound.forget(this.#sampleAt(event.received_ms - MAX_ACKNOWLEDGED_MS));
    if (event.type === "speech_start") this.#unfinished.set(event.utterance, event);
    if (event.type === "end") this.#unfinished.clear();
    if (event.type === "final") {
      // Finals of a channel come in order; one of them may be in a gap.
      for (const { utterance, channel } of this.#unfinished.values()) {
        if (channel === event.channel && utterance <= event.utterance) this.#unfinished.delete(utterance);
      }
    }
  }

  /** Where utterances begin that have no final yet. */
  #unfinishedMs() {
    return [...this.#unfinished.values()].map(({ start_ms }) => start_ms);
  }

  /** @param {number} receivedMs */
  #resume(receivedMs) {
    const first = this.#sampleAt(receivedMs);
    if (!this.#placed) this.#sound.firstSample = first;
    this.#placed = true;
    this.#sound.rewind(first);
    this.#open = true;
    this.#lostAtMs = null;
    this.#retryMs = FIRST_RETRY_MS;
    this.#listener.resumed();
    this.#sendNames();
    if (this.#stop) this.#sendLast();
  }

  /**
   * The number of the first sample of this millisecond, rounded as the server rounds.
   *
   * @param {number} ms
   */
  #sampleAt(ms) {
    return Math.floor((ms * this.#start.sample_rate) / 1000);
  }

  /** @param {number} code */
  #closed(code) {
    const wasLost = this.#lostAtMs !== null;
    const nowMs = performance.now();
    this.#noteAnswer();
    this.#open = false;
    this.#catchingUp = true;
    this.#lostAtMs ??= nowMs;
    const windowMs = this.#ready?.resume_window_ms ?? 0;
    const mayReturn = ABNORMAL_CLOSE_CODES.includes(code) || (wasLost && code === TRY_AGAIN_LATER);
    if (this.#over || !mayReturn || nowMs - this.#lostAtMs >= windowMs) {
      this.#listener.closed(code);
      return;
    }
    if (!wasLost) this.#listener.lost(code);
    this.#retryTimer = setTimeout(() => (this.#socket = this.#connect()), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
  }

  /** @param {number} maxBufferedMs how much the browser may hold unsent */
  #sendWaiting(maxBufferedMs) {
    if (!this.#open) return;
    if (this.#socket.readyState !== WebSocket.OPEN) {
      // The server has closed already, and the browser tells so within seconds. What is kept is sent afterwards.
      this.#catchingUp = true;
      return;
    }
    const maxBufferedBytes = maxBufferedMs * this.#samplesPerMs * this.#start.channels * Int16Array.BYTES_PER_ELEMENT;
    while (this.#socket.bufferedAmount < maxBufferedBytes) {
      const pcm = this.#sound.next();
      if (!pcm) break;
      this.#socket.send(pcm);
    }
    if (this.#sound.nWaitingSamples <= MAX_BACKLOG_MS * this.#samplesPerMs) this.#catchingUp = false;
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
