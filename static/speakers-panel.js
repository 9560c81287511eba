// @ts-check
/** On the publisher's page: whether speakers are to be distinguished, and how they get their names. */

import { bind, element } from "./dom.js";
import { t } from "./language.js";
import { chosenSources } from "./sources.js";
import { askForName } from "./speaker-dialog.js";
import { SpeakerNames } from "./speaker-names.js";

/** @import { Info, Start } from "./messages.js" */
/** @import { Settings } from "./settings.js" */

/** As the server: docs/protocol.md. */
const MAX_SPEAKERS = 50;

export class SpeakersPanel {
  names = new SpeakerNames();
  #settings;
  #send;
  /** Whether the server distinguishes voices. */
  #canHear = false;

  /**
   * @param {Settings} settings
   * @param {(speaker: number, name: string) => void} send is called with the name that the user gives a speaker
   */
  constructor(settings, send) {
    this.#settings = settings;
    this.#send = send;
    bind("speakers", settings, "speakers", () => this.show());
    bind("expected-speakers", settings, "expectedSpeakers");
    this.show();
  }

  /** @param {Info | null} info null: the server does not answer */
  learn(info) {
    if (info) this.#canHear = info.model?.speakers ?? false;
    this.show();
  }

  /**
   * What `start` asks for. A choice that is not offered today stays in the settings for tomorrow.
   *
   * @returns {Pick<Start, "speakers">}
   */
  wishes() {
    if (!this.#isOn) return {};
    if (this.#isApart) return { speakers: true };
    const expected = Number.parseInt(this.#settings.get("expectedSpeakers"), 10);
    return { speakers: expected >= 1 && expected <= MAX_SPEAKERS ? expected : true };
  }

  /**
   * Ask for the name of a speaker of the running session.
   *
   * @param {string} session
   * @param {number} speaker
   */
  rename(session, speaker) {
    askForName(this.names.of(session, speaker), (name) => this.#send(speaker, name));
  }

  /** Offer the switch if the server can distinguish voices, or if each speaker has a source. */
  show() {
    element("speakers-field").hidden = !this.#isOffered;
    element("expected-speakers-field").hidden = !this.#isOn || this.#isApart;
    element("speakers-hint").hidden = !this.#isOn;
    element("speakers-hint").textContent = this.#isApart
      ? t("Each of the two sounds is a speaker. Press a name in the transcript to change it.")
      : t(
          "Speakers are told apart by their voices. Tell the people in the room. Press a name in the transcript to " +
            "change it.",
        );
  }

  get #isApart() {
    return chosenSources(this.#settings).length > 1;
  }

  get #isOffered() {
    return this.#canHear || this.#isApart;
  }

  get #isOn() {
    return this.#isOffered && this.#settings.get("speakers");
  }
}
