// @ts-check
/** The sound of a stream that waits to be sent, and what was sent and may be needed again. Pure. */

export class KeptSound {
  #nChannels;
  /** @type {Int16Array<ArrayBuffer>[]} First those that were sent, then those that wait. */
  #chunks = [];
  #nSent = 0;
  #nWaitingSamples = 0;
  /** The number in the stream of the first sample that is kept. */
  firstSample = 0;

  /** @param {number} nChannels of which a sample each follow one another. Samples are counted by their time: once for all channels. */
  constructor(nChannels = 1) {
    this.#nChannels = nChannels;
  }

  get nWaitingSamples() {
    return this.#nWaitingSamples;
  }

  /** The number in the stream of the sample behind all that is kept. */
  get endSample() {
    return this.#chunks.reduce((sum, pcm) => sum + this.#nSamples(pcm), this.firstSample);
  }

  /** @param {Int16Array<ArrayBuffer>} pcm samples, which follow all others */
  push(pcm) {
    this.#chunks.push(pcm);
    this.#nWaitingSamples += this.#nSamples(pcm);
  }

  /** Return the chunk that is sent now; null: none waits. */
  next() {
    const pcm = this.#chunks[this.#nSent] ?? null;
    if (pcm) {
      this.#nSent += 1;
      this.#nWaitingSamples -= this.#nSamples(pcm);
    }
    return pcm;
  }

  /**
   * Drop the oldest sound that waits, if it is more than this. Return the number of samples.
   *
   * @param {number} maxSamples
   */
  dropWaiting(maxSamples) {
    let nDropped = 0;
    while (this.#nWaitingSamples > maxSamples) {
      const [pcm] = this.#chunks.splice(this.#nSent, 1);
      this.#nWaitingSamples -= this.#nSamples(pcm);
      nDropped += this.#nSamples(pcm);
    }
    return nDropped;
  }

  /**
   * Drop sent chunks before this sample, which will not be needed again.
   *
   * @param {number} sample
   */
  forget(sample) {
    while (this.#nSent > 0 && this.firstSample + this.#nSamples(this.#chunks[0]) <= sample) {
      this.firstSample += this.#nSamples(this.#chunks[0]);
      this.#chunks.shift();
      this.#nSent -= 1;
    }
  }

  /**
   * Drop all that was sent before this sample; the rest waits, perhaps again.
   *
   * @param {number} sample
   */
  rewind(sample) {
    this.forget(sample);
    const nTaken = Math.max(0, sample - this.firstSample);
    if (nTaken > 0 && this.#chunks.length > 0) this.#chunks[0] = this.#chunks[0].subarray(nTaken * this.#nChannels);
    this.firstSample += nTaken;
    this.#nSent = 0;
    this.#nWaitingSamples = this.endSample - this.firstSample;
  }

  /** @param {Int16Array} pcm */
  #nSamples({ length }) {
    return length / this.#nChannels;
  }
}
