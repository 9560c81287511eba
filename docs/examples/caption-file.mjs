// Stream a WAV file to livecaption at the pace of speech, and receive its captions.
// This module runs as it is in Node.js 22 or later, and in browsers:
//
//   node caption-file.mjs http://localhost:8000 speech.wav
//
//   import { caption } from "./caption-file.mjs";
//   await caption("http://localhost:8000", await file.arrayBuffer(), (event) => console.log(event));
//
// On a server with a token, set LIVECAPTION_TOKEN, or give the token as the last argument of `caption`.
// It resumes a lost connection without losing or repeating a word.

const MESSAGE_MS = 100;
const MESSAGE_BYTES = 65_536;
const RETRY_MS = 100;
const MAX_RETRY_MS = 2000;
const GIVE_UP_MS = 600_000;
const LOST = [1006, 1012];

/** Caption a WAV file of 16-bit PCM. `receive` is called with each event. Resolve with the last one, `end`. */
export async function caption(server, wav, receive, token = "") {
  const { rate, channels, audio } = parse(wav);
  const http = `${server.replace(/\/$/, "")}/v1/stream`;
  const url = http.replace(/^http/, "ws");
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const base64url = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const protocols = token ? ["livecaption.v1", `token.${base64url}`] : ["livecaption.v1"];
  const headers = token ? { Authorization: `Bearer ${bytes}` } : {};
  let start = { type: "start", encoding: "pcm_s16le", sample_rate: rate, channels };
  let began; // the time at which the first sample would have been spoken
  let ready;
  let error;
  let end;
  let lastSeq = 0;
  let aliveAt = performance.now();
  let waitMs = RETRY_MS;

  /** Connect, play from where the server is, and resolve with the code of the close. */
  function connection() {
    return new Promise((resolve) => {
      const socket = new WebSocket(ready ? `${url}?resume=${ready.session}` : url, protocols);
      let playing;
      let at = 0;

      function play() {
        const due = 2 * channels * Math.floor(((performance.now() - began) * rate) / 1000);
        while (at < Math.min(due, audio.length)) {
          const next = Math.min(due, audio.length, at + MESSAGE_BYTES);
          socket.send(audio.subarray(at, next));
          at = next;
        }
        if (at === audio.length) {
          clearInterval(playing);
          socket.send(JSON.stringify({ type: "stop" }));
        }
      }

      socket.onopen = () => socket.send(JSON.stringify(start));
      socket.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        lastSeq = event.seq ?? lastSeq;
        aliveAt = performance.now();
        if (event.type === "ready") {
          ready ??= event;
          began ??= performance.now();
          waitMs = RETRY_MS;
          at = 2 * channels * Math.floor((event.received_ms * rate) / 1000);
          playing = setInterval(play, MESSAGE_MS);
        } else if (event.type === "error" && event.fatal && !(ready && event.retry_after_s)) {
          error = event;
        } else if (event.type === "end") {
          end = event;
        }
        receive(event);
      };
      const over = ({ code }) => {
        clearInterval(playing);
        resolve(code ?? 1006);
      };
      socket.onclose = over;
      socket.onerror = over; // not every version of Node.js closes a socket that could not connect
    });
  }

  /** A refused WebSocket shows no reason. The answer to the same request without an upgrade has it. */
  async function refusal() {
    const answer = await fetch(http, { headers }).catch(() => new Response());
    const { code, message } = await answer.json().catch(() => ({}));
    if (answer.status === 426) return `a proxy in front of ${server} passes no WebSockets`;
    return code ? `${code}: ${message}` : `${server} does not answer`;
  }

  for (;;) {
    const code = await connection();
    if (end) return end;
    if (error) throw new Error(`${error.code}: ${error.message}`);
    if (!ready) throw new Error(await refusal());
    const mayResume = ready.resume_window_ms > 0 && (LOST.includes(code) || code === 1013);
    if (!mayResume || performance.now() - aliveAt > GIVE_UP_MS) throw new Error(`the stream is lost (${code})`);
    receive({ type: "reconnecting" });
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    waitMs = Math.min(2 * waitMs, MAX_RETRY_MS);
    const { session, resume_token: token } = ready;
    start = { type: "start", resume: { session, token, last_seq: lastSeq, audio_from_ms: 0 } };
  }
}

/** Return the format and the samples of a WAV file. */
function parse(wav) {
  const view = new DataView(wav);
  const found = {};
  for (let at = 12; at + 8 <= wav.byteLength; ) {
    const name = String.fromCharCode(...new Uint8Array(wav, at, 4));
    const length = Math.min(view.getUint32(at + 4, true), wav.byteLength - at - 8);
    found[name] ??= { at: at + 8, length };
    at += 8 + length + (length % 2);
  }
  const { "fmt ": format, data } = found;
  if (!format || !data || view.getUint16(format.at + 14, true) !== 16) throw new Error("not a WAV file of 16-bit PCM");
  const channels = view.getUint16(format.at + 2, true);
  const rate = view.getUint32(format.at + 4, true);
  return { rate, channels, audio: new Uint8Array(wav, data.at, data.length - (data.length % (2 * channels))) };
}

if (globalThis.process?.argv?.[1]?.endsWith("caption-file.mjs")) {
  const { readFile } = await import("node:fs/promises");
  const [server, path] = process.argv.slice(2);
  const show = (event) => {
    if (event.type === "final") console.log((event.start_ms / 1000).toFixed(1), event.text);
    if (event.type === "reconnecting") console.error("the connection is lost; connecting again");
  };
  await caption(server, new Uint8Array(await readFile(path)).buffer, show, process.env.LIVECAPTION_TOKEN);
}
