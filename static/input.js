// @ts-check
/**
 * One source of a capture: a microphone, or the sound of a tab or screen.
 *
 * Owns the media stream. A failure is a Problem whose code `words.js` explains.
 */

import { Problem } from "./words.js";

/**
 * Where the sound comes from, and how the browser processes it. `source` is a device id, DISPLAY or DEFAULT_MICROPHONE.
 *
 * @typedef {{ echoCancellation: boolean, noiseSuppression: boolean, autoGainControl: boolean }} Processing
 * @typedef {{ source: string } & Processing} InputChoice
 */

/** @import { Level } from "./microphone.js" */

/** The source that is the sound of a tab or screen, which the browser lets the user choose. */
export const DISPLAY = "display";
/** The source that is the system's preferred microphone. */
export const DEFAULT_MICROPHONE = "";

/** No sample is larger in a chunk of silence: -60 dB of full scale. */
const SILENT_PEAK = 0.001;
/** Chunks of silence, 2 s, after which the microphone is also opened without processing. */
const SILENT_CHUNKS = 50;

/** @type {Record<string, string>} */
const PROBLEM_OF_ERROR = {
  NotAllowedError: "microphone_denied",
  SecurityError: "microphone_denied",
  NotFoundError: "no_microphone",
  OverconstrainedError: "no_microphone",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/** A source that leads to an input of a worklet. It can be replaced by another one while the worklet runs. */
export class Input {
  #context;
  #ended;
  /** @type {MediaStream | null} */
  #media = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #sourceNode = null;
  /** @type {{ node: AudioNode, input: number } | null} */
  #target = null;
  /** @type {InputChoice | null} */
  #choice = null;
  #silentChunks = 0;
  /** @type {Probe | null} */
  #probe = null;

  /**
   * @param {AudioContext} context
   * @param {() => void} ended is called when the user or the system ends the source
   */
  constructor(context, ended) {
    this.#context = context;
    this.#ended = ended;
  }

  /** Whether it has a source. */
  get isOpen() {
    return this.#media !== null;
  }

  /**
   * Whether this is another source than the present one, or the present one has ended.
   *
   * @param {InputChoice} choice
   */
  differs(choice) {
    return !this.isOpen || JSON.stringify(choice) !== JSON.stringify(this.#choice);
  }

  /**
   * Ask for a source. It is opened before an earlier one is released. Throws Problem.
   *
   * @param {InputChoice} choice
   * @param {AbortSignal} signal aborts when the source is not wanted any more
   */
  async open(choice, signal) {
    const media = await openMedia(choice);
    if (signal.aborted) {
      stopTracks(media);
      return;
    }
    this.#choice = choice;
    this.#silentChunks = 0;
    this.#endProbe();
    this.#adopt(media);
  }

  /**
   * Lead the sound to this input of a node, that of later sources too.
   *
   * @param {AudioNode} node
   * @param {number} input
   */
  connect(node, input) {
    this.#target = { node, input };
    this.#sourceNode?.connect(node, 0, input);
  }

  close() {
    this.#endProbe();
    this.#release();
  }

  /**
   * While the microphone is silent, look at it without the browser's processing. Chromium mixes channels before it, and
   * there is nothing left of a microphone that is wired the wrong way round.
   *
   * @param {Level} level of each chunk
   */
  watch({ peak }) {
    if (!this.#choice || !this.isOpen) return;
    const { source, ...processing } = this.#choice;
    this.#silentChunks = peak < SILENT_PEAK ? this.#silentChunks + 1 : 0;
    if (this.#silentChunks === 0) this.#endProbe();
    if (this.#silentChunks !== SILENT_CHUNKS || source === DISPLAY || !Object.values(processing).includes(true)) return;
    const plain = { source, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.#probe = new Probe(this.#context, plain, (media) => {
      this.#choice = plain;
      this.#adopt(media);
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
    if (this.#target) this.connect(this.#target.node, this.#target.input);
    media.getAudioTracks()[0].onended = () => {
      this.#endProbe();
      this.#release();
      this.#ended();
    };
  }

  #release() {
    this.#sourceNode?.disconnect();
    if (this.#media) stopTracks(this.#media);
    this.#sourceNode = this.#media = null;
  }
}

/** A second look at a microphone: whether its channels cancel each other. */
class Probe {
  /** @type {MediaStream | null} */
  #media = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {AudioWorkletNode | null} */
  #worklet = null;
  #closed = false;

  /**
   * @param {AudioContext} context
   * @param {InputChoice} choice
   * @param {(media: MediaStream) => void} found is given the media, if the channels cancel
   */
  constructor(context, choice, found) {
    this.#open(context, choice, found).catch(() => {}); // a microphone that cannot be opened twice is left alone
  }

  close() {
    this.#closed = true;
    this.#source?.disconnect();
    this.#worklet?.disconnect();
    this.#worklet?.port.postMessage("end");
    if (this.#media) stopTracks(this.#media);
    this.#media = null;
  }

  /**
   * @param {AudioContext} context
   * @param {InputChoice} choice
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
    this.#source = source;
    this.#worklet = worklet;
    worklet.port.onmessage = ({ data }) => {
      if (!data.levels[0].cancels || this.#closed) return;
      this.#media = null; // it is not ours any more
      this.close();
      found(media);
    };
    source.connect(worklet);
    worklet.connect(context.destination);
  }
}

/** @param {InputChoice} choice */
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
