// @ts-check
/**
 * Audio render thread: the channels of the source -> mono 16-bit PCM, at 16 kHz.
 *
 * Each message is a `Chunk`: about 40 ms of audio and its levels. The context keeps its own rate, because one that is
 * forced to 16 kHz does not open microphones of other rates in Firefox (Bugzilla 1674892).
 */

import { Downmixer } from "./downmix.js";
import { Resampler, sentRateHz } from "./resampler.js";

/** @import { Chunk } from "./microphone.js" */

/**
 * The globals of an audio render thread. TypeScript's library of the DOM describes pages and does not have them.
 *
 * @typedef {object} AudioWorkletScope
 * @property {new () => { port: MessagePort }} AudioWorkletProcessor
 * @property {(name: string, processor: new () => { process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean }) => void} registerProcessor
 * @property {number} sampleRate
 */

const { AudioWorkletProcessor, registerProcessor, sampleRate } = /** @type {AudioWorkletScope} */ (
  /** @type {unknown} */ (globalThis)
);

// Long enough that messages cost little, short enough that captions are not visibly later.
const CHUNK_SAMPLES = Math.round(sentRateHz(sampleRate) * 0.04);

class CaptureProcessor extends AudioWorkletProcessor {
  #downmixer = new Downmixer(sampleRate);
  #resampler = new Resampler(sampleRate);
  #mono = new Float32Array(0);
  #pcm = new Int16Array(CHUNK_SAMPLES);
  #filled = 0;
  #sumOfSquares = 0;
  #peak = 0;

  /**
   * @param {Float32Array[][]} inputs
   * @param {Float32Array[][]} outputs
   */
  process([channels], [output]) {
    if (this.#mono.length !== output[0].length) this.#mono = new Float32Array(output[0].length);
    this.#downmixer.mix(channels, this.#mono);
    for (const sample of this.#resampler.push(this.#mono)) this.#push(sample);
    return true;
  }

  /** @param {number} sample */
  #push(sample) {
    const clamped = Math.max(-1, Math.min(1, sample));
    this.#sumOfSquares += clamped * clamped;
    this.#peak = Math.max(this.#peak, Math.abs(clamped));
    this.#pcm[this.#filled] = Math.round(clamped * 32767);
    this.#filled += 1;
    if (this.#filled === CHUNK_SAMPLES) this.#post();
  }

  #post() {
    const rms = Math.sqrt(this.#sumOfSquares / CHUNK_SAMPLES);
    /** @type {Chunk} */
    const chunk = { pcm: this.#pcm, rms, peak: this.#peak, cancels: this.#downmixer.cancels };
    this.port.postMessage(chunk, [this.#pcm.buffer]);
    this.#pcm = new Int16Array(CHUNK_SAMPLES);
    this.#filled = 0;
    this.#sumOfSquares = 0;
    this.#peak = 0;
  }
}

registerProcessor("capture", CaptureProcessor);
