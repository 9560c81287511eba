// @ts-check
/** What the server has of one session, over HTTP. */

import { accessToken, authorization } from "./token.js";

/**
 * Get an export of a session: "srt", "json" and so on. Rejects if the server does not have or give it.
 *
 * Tokens are sent in a header, because addresses are kept in histories and logs.
 *
 * @param {{ id: string, readerToken: string }} session
 * @param {string} format
 * @param {number} timeoutMs
 * @returns {Promise<Response>}
 */
export async function exportOf({ id, readerToken }, format, timeoutMs) {
  const url = new URL(`v1/sessions/${id}/transcript.${format}`, document.baseURI);
  const signal = AbortSignal.timeout(timeoutMs);
  /** @param {string} token */
  const get = (token) => fetch(url, { headers: authorization(token), signal, cache: "no-store" });
  let response = await get(readerToken);
  // The readers' token is valid as long as the server remembers the session, the operator's token after that.
  if ([401, 429].includes(response.status)) response = await get(accessToken());
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  return response;
}
