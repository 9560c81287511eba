/**
 * Audio render thread: whatever channels come in -> mono 16-bit PCM at the context's own rate.
 *
 * Each message is {pcm: Int16Array (buffer transferred), rms, peak}: about 40 ms of audio, and its levels in
 * 0..1 of full scale. Nothing is resampled here: the server resamples better than a page can, and a context
 * forced to 16 kHz does not open microphones of other rates in Firefox (Bugzilla 1674892).
 */

// Long enough that a message costs little, short enough that it adds nothing one would see in a caption.
const CHUNK_SAMPLES = Math.round(sampleRate * 0.04);

class CaptureProcessor extends AudioWorkletProcessor {
  #pcm = new Int16Array(CHUNK_SAMPLES);
  #filled = 0;
  #sumOfSquares = 0;
  #peak = 0;

  process([channels], [output]) {
    const quantum = output[0].length;
    for (let i = 0; i < quantum; i += 1) {
      // No channels: nothing is connected just now (the source is being changed). Silence keeps stream time true.
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.#push(sample);
    }
    return true;
  }

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
    this.port.postMessage({ pcm: this.#pcm, rms, peak: this.#peak }, [this.#pcm.buffer]);
    this.#pcm = new Int16Array(CHUNK_SAMPLES);
    this.#filled = 0;
    this.#sumOfSquares = 0;
    this.#peak = 0;
  }
}

registerProcessor("capture", CaptureProcessor);
