// @ts-check
/**
 * Audio render thread: sources -> 16-bit PCM at 16 kHz, with a channel for each source.
 *
 * Each message is a `Chunk`: about 40 ms of audio and its levels. The context keeps its own rate, because one that is
 * forced to 16 kHz does not open microphones of other rates in Firefox (Bugzilla 1674892).
 */

import { Downmixer } from "./downmix.js";
import { Resampler, sentRateHz } from "./resampler.js";

/** @import { Chunk, Level } from "./microphone.js" */

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

/** One source: its channels -> mono at the rate that is sent, and its level. */
class Source {
  #downmixer = new Downmixer(sampleRate);
  #resampler = new Resampler(sampleRate);
  #mono = new Float32Array(0);
  #sumOfSquares = 0;
  #peak = 0;

  /**
   * @param {Float32Array[]} channels
   * @param {number} nFrames
   */
  mix(channels, nFrames) {
    if (this.#mono.length !== nFrames) this.#mono = new Float32Array(nFrames);
    this.#downmixer.mix(channels, this.#mono);
    return this.#resampler.push(this.#mono);
  }

  /**
   * Measure a sample; return it as an integer.
   *
   * @param {number} sample
   */
  measure(sample) {
    const clamped = Math.max(-1, Math.min(1, sample));
    this.#sumOfSquares += clamped * clamped;
    this.#peak = Math.max(this.#peak, Math.abs(clamped));
    return Math.round(clamped * 32767);
  }

  /**
   * The level since the last call.
   *
   * @returns {Level}
   */
  level() {
    const rms = Math.sqrt(this.#sumOfSquares / CHUNK_SAMPLES);
    const level = { rms, peak: this.#peak, cancels: this.#downmixer.cancels };
    this.#sumOfSquares = this.#peak = 0;
    return level;
  }
}

class CaptureProcessor extends AudioWorkletProcessor {
  /** @type {Source[]} */
  #sources = [];
  #pcm = new Int16Array(0);
  #filled = 0;
  #ended = false;

  constructor() {
    super();
    // Any message ends it. Without one it runs as long as its context, also while no source is connected.
    this.port.onmessage = () => {
      this.#ended = true;
    };
  }

  /**
   * @param {Float32Array[][]} inputs
   * @param {Float32Array[][]} outputs
   */
  process(inputs, [output]) {
    if (this.#ended) return false;
    if (this.#sources.length === 0) {
      this.#sources = inputs.map(() => new Source());
      this.#pcm = new Int16Array(CHUNK_SAMPLES * inputs.length);
    }
    const mixed = this.#sources.map((source, i) => source.mix(inputs[i], output[0].length));
    for (let i = 0; i < mixed[0].length; i += 1) {
      for (const [channel, source] of this.#sources.entries()) {
        this.#pcm[this.#filled] = source.measure(mixed[channel][i]);
        this.#filled += 1;
      }
      if (this.#filled === this.#pcm.length) this.#post();
    }
    return true;
  }

  #post() {
    /** @type {Chunk} */
    const chunk = { pcm: this.#pcm, levels: this.#sources.map((source) => source.level()) };
    this.port.postMessage(chunk, [this.#pcm.buffer]);
    this.#pcm = new Int16Array(CHUNK_SAMPLES * this.#sources.length);
    this.#filled = 0;
  }
}

registerProcessor("capture", CaptureProcessor);
