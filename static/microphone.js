// @ts-check
/**
 * Microphones, and the sound of a tab or screen -> chunks of PCM with a channel for each.
 *
 * Owns the AudioContext, the inputs and the worklet. Independent of the server. A failure is a Problem whose code
 * `words.js` explains.
 */

import { DISPLAY, Input } from "./input.js";
import { sentRateHz } from "./resampler.js";
import { Problem } from "./words.js";

/** @import { Processing } from "./input.js" */

/**
 * What to capture and how the browser processes it. Each source becomes a channel; there are one or two.
 *
 * @typedef {{ sources: string[] } & Processing} Choice
 */

/**
 * The level of a channel, 0..1 of full scale. `cancels`: the channels of its source cancel each other.
 *
 * @typedef {{ rms: number, peak: number, cancels: boolean }} Level
 */

/**
 * Some audio, a sample of each channel after the other, and the level of each channel.
 *
 * @typedef {{ pcm: Int16Array<ArrayBuffer>, levels: Level[] }} Chunk
 */

/**
 * @typedef {object} CaptureListener
 * @property {(chunk: Chunk, chunkMs: number) => void} chunk
 * @property {(isLast: boolean) => void} ended a source has ended, perhaps the last one
 * @property {(suspended: boolean) => void} suspended
 */

/** A context that may run does so within this time. */
const GESTURE_MS = 500;

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
  /** @type {Input[]} */
  #inputs;
  #listener;
  /** Aborts when other sources are chosen, or none are needed any more. */
  #switching = new AbortController();
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
    const capture = new Capture(choice.sources.length, listener);
    try {
      await capture.switchTo(choice);
      await capture.#startWorklet();
    } catch (error) {
      capture.close();
      throw error;
    }
    return capture;
  }

  /**
   * @param {number} nChannels
   * @param {CaptureListener} listener
   */
  constructor(nChannels, listener) {
    this.#listener = listener;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.onstatechange = () => {
      if (!this.#closed) listener.suspended(this.#context.state !== "running");
    };
    const ended = () => listener.ended(!this.#inputs.some(({ isOpen }) => isOpen));
    this.#inputs = Array.from({ length: nChannels }, () => new Input(this.#context, ended));
  }

  get nChannels() {
    return this.#inputs.length;
  }

  /** The rate of its chunks. */
  get sampleRateHz() {
    return sentRateHz(this.#context.sampleRate);
  }

  /**
   * Open the sources that are not open. A running capture keeps the number of its channels. The newest choice counts, also
   * if the sources of an earlier one open later. Throws Problem.
   *
   * @param {Choice} choice
   */
  async switchTo({ sources, ...processing }) {
    this.#switching.abort();
    this.#switching = new AbortController();
    const { signal } = this.#switching;
    const choices = sources.slice(0, this.nChannels).map((source) => ({ source, ...processing }));
    // A browser that has asked for a microphone may have forgotten the gesture that sharing needs.
    const order = [...choices.keys()].sort((a, b) => isDisplay(choices[b]) - isDisplay(choices[a]));
    for (const i of order) {
      if (signal.aborted) return;
      if (this.#inputs[i].differs(choices[i])) await this.#inputs[i].open(choices[i], signal);
    }
  }

  /** Continue after the browser suspended the context; from a user's gesture. */
  resume() {
    return this.#context.resume();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#switching.abort();
    for (const input of this.#inputs) input.close();
    if (this.#worklet) this.#worklet.port.onmessage = null;
    this.#context.close();
  }

  async #startWorklet() {
    try {
      await this.#context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    } catch (error) {
      throw new Problem("unreachable", /** @type {Error} */ (error).message);
    }
    this.#worklet = new AudioWorkletNode(this.#context, "capture", {
      numberOfInputs: this.nChannels,
      numberOfOutputs: 1,
    });
    this.#worklet.port.onmessage = ({ data }) => this.#received(data);
    for (const [i, input] of this.#inputs.entries()) input.connect(this.#worklet, i);
    // Its output is silence. Some browsers run only nodes that lead to the destination.
    this.#worklet.connect(this.#context.destination);
    if (this.#context.state !== "suspended") return;
    // Without a gesture of the user, this waits for one: the page asks for it.
    await Promise.race([this.#context.resume(), new Promise((resolve) => setTimeout(resolve, GESTURE_MS))]);
    if (!this.#closed) this.#listener.suspended(this.#context.state === "suspended");
  }

  /** @param {Chunk} chunk */
  #received(chunk) {
    this.#listener.chunk(chunk, (chunk.pcm.length * 1000) / (this.nChannels * this.sampleRateHz));
    for (const [i, level] of chunk.levels.entries()) this.#inputs[i].watch(level);
  }
}

/** @param {{ source: string }} choice */
function isDisplay({ source }) {
  return Number(source === DISPLAY);
}
