// @ts-check
/** The link for readers: it is right before the event, while it runs, in its breaks, and afterwards. */

import { copyFrom, element, save } from "./dom.js";
import { t } from "./language.js";
import { chooseRoom, currentRoom, drawCode, forgetRoom, newRoom, registerRoom } from "./rooms.js";
import { needsToken } from "./token-dialog.js";
import { Problem, problemWords } from "./words.js";

/** @import { Info } from "./messages.js" */
/** @import { OwnRoom } from "./rooms.js" */

/**
 * @typedef {object} SharingOptions
 * @property {OwnRoom | null} room that of the event which goes on; null: none does
 * @property {() => boolean} isPrivate whether the next event is private
 * @property {() => string} title of the event; "": it has none
 * @property {() => string} token the operator's
 * @property {() => boolean} isFixed whether the event runs, so that its link cannot change
 * @property {(again: () => void, code: string) => void} askForToken
 * @property {() => void} shared is called once the link and its code work
 */

/** Reported beside the field, where they are the fault of the name in it. */
const OF_THE_NAME = ["room_name", "room_kind", "room_of_others"];
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

const dialog = element("share-dialog", HTMLDialogElement);
const linkField = element("share-link", HTMLInputElement);
const addressList = element("share-address", HTMLSelectElement);
const nameField = element("share-name", HTMLInputElement);
const code = element("share-code", HTMLImageElement);
const corner = element("corner-code", HTMLImageElement);
/** They need a link that works. */
const tools = ["share-copy", "share-obs", "share-save"].map((id) => element(id, HTMLButtonElement));

export class Sharing {
  #options;
  /** @type {Info | null} */
  #info = null;
  /** Whether the server knows the room: before that its link leads nowhere. */
  #isKnown = false;
  /** The QR code in SVG, and its link. */
  #code = { svg: "", link: "" };
  /** @type {Problem | null} Why the link does not work, or the code is missing. */
  #problem = null;
  /** @type {OwnRoom} */
  #room;
  #readerToken = "";
  /** @type {string | null} The title that readers see; null: this page has not told them any. */
  #toldTitle = null;

  /** @param {SharingOptions} options */
  constructor(options) {
    this.#options = options;
    this.#room = options.room ?? currentRoom(options.isPrivate());
    element("share").addEventListener("click", () => this.open());
    element("share-copy").addEventListener("click", () =>
      copyFrom(element("share-copy", HTMLButtonElement), this.link),
    );
    element("share-obs").addEventListener("click", () =>
      copyFrom(element("share-obs", HTMLButtonElement), this.#link("?overlay=1")),
    );
    element("share-save").addEventListener("click", () =>
      save(new Blob([this.#code.svg], { type: "image/svg+xml" }), `livecaption-${this.#room.name}.svg`),
    );
    element("share-token").addEventListener("click", () => this.#askForToken(this.#problem?.code ?? ""));
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
    this.#isKnown = true;
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
    dialog.showModal();
    this.#register();
  }

  /**
   * Show the QR code over the captions of a presentation, or hide it.
   *
   * @returns {Promise<Problem | null>} why there is none to show
   */
  async toggleCorner() {
    const wanted = corner.hidden;
    if (wanted) await this.#register();
    corner.hidden = !wanted || !this.#code.svg;
    return wanted && corner.hidden ? this.#problem : null;
  }

  /** End the event while no part of it runs. Throws Problem. */
  async endEvent() {
    const answer = await registerRoom(this.#room, { state: "ended" }, this.#options.token());
    this.admitted(answer.reader_token ?? "");
  }

  /** @param {OwnRoom} room */
  #use(room) {
    this.#isKnown = false;
    this.#room = room;
    this.#readerToken = "";
    this.#toldTitle = null;
    nameField.value = room.name;
    this.#showCode("");
    this.#report(null);
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
      await this.#draw();
      this.#options.shared();
    } catch (error) {
      if (room === this.#room) await this.#refused(room, Problem.from(error));
    }
  }

  /**
   * @param {OwnRoom} room
   * @param {Problem} problem
   */
  async #refused(room, problem) {
    if (problem.code === "room_of_others") {
      forgetRoom(room);
      this.#use(currentRoom(this.#options.isPrivate()));
      await this.#register();
      // What the link is now may have a problem of its own, which matters more.
      if (this.#problem) return;
    }
    this.#report(problem);
    if (needsToken(problem.code)) this.#askForToken(problem.code);
  }

  /** @param {string} code of the server's refusal */
  #askForToken(code) {
    this.#options.askForToken(() => this.#register(), code);
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
    const works = this.#isKnown && (!this.#room.private || this.#readerToken !== "");
    linkField.value = works ? this.link : "";
    for (const tool of tools) tool.disabled = tool.id === "share-save" ? !this.#code.svg : !works;
    nameField.disabled = isFixed;
    element("share-new", HTMLButtonElement).disabled = isFixed;
    element("share-fixed").hidden = !isFixed;
    // A hidden text would still be read as the description.
    nameField.setAttribute("aria-describedby", `share-name-problem${isFixed ? " share-fixed" : ""}`);
    element("share-stays").hidden = isFixed;
    element("share-private").hidden = !this.#room.private;
    element("share-addresses").hidden = addressList.options.length === 0;
    element("share-local").hidden = !this.#isLocal() || this.#page() !== new URL(".", document.baseURI).href;
    // Another address was chosen, or the token has come.
    if (this.#code.svg && this.#code.link !== this.link) {
      this.#draw().catch((error) => this.#report(Problem.from(error)));
    }
  }

  /** Draw the code. The server knows the room already. Throws Problem. */
  async #draw() {
    const { link } = this;
    if (this.#code.link !== link) this.#showCode("");
    if (this.#room.private && !this.#readerToken) return;
    const svg = await drawCode(this.#room, this.#page(), this.#readerToken);
    if (link === this.link) this.#showCode(svg);
  }

  /** @param {string} svg "": there is none yet */
  #showCode(svg) {
    this.#code = { svg, link: this.link };
    for (const image of [code, corner]) {
      if (svg) image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
      else image.removeAttribute("src");
    }
    if (!svg) corner.hidden = true;
    this.#show();
  }

  /** @param {Problem | null} problem */
  #report(problem) {
    const isOfName = problem !== null && OF_THE_NAME.includes(problem.code);
    this.#problem = isOfName ? null : problem;
    const { title, text } = problem ? problemWords(problem, location) : { title: "", text: "" };
    const words = problem ? t("{title}. {text}", { title, text }) : "";
    element("share-problem").textContent = isOfName ? "" : words;
    element("share-name-problem").textContent = isOfName ? words : "";
    // A name of somebody else is not in the field any more.
    nameField.setAttribute("aria-invalid", String(isOfName && problem.code !== "room_of_others"));
    element("share-token").hidden = !problem || !needsToken(problem.code);
    // While a code is on its way, its place is kept.
    code.hidden = this.#problem !== null && !this.#code.svg;
    this.#show();
  }
}
