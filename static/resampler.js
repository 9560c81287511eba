// @ts-check
/**
 * Mono samples at the rate of an AudioContext -> 16 kHz, by a polyphase low-pass filter. Pure.
 *
 * The pipeline works at 16 kHz, so more than that only costs the network: 48 kHz is three times as much. The filter is a
 * sinc in a Kaiser window (Oppenheim and Schafer, "Discrete-Time Signal Processing", 7.5.3). It is flat to 7.6 kHz and
 * lets nothing above 8.4 kHz through. What is between 8 and 8.4 kHz folds to between 7.6 and 8, where no consonant is
 * told from another. It delays by 3 ms.
 */

const TARGET_HZ = 16_000;
const PASS_HZ = 7600;
const STOP_HZ = 8400;
/** What is above `STOP_HZ` is quieter by this. 16 bits have a noise of -98 dB. */
const STOP_DB = 90;
/** Rates that need more filters than this are sent as they are. 44.1 kHz needs 160. */
const MAX_FILTERS = 640;

/**
 * The rate in Hz at which a page sends what it captures at this rate.
 *
 * @param {number} captureHz
 */
export function sentRateHz(captureHz) {
  return captureHz > TARGET_HZ && nFilters(captureHz) <= MAX_FILTERS ? TARGET_HZ : captureHz;
}

/** A resampler of one stream to `sentRateHz`. */
export class Resampler {
  #filters;
  #nTaps;
  /** Input samples, and filters, from one output sample to the next. */
  #step;
  #filterStep;
  /** @type {Float32Array<ArrayBuffer>} the input that is still needed, `#nHeld` samples */
  #held;
  #nHeld;
  /** The filter of the next output sample. Its input begins at the first sample that is held, plus `#skip`. */
  #filter = 0;
  #skip = 0;

  /** @param {number} captureHz */
  constructor(captureHz) {
    const n = sentRateHz(captureHz) === captureHz ? 1 : nFilters(captureHz);
    this.#filters = sentRateHz(captureHz) === captureHz ? [Float32Array.of(1)] : lowPass(captureHz, n);
    this.#nTaps = this.#filters[0].length;
    const advance = (captureHz * n) / sentRateHz(captureHz); // in parts of an input sample, n in each
    this.#step = Math.floor(advance / n);
    this.#filterStep = advance % n;
    this.#nHeld = (this.#nTaps - 1) / 2; // silence before the first sample, so that times stay true
    this.#held = new Float32Array(this.#nTaps + 4096);
  }

  /**
   * Return the samples that these complete. The rest of them is in the next call's.
   *
   * @param {Float32Array} samples
   */
  push(samples) {
    if (this.#nTaps === 1) return samples;
    if (this.#nHeld + samples.length > this.#held.length) {
      const larger = new Float32Array(2 * (this.#nHeld + samples.length));
      larger.set(this.#held);
      this.#held = larger;
    }
    this.#held.set(samples, this.#nHeld);
    this.#nHeld += samples.length;
    const made = [];
    while (this.#skip + this.#nTaps <= this.#nHeld) {
      const filter = this.#filters[this.#filter];
      let sum = 0;
      for (let i = 0; i < filter.length; i += 1) sum += filter[i] * this.#held[this.#skip + i];
      made.push(sum);
      this.#filter += this.#filterStep;
      this.#skip += this.#step;
      if (this.#filter >= this.#filters.length) {
        this.#filter -= this.#filters.length;
        this.#skip += 1;
      }
    }
    const nDone = Math.min(this.#skip, this.#nHeld);
    this.#held.copyWithin(0, nDone, this.#nHeld);
    this.#nHeld -= nDone;
    this.#skip -= nDone;
    return Float32Array.from(made);
  }
}

/**
 * The number of places between two input samples at which an output sample can be: each has a filter of its own.
 *
 * @param {number} captureHz
 */
function nFilters(captureHz) {
  let [a, b] = [captureHz, TARGET_HZ];
  while (b) [a, b] = [b, a % b];
  return TARGET_HZ / a;
}

/**
 * Filter i gives the sample that lies i / n of an input sample behind the middle of its taps.
 *
 * @param {number} captureHz
 * @param {number} n
 */
function lowPass(captureHz, n) {
  const transition = (2 * Math.PI * (STOP_HZ - PASS_HZ)) / captureHz;
  const half = Math.ceil((STOP_DB - 8) / (2.285 * transition) / 2);
  const cutoff = (PASS_HZ + STOP_HZ) / captureHz; // twice the middle of the transition, in parts of the rate
  const beta = 0.1102 * (STOP_DB - 8.7);
  return Array.from({ length: n }, (_, i) => {
    const taps = Float64Array.from({ length: 2 * half + 1 }, (_, tap) => {
      const at = tap - half - i / n;
      const inside = 1 - (at / (half + 1)) ** 2;
      return sinc(cutoff * at) * bessel(beta * Math.sqrt(Math.max(0, inside)));
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return Float32Array.from(taps, (tap) => tap / sum); // so that a constant keeps its value with each filter
  });
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/**
 * The modified Bessel function of the first kind and order 0, by its power series.
 *
 * @param {number} x
 */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-12; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
