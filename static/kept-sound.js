// @ts-check
/** The sound of a stream that waits to be sent, and what was sent and may be needed again. Pure. */

export class KeptSound {
  /** @type {Int16Array<ArrayBuffer>[]} First those that were sent, then those that wait. */
  #chunks = [];
  #nSent = 0;
  #nWaitingSamples = 0;
  /** The number in the stream of the first sample that is kept. */
  firstSample = 0;

  get nWaitingSamples() {
    return this.#nWaitingSamples;
  }

  /** The number in the stream of the sample behind all that is kept. */
  get endSample() {
    return this.#chunks.reduce((sum, { length }) => sum + length, this.firstSample);
  }

  /** @param {Int16Array<ArrayBuffer>} pcm mono samples, which follow all others */
  push(pcm) {
    this.#chunks.push(pcm);
    this.#nWaitingSamples += pcm.length;
  }

  /** Return the chunk that is sent now; null: none waits. */
  next() {
    const pcm = this.#chunks[this.#nSent] ?? null;
    if (pcm) {
      this.#nSent += 1;
      this.#nWaitingSamples -= pcm.length;
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
      const [{ length }] = this.#chunks.splice(this.#nSent, 1);
      this.#nWaitingSamples -= length;
      nDropped += length;
    }
    return nDropped;
  }

  /**
   * Drop sent chunks before this sample, which will not be needed again.
   *
   * @param {number} sample
   */
  forget(sample) {
    while (this.#nSent > 0 && this.firstSample + this.#chunks[0].length <= sample) {
      this.firstSample += this.#chunks[0].length;
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
    if (nTaken > 0 && this.#chunks.length > 0) this.#chunks[0] = this.#chunks[0].subarray(nTaken);
    this.firstSample += nTaken;
    this.#nSent = 0;
    this.#nWaitingSamples = this.endSample - this.firstSample;
  }
}
