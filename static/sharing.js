// @ts-check
/** The link for readers and its QR code, while a session runs. */

import { copyFrom, element } from "./dom.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

const button = element("share", HTMLButtonElement);
const link = element("share-link", HTMLInputElement);

/**
 * Offer the link of a session.
 *
 * @param {string} id
 * @param {string} readerToken "": the session is public
 */
export function offerLink(id, readerToken) {
  // Browsers do not send what follows `#`, so the token is in no server's log.
  link.value = new URL(`watch/${id}${readerToken && `#token=${readerToken}`}`, document.baseURI).href;
  element("share-code", HTMLImageElement).src =
    `v1/sessions/${id}/qr.svg${readerToken && `?reader_token=${readerToken}`}`;
  element("share-private").hidden = readerToken === "";
  element("share-local").hidden = !LOOPBACK.includes(location.hostname);
  button.hidden = false;
}

export function withdrawLink() {
  button.hidden = true;
}

button.addEventListener("click", () => element("share-dialog", HTMLDialogElement).showModal());
element("share-copy").addEventListener("click", () => copyFrom(element("share-copy", HTMLButtonElement), link.value));
