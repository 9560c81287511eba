// @ts-check
/**
 * A microphone, or the sound of a tab or screen -> chunks of mono PCM.
 *
 * Owns the AudioContext, the media stream and the worklet. Knows nothing of the server. A failure is a Problem
 * whose code `words.js` explains.
 */

import { Problem } from "./words.js";

/**
 * What to capture and how the browser processes it. `source` is a device id, DISPLAY or DEFAULT_MICROPHONE.
 *
 * @typedef {{ source: string } & Processing} Choice
 * @typedef {{ echoCancellation: boolean, noiseSuppression: boolean, autoGainControl: boolean }} Processing
 */

/**
 * Some audio and its levels, which are 0..1 of full scale.
 *
 * @typedef {{ pcm: Int16Array<ArrayBuffer>, rms: number, peak: number }} Chunk
 */

/**
 * @typedef {object} CaptureListener
 * @property {(chunk: Chunk) => void} chunk
 * @property {() => void} ended
 * @property {(suspended: boolean) => void} suspended
 */

/** The source that is the sound of a tab or screen, which the browser lets the user choose. */
export const DISPLAY = "display";
/** The source that is the system's preferred microphone. */
export const DEFAULT_MICROPHONE = "";

/** @type {Record<string, string>} */
const PROBLEM_OF_ERROR = {
  NotAllowedError: "microphone_denied",
  SecurityError: "microphone_denied",
  NotFoundError: "no_microphone",
  OverconstrainedError: "no_microphone",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/** List the microphones. Labels and ids are empty until the user has allowed a microphone once. */
export async function listMicrophones() {
  if (!navigator.mediaDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  // Chromium repeats the preferred devices as "default" and "communications"; the page has an entry for those.
  return devices.filter(
    ({ kind, deviceId }) => kind === "audioinput" && !["", "default", "communications"].includes(deviceId),
  );
}

/** A running capture. */
export class Capture {
  #context;
  /** @type {AudioWorkletNode | null} */
  #worklet = null;
  /** @type {MediaStream | null} */
  #media = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #sourceNode = null;
  #listener;
  #closed = false;

  /**
   * Ask for the source and begin. Throws Problem.
   * Must be called from a user's gesture: contexts made elsewhere start suspended, and display capture is refused.
   *
   * @param {Choice} choice
   * @param {CaptureListener} listener
   */
  static async open(choice, listener) {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new Problem("insecure_context");
    const capture = new Capture(listener);
    try {
      const media = await openMedia(choice);
      capture.#adopt(media);
      await capture.#startWorklet();
    } catch (error) {
      capture.close();
      throw error;
    }
    return capture;
  }

  /** @param {CaptureListener} listener */
  constructor(listener) {
    this.#listener = listener;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.onstatechange = () => {
      if (!this.#closed) listener.suspended(this.#context.state !== "running");
    };
  }

  get sampleRateHz() {
    return this.#context.sampleRate;
  }

  /**
   * Change the source without ending the stream: the new one is opened before the old one is released.
   *
   * @param {Choice} choice
   */
  async switchTo(choice) {
    const media = await openMedia(choice);
    if (this.#closed) {
      stopTracks(media);
      return;
    }
    this.#adopt(media);
    if (this.#worklet) this.#sourceNode?.connect(this.#worklet);
  }

  /** Continue after the browser suspended the context; from a user's gesture. */
  resume() {
    return this.#context.resume();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#release();
    if (this.#worklet) this.#worklet.port.onmessage = null;
    this.#context.close();
  }

  async #startWorklet() {
    try {
      await this.#context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    } catch (error) {
      throw new Problem("unreachable", /** @type {Error} */ (error).message);
    }
    this.#worklet = new AudioWorkletNode(this.#context, "capture", { numberOfInputs: 1, numberOfOutputs: 1 });
    this.#worklet.port.onmessage = ({ data }) => this.#listener.chunk(data);
    this.#sourceNode?.connect(this.#worklet);
    // Its output is silence. Some browsers run only nodes that lead to the destination.
    this.#worklet.connect(this.#context.destination);
    if (this.#context.state === "suspended") await this.#context.resume();
  }

  /** @param {MediaStream} media */
  #adopt(media) {
    const sourceNode = this.#context.createMediaStreamSource(media);
    this.#release();
    this.#media = media;
    this.#sourceNode = sourceNode;
    media.getAudioTracks()[0].onended = () => this.#listener.ended();
  }

  #release() {
    this.#sourceNode?.disconnect();
    if (this.#media) stopTracks(this.#media);
  }
}

/** @param {Choice} choice */
async function openMedia({ source, ...processing }) {
  return source === DISPLAY ? openDisplay() : openMicrophone(source, processing);
}

/**
 * @param {string} deviceId
 * @param {Processing} processing
 */
async function openMicrophone(deviceId, processing) {
  /** @type {MediaTrackConstraints} */
  const audio = { channelCount: 1, ...processing };
  if (deviceId !== DEFAULT_MICROPHONE) audio.deviceId = { exact: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    throw new Problem(PROBLEM_OF_ERROR[name] ?? "microphone_failed", message);
  }
}

async function openDisplay() {
  if (!navigator.mediaDevices.getDisplayMedia) throw new Problem("no_display_capture");
  // In a variable, because TypeScript checks a literal in the call and does not know all of these options yet.
  const options = {
    // Browsers do not share sound without a picture, and some end both together: so the picture stays, small and slow.
    video: { width: 160, frameRate: 1 },
    audio: {
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
      suppressLocalAudioPlayback: false,
    },
    systemAudio: "include",
    selfBrowserSurface: "exclude",
  };
  let media;
  try {
    media = await navigator.mediaDevices.getDisplayMedia(options);
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    throw new Problem(name === "NotAllowedError" ? "sharing_refused" : "no_display_capture", message);
  }
  if (media.getAudioTracks().length === 0) {
    stopTracks(media);
    throw new Problem("no_shared_audio");
  }
  return media;
}

/** @param {MediaStream} media */
function stopTracks(media) {
  for (const track of media.getTracks()) {
    track.onended = null;
    track.stop();
  }
}
