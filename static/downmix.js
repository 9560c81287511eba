// @ts-check
/**
 * Channels -> mono, as livecaption/audio/downmix.py does it: the mean, or one channel while they cancel each other.
 *
 * A browser that mixes down by itself cancels what is wired the wrong way round, so the page takes all channels.
 */

const BLOCK_S = 0.02;
const FAST_S = 0.1;
const SLOW_S = 5;
// Ratios of energies at which one channel is taken, and the mean again. 1: channels with nothing in common; 0: opposite.
const CANCELS_BELOW = 0.1;
const ADDS_ABOVE = 0.5;
const OTHER_IS_LOUDER = 2;
const SILENCE = 1e-7;

/** A mixer of one source. A decision holds from the next block on, so nothing is delayed. */
export class Downmixer {
  #blockSamples;
  #inBlock = 0;
  /** @type {number | null} the channel that is taken instead of the mean */
  #taken = null;
  // Mean squares of each channel, and at the end of the mean: of the block, and of two lengths of memory.
  #block = [0];
  #fast = [0];
  #slow = [0];

  /** @param {number} sampleRate */
  constructor(sampleRate) {
    this.#blockSamples = Math.floor(sampleRate * BLOCK_S);
  }

  /** True while the channels cancel each other, and one of them is taken. */
  get cancels() {
    return this.#taken !== null;
  }

  /**
   * Mix samples that came at the same time into `mono`. No channels, as while the source is being changed, are silence:
   * it keeps stream time true.
   *
   * @param {Float32Array[]} channels
   * @param {Float32Array} mono
   */
  mix(channels, mono) {
    const n = channels.length;
    if (n < 2) {
      if (n === 1) mono.set(channels[0]);
      else mono.fill(0);
      return;
    }
    if (this.#block.length !== n + 1) this.#begin(n);
    const block = this.#block;
    for (let i = 0; i < mono.length; i += 1) {
      let mean = 0;
      for (let channel = 0; channel < n; channel += 1) {
        const sample = channels[channel][i];
        mean += sample / n;
        block[channel] += sample * sample;
      }
      block[n] += mean * mean;
      mono[i] = this.#taken === null ? mean : channels[this.#taken][i];
      this.#inBlock += 1;
      if (this.#inBlock === this.#blockSamples) this.#decide(n);
    }
  }

  /** @param {number} n */
  #begin(n) {
    this.#taken = null;
    this.#inBlock = 0;
    this.#block = new Array(n + 1).fill(0);
    this.#fast = this.#block.slice();
    this.#slow = this.#block.slice();
  }

  /** @param {number} n */
  #decide(n) {
    const energy = this.#block.map((sum) => sum / this.#blockSamples);
    this.#block.fill(0);
    this.#inBlock = 0;
    this.#fast = remember(this.#fast, energy, FAST_S);
    this.#slow = remember(this.#slow, energy, SLOW_S);
    const loudest = this.#fast.indexOf(Math.max(...this.#fast.slice(0, n)));
    if (this.#taken === null) {
      if (this.#fast[loudest] > SILENCE && ratio(this.#fast, n) < CANCELS_BELOW) {
        this.#taken = loudest;
        this.#slow = remember(
          energy.map(() => 0),
          energy,
          SLOW_S,
        ); // the time before says nothing about it
      }
    } else if (ratio(this.#slow, n) > ADDS_ABOVE || this.#fast[loudest] > OTHER_IS_LOUDER * this.#fast[this.#taken]) {
      this.#taken = null;
    }
  }
}

/**
 * @param {number[]} before
 * @param {number[]} energy
 * @param {number} seconds
 */
function remember(before, energy, seconds) {
  const keep = Math.exp(-BLOCK_S / seconds);
  return before.map((value, i) => keep * value + (1 - keep) * energy[i]);
}

/**
 * The energy of the mean, compared with that of channels that have nothing in common.
 *
 * @param {number[]} energy
 * @param {number} n
 */
function ratio(energy, n) {
  const total = energy.slice(0, n).reduce((sum, value) => sum + value, 0);
  return total > 0 ? (energy[n] * n * n) / total : 1;
}
