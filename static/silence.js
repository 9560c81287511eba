// @ts-check
/** What is given up when nothing has come for too long. */

/** Calls back once, when nothing has come for too long. */
export class Silence {
  #timer = 0;
  #tooLong;
  #maxMs;

  /**
   * @param {() => void} tooLong
   * @param {number} maxMs
   */
  constructor(tooLong, maxMs) {
    this.#tooLong = tooLong;
    this.#maxMs = maxMs;
    this.broken();
  }

  broken() {
    this.end();
    this.#timer = setTimeout(this.#tooLong, this.#maxMs);
  }

  end() {
    clearTimeout(this.#timer);
  }
}

/**
 * `fetch` that fails when nothing has come for too long, also while the body is read. So a long answer over a slow network
 * may take its time.
 *
 * @param {string | URL} url
 * @param {RequestInit} options
 * @param {number} maxSilenceMs
 */
export async function fetchPatiently(url, options, maxSilenceMs) {
  const abort = new AbortController();
  const silence = new Silence(() => abort.abort(), maxSilenceMs);
  const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal;
  const response = await fetch(url, { ...options, signal });
  silence.broken();
  if (response.status === 204) return response; // no other one can be made of it
  const passed = new TransformStream({
    transform(chunk, controller) {
      silence.broken();
      controller.enqueue(chunk);
    },
    flush: () => silence.end(),
  });
  return new Response(response.body?.pipeThrough(passed), response);
}
