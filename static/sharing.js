// @ts-check
/** The link for readers: it is right before the event, while it runs, in its breaks, and afterwards. */

import { copyFrom, element } from "./dom.js";
import { t } from "./language.js";
import { chooseRoom, currentRoom, forgetRoom, newRoom, registerRoom } from "./rooms.js";
import { Problem, problemWords } from "./words.js";

/** @import { Info } from "./messages.js" */
/** @import { OwnRoom } from "./rooms.js" */

/**
 * @typedef {object} SharingOptions
 * @property {() => boolean} isPrivate whether the next event is private
 * @property {() => string} title of the event; "": it has none
 * @property {() => string} token the operator's
 * @property {() => boolean} isFixed whether the event runs, so that its link cannot change
 * @property {(again: () => void) => void} askForToken
 */

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

const dialog = element("share-dialog", HTMLDialogElement);
const linkField = element("share-link", HTMLInputElement);
const addressList = element("share-address", HTMLSelectElement);
const nameField = element("share-name", HTMLInputElement);
const code = element("share-code", HTMLImageElement);
const corner = element("corner-code", HTMLImageElement);

export class Sharing {
  #options;
  /** @type {Info | null} */
  #info = null;
  /** @type {OwnRoom} */
  #room;
  #readerToken = "";
  /** @type {string | null} The title that readers see; null: this page has not told them any. */
  #toldTitle = null;

  /** @param {SharingOptions} options */
  constructor(options) {
    this.#options = options;
    this.#room = currentRoom(options.isPrivate());
    element("share").addEventListener("click", () => this.open());
    element("share-copy").addEventListener("click", () =>
      copyFrom(element("share-copy", HTMLButtonElement), this.link),
    );
    element("share-obs").addEventListener("click", () =>
      copyFrom(element("share-obs", HTMLButtonElement), this.#link("?overlay=1")),
    );
    element("share-new").addEventListener("click", () => this.#change(() => newRoom(options.isPrivate())));
    nameField.addEventListener("change", () =>
      this.#change(() => chooseRoom(nameField.value.trim(), options.isPrivate())),
    );
    // Enter would press the first button of the dialog.
    nameField.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      nameField.blur();
    });
    addressList.addEventListener("change", () => this.#show());
    this.#show();
  }

  get room() {
    return this.#room;
  }

  get link() {
    return this.#link("");
  }

  /** @param {Info | null} info */
  learn(info) {
    this.#info = info;
    const offered = this.#isLocal() && !info?.public_url ? (info?.addresses ?? []) : [];
    const chosen = addressList.value;
    addressList.replaceChildren(...offered.map((address) => new Option(address, address)));
    if (offered.includes(chosen)) addressList.value = chosen;
    this.#show();
  }

  /** The kind of the event was changed: it has a link of its own. */
  switchKind() {
    this.#use(currentRoom(this.#options.isPrivate()));
    if (dialog.open) this.#register();
  }

  /**
   * The room runs, and readers need this token; "": it is public.
   *
   * @param {string} readerToken
   */
  admitted(readerToken) {
    // After a restart of the server there is no token, and the first one still counts.
    if (readerToken) this.#readerToken = readerToken;
    this.#show();
  }

  /**
   * The title was changed, or a part begins: tell the readers, if they can see the room already.
   *
   * @param {{ isSeen?: boolean }} options whether they can for certain
   */
  async tellTitle({ isSeen = this.#toldTitle !== null } = {}) {
    const title = this.#options.title();
    if (!isSeen || title === this.#toldTitle) return;
    this.#toldTitle = title;
    // What they see is right at the next change, or when the link is shown.
    await registerRoom(this.#room, { title }, this.#options.token()).catch(() => null);
  }

  open() {
    this.#report(null);
    nameField.value = this.#room.name;
    this.#show();
    dialog.showModal();
    this.#register();
  }

  /** Show the QR code over the captions of a presentation, or hide it. */
  async toggleCorner() {
    if (corner.hidden) await this.#register();
    corner.hidden = !corner.hidden;
  }

  /** End the event while no part of it runs. Throws Problem. */
  async endEvent() {
    await registerRoom(this.#room, { state: "ended" }, this.#options.token());
  }

  /** @param {OwnRoom} room */
  #use(room) {
    this.#room = room;
    this.#readerToken = "";
    this.#toldTitle = null;
    nameField.value = room.name;
    for (const image of [code, corner]) image.removeAttribute("src");
    this.#show();
  }

  /** @param {() => OwnRoom} choose */
  async #change(choose) {
    try {
      this.#use(choose());
    } catch (error) {
      this.#report(Problem.from(error));
      return;
    }
    await this.#register();
  }

  /** Make the room known, so that the link and its code work. */
  async #register() {
    const room = this.#room;
    const title = this.#options.title();
    try {
      const answer = await registerRoom(room, { title }, this.#options.token());
      if (room !== this.#room) return; // another one was chosen meanwhile
      this.#toldTitle = title;
      this.#report(null);
      this.admitted(answer.reader_token ?? "");
      this.#draw();
    } catch (error) {
      const problem = Problem.from(error);
      if (problem.code === "unauthorized") return this.#options.askForToken(() => this.#register());
      if (problem.code === "room_of_others") {
        forgetRoom(room);
        this.#use(currentRoom(this.#options.isPrivate()));
      }
      this.#report(problem);
    }
  }

  #isLocal() {
    return LOOPBACK.includes(location.hostname);
  }

  /** The address with which the link begins. The server draws the code for the same one. */
  #page() {
    return this.#info?.public_url ?? (addressList.value || new URL(".", document.baseURI).href);
  }

  /** @param {string} query */
  #link(query) {
    // Browsers do not send what follows `#`, so the token is in no server's log.
    const token = this.#readerToken && `#token=${this.#readerToken}`;
    return new URL(`watch/${this.#room.name}${query}${token}`, this.#page()).href;
  }

  #show() {
    const isFixed = this.#options.isFixed();
    linkField.value = this.#room.private && !this.#readerToken ? "" : this.link;
    nameField.disabled = isFixed;
    element("share-new", HTMLButtonElement).disabled = isFixed;
    element("share-private").hidden = !this.#room.private;
    element("share-addresses").hidden = addressList.options.length === 0;
    element("share-local").hidden = !this.#isLocal() || this.#page() !== new URL(".", document.baseURI).href;
    if (code.src) this.#draw();
  }

  /** Draw the code. The server knows the room already. */
  #draw() {
    if (this.#room.private && !this.#readerToken) return;
    const url = new URL(`v1/rooms/${this.#room.name}/qr.svg`, document.baseURI);
    url.searchParams.set("page", this.#page());
    if (this.#readerToken) url.searchParams.set("reader_token", this.#readerToken);
    for (const image of [code, corner]) image.src = url.href;
    const save = element("share-save", HTMLAnchorElement);
    save.href = url.href;
    save.download = `livecaption-${this.#room.name}.svg`;
  }

  /** @param {Problem | null} problem */
  #report(problem) {
    const words = problem && problemWords(problem, location);
    element("share-problem").textContent = words ? t("{title}. {text}", { title: words.title, text: words.text }) : "";
  }
}
