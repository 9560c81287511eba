/**
 * Codes -> words people understand. No DOM, no state.
 *
 * The codes are the server's error codes, and our own for what happens in the browser.
 */

/** Something went wrong. `code` is a key below, `message` the cause in technical words, if there is one. */
export class Problem extends Error {
  constructor(code, message = "", retryAfterS = null) {
    super(message);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  static of(error) {
    return error instanceof Problem ? error : new Problem("unexpected", `${error.name}: ${error.message}`);
  }
}

/** Languages that Whisper knows well enough to be read, by their own names. */
export const LANGUAGES = {
  ar: "العربية",
  ca: "Català",
  cs: "Čeština",
  da: "Dansk",
  de: "Deutsch",
  el: "Ελληνικά",
  en: "English",
  es: "Español",
  fi: "Suomi",
  fr: "Français",
  he: "עברית",
  hi: "हिन्दी",
  hu: "Magyar",
  id: "Bahasa Indonesia",
  it: "Italiano",
  ja: "日本語",
  ko: "한국어",
  nl: "Nederlands",
  no: "Norsk",
  pl: "Polski",
  pt: "Português",
  ro: "Română",
  ru: "Русский",
  sv: "Svenska",
  th: "ไทย",
  tr: "Türkçe",
  uk: "Українська",
  vi: "Tiếng Việt",
  zh: "中文",
};

const STATES = {
  idle: "Ready",
  asking: "Waiting for permission",
  connecting: "Connecting",
  loading: "Server is loading its model",
  busy: "Server is busy",
  live: "Live",
  recovering: "Recovering",
  reconnecting: "Reconnecting",
  overloaded: "Live, delayed",
  draining: "Server is stopping",
  finishing: "Finishing…",
  failed: "Not started",
  lost: "Connection lost",
  ended: "Ended by the server",
};

export function stateWords(state, { retryAfterS } = {}) {
  const words = STATES[state];
  return retryAfterS ? `${words}, trying again in ${Math.ceil(retryAfterS)} s` : words;
}

/** One sentence for the server's condition, or "" when all is well. `status` is the protocol's event. */
export function statusWords({ state, partials }) {
  if (state === "recovering") return "The recognizer is restarting. Your speech is kept; captions follow in a moment.";
  if (state === "draining") return "The server is being stopped. The sentence you are in is still captioned.";
  if (partials === "paused") return "The server is very busy: captions appear when a sentence is complete.";
  if (partials === "slow" || state === "overloaded") return "The server is busy: captions appear less often.";
  return "";
}

const PROBLEMS = {
  microphone_denied: [
    "The microphone is not allowed",
    "The browser refused this page the microphone. Allow it in the address bar (the microphone or lock symbol) or in " +
      "the system's privacy settings, then start again.",
  ],
  no_microphone: [
    "No microphone was found",
    "Plug one in, or choose another source, then start again.",
  ],
  microphone_busy: [
    "The microphone is in use",
    "Another program holds it, or the system does not hand it out. Close the other program, then start again.",
  ],
  microphone_failed: ["The microphone could not be opened", "Choose another source, or start again."],
  no_display_capture: [
    "This browser cannot share sound",
    "Tab and screen audio works in Chrome and Edge on a computer. The microphone works everywhere.",
  ],
  sharing_refused: ["Nothing was shared", "Start again and choose a tab, a window or a screen."],
  no_shared_audio: [
    "The share came without sound",
    "Start again, choose a tab (or, on Windows, the entire screen) and switch on “Also share audio” in the same " +
      "window.",
  ],
  source_ended: [
    "The sound source has ended",
    "The microphone was unplugged, or sharing was stopped. Choose a source, then start again.",
  ],
  forbidden_origin: [
    "The server does not accept pages from this address",
    "Open the page by the server's own address, or ask its operator to allow this one.",
  ],
  unsupported_language: [
    "The server's model does not know this language",
    "Choose “Detect” or another language, then start again.",
  ],
  unsupported_sample_rate: [
    "This sound device is too fast or too slow",
    "The server takes 8 to 96 kHz. Set the device to 48 kHz in the system's sound settings, or choose another.",
  ],
  overloaded: ["The server is busy", "It has as many streams as it can carry. Start again in a moment."],
  failed: ["The server cannot caption now", "Its recognizer does not start. Its operator finds the reason in its log."],
  unreachable: [
    "The server does not answer",
    "It may be stopped, or the network is down. Start again when it is back.",
  ],
  lost: [
    "The connection was lost",
    "What was captioned is kept below. Start again to go on; times continue.",
  ],
  server_stopped: [
    "The server was stopped",
    "Everything said until then is in the transcript. Start again when the server is back.",
  ],
  refused: ["The server closed the connection", "It did not accept what this page sent."],
  slow_reader: ["This computer did not keep up", "The page could not read the captions in time. Start again."],
  idle_timeout: ["Nothing was sent for too long", "No sound arrived at the server. Start again."],
  engine_error: ["The recognizer failed", "What was captioned is kept. Start again in a moment."],
  internal: [
    "The server had an error",
    "What was captioned is kept. Start again; its operator finds the reason in its log.",
  ],
  unexpected: ["That did not work", "Start again. If it happens again, reload the page."],
};

/**
 * What to show for a problem: {title, text, fixes, detail}. `place` is the page's location.
 *
 * `fixes` lists ways out where there is a choice, what to type in backticks; `detail` is the technical cause or "".
 */
export function problemWords({ code, message }, place) {
  if (code === "insecure_context") return insecureContextWords(place);
  const [title, text] = PROBLEMS[code] ?? ["The server refused", "Start again, or ask its operator."];
  return { title, text, fixes: [], detail: message ? `${code}: ${message}` : "" };
}

function insecureContextWords({ hostname, port }) {
  const localPort = port || "8080";
  return {
    title: "Browsers give no microphone to this address",
    text: "It takes https, or a page on the computer itself. Any one of these helps:",
    fixes: [
      `On the server's own machine, open \`http://localhost:${localPort}/\`. From another one, make a tunnel first: ` +
        `\`ssh -N -L ${localPort}:127.0.0.1:${localPort} ${hostname}\``,
      "Give the server a certificate: start it with `--tls-cert cert.pem --tls-key key.pem` and open " +
        `\`https://${hostname}${port && `:${port}`}/\`.`,
      "Put a reverse proxy with https, such as Caddy or nginx, before it.",
    ],
    detail: "",
  };
}
