// @ts-check
/**
 * A microphone, or the sound of a tab or screen -> chunks of mono PCM.
 *
 * Owns the AudioContext, the media stream and the worklet. Independent of the server. A failure is a Problem
 * whose code `words.js` explains.
 */

import { sentRateHz } from "./resampler.js";
import { Problem } from "./words.js";

/**
 * What to capture and how the browser processes it. `source` is a device id, DISPLAY or DEFAULT_MICROPHONE.
 *
 * @typedef {{ source: string } & Processing} Choice
 * @typedef {{ echoCancellation: boolean, noiseSuppression: boolean, autoGainControl: boolean }} Processing
 */

/**
 * Some audio and its levels, which are 0..1 of full scale. `cancels`: the channels of its source cancel each other.
 *
 * @typedef {{ pcm: Int16Array<ArrayBuffer>, rms: number, peak: number, cancels: boolean }} Chunk
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

/** No sample is larger in a chunk of silence: -60 dB of full scale. */
const SILENT_PEAK = 0.001;
/** Chunks of silence, 2 s, after which the microphone is also opened without processing. */
const SILENT_CHUNKS = 50;

/** A context that may run does so within this time. */
const GESTURE_MS = 500;

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
  /** @type {Choice} */
  #choice;
  #silentChunks = 0;
  /** @type {Probe | null} */
  #probe = null;
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
    const capture = new Capture(choice, listener);
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

  /**
   * @param {Choice} choice
   * @param {CaptureListener} listener
   */
  constructor(choice, listener) {
    this.#choice = choice;
    this.#listener = listener;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.onstatechange = () => {
      if (!this.#closed) listener.suspended(this.#context.state !== "running");
    };
  }

  /** The rate of its chunks. */
  get sampleRateHz() {
    return sentRateHz(this.#context.sampleRate);
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
    this.#choice = choice;
    this.#endProbe();
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
    this.#endProbe();
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
    this.#worklet.port.onmessage = ({ data }) => {
      this.#listener.chunk(data);
      this.#watch(data);
    };
    this.#sourceNode?.connect(this.#worklet);
    // Its output is silence. Some browsers run only nodes that lead to the destination.
    this.#worklet.connect(this.#context.destination);
    if (this.#context.state !== "suspended") return;
    // Without a gesture of the user, this waits for one: the page asks for it.
    await Promise.race([this.#context.resume(), new Promise((resolve) => setTimeout(resolve, GESTURE_MS))]);
    if (!this.#closed) this.#listener.suspended(this.#context.state === "suspended");
  }

  /**
   * While the microphone is silent, look at it without the browser's processing. Chromium mixes channels before it, and
   * there is nothing left of a microphone that is wired the wrong way round.
   *
   * @param {Chunk} chunk
   */
  #watch({ peak }) {
    const { source, ...processing } = this.#choice;
    this.#silentChunks = peak < SILENT_PEAK ? this.#silentChunks + 1 : 0;
    if (this.#silentChunks === 0) this.#endProbe();
    if (this.#silentChunks !== SILENT_CHUNKS || source === DISPLAY || !Object.values(processing).includes(true)) return;
    const plain = { source, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.#probe = new Probe(this.#context, plain, (media) => {
      this.#choice = plain;
      this.#adopt(media);
      if (this.#worklet) this.#sourceNode?.connect(this.#worklet);
    });
  }

  #endProbe() {
    this.#probe?.close();
    this.#probe = null;
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

/** A second look at a microphone: whether its channels cancel each other. */
class Probe {
  /** @type {MediaStream | null} */
  #media = null;
  /** @type {AudioNode[]} */
  #nodes = [];
  #closed = false;

  /**
   * @param {AudioContext} context
   * @param {Choice} choice
   * @param {(media: MediaStream) => void} found is given the media, if the channels cancel
   */
  constructor(context, choice, found) {
    this.#open(context, choice, found).catch(() => {}); // a microphone that cannot be opened twice is left alone
  }

  close() {
    this.#closed = true;
    for (const node of this.#nodes) node.disconnect();
    if (this.#media) stopTracks(this.#media);
    this.#media = null;
  }

  /**
   * @param {AudioContext} context
   * @param {Choice} choice
   * @param {(media: MediaStream) => void} found
   */
  async #open(context, choice, found) {
    // Silence is no reason to ask the user again: some browsers ask each time.
    const name = /** @type {PermissionName} */ ("microphone");
    if ((await navigator.permissions.query({ name })).state !== "granted") return;
    const media = await openMedia(choice);
    this.#media = media;
    if (this.#closed) {
      this.close();
      return;
    }
    const source = context.createMediaStreamSource(media);
    const worklet = new AudioWorkletNode(context, "capture", { numberOfInputs: 1, numberOfOutputs: 1 });
    this.#nodes = [source, worklet];
    worklet.port.onmessage = ({ data }) => {
      if (!data.cancels || this.#closed) return;
      this.#media = null; // it is not ours any more
      this.close();
      found(media);
    };
    source.connect(worklet);
    worklet.connect(context.destination);
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
  const audio = { channelCount: 2, ...processing }; // mixed in the worklet: browsers cancel opposite channels
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
  // In a variable, because TypeScript checks a literal in the call and lacks some of these options yet.
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
