/**
 * A microphone, or the sound of a tab or screen -> chunks of mono PCM.
 *
 * Owns the AudioContext, the media stream and the worklet. Knows nothing of the server. A failure is a Problem
 * whose code words.js can explain.
 */

import { Problem } from "./words.js";

/** The source that asks the browser for the sound of a tab or screen; any other source is a device id. */
export const DISPLAY = "display";
/** The microphone the system prefers. */
export const DEFAULT_MICROPHONE = "";

const PROBLEM_OF_ERROR = {
  NotAllowedError: "microphone_denied",
  SecurityError: "microphone_denied",
  NotFoundError: "no_microphone",
  OverconstrainedError: "no_microphone",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/** Microphones by id and label. Labels and ids are empty until the user has allowed a microphone once. */
export async function listMicrophones() {
  if (!navigator.mediaDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  // Chromium repeats the preferred devices as "default" and "communications"; the page has its own first entry.
  return devices.filter(
    ({ kind, deviceId }) => kind === "audioinput" && !["", "default", "communications"].includes(deviceId),
  );
}

/** A running capture. `choice` is {source, echoCancellation, noiseSuppression, autoGainControl}. */
export class Capture {
  #context;
  #worklet;
  #media = null;
  #sourceNode = null;
  #listener;
  #closed = false;

  /**
   * Ask for the source and begin. `listener` is {chunk({pcm, rms, peak}), ended(), suspended(boolean)}.
   * Must be called from a user's gesture: contexts made elsewhere start suspended, and display capture is refused.
   */
  static async open(choice, listener) {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new Problem("insecure_context");
    const capture = new Capture(listener);
    try {
      const media = await openMedia(choice);
      capture.#adopt(media);
      await capture.#startWorklet();
    } catch (error) {
      capture.close();
      throw error;
    }
    return capture;
  }

  constructor(listener) {
    this.#listener = listener;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#context.onstatechange = () => {
      if (!this.#closed) listener.suspended(this.#context.state !== "running");
    };
  }

  get sampleRateHz() {
    return this.#context.sampleRate;
  }

  /** Change the source without ending the stream: the new one is opened before the old one is let go. */
  async switchTo(choice) {
    const media = await openMedia(choice);
    if (this.#closed) {
      stopTracks(media);
      return;
    }
    this.#adopt(media);
    this.#sourceNode.connect(this.#worklet);
  }

  /** Continue after the browser suspended the context; from a user's gesture. */
  resume() {
    return this.#context.resume();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#letGo();
    if (this.#worklet) this.#worklet.port.onmessage = null;
    this.#context.close();
  }

  async #startWorklet() {
    try {
      await this.#context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    } catch (error) {
      throw new Problem("unreachable", error.message);
    }
    this.#worklet = new AudioWorkletNode(this.#context, "capture", { numberOfInputs: 1, numberOfOutputs: 1 });
    this.#worklet.port.onmessage = ({ data }) => this.#listener.chunk(data);
    this.#sourceNode.connect(this.#worklet);
    // Its output is silence. Some browsers run only nodes that lead to the destination.
    this.#worklet.connect(this.#context.destination);
    if (this.#context.state === "suspended") await this.#context.resume();
  }

  #adopt(media) {
    const sourceNode = this.#context.createMediaStreamSource(media);
    this.#letGo();
    this.#media = media;
    this.#sourceNode = sourceNode;
    media.getAudioTracks()[0].onended = () => this.#listener.ended();
  }

  #letGo() {
    this.#sourceNode?.disconnect();
    if (this.#media) stopTracks(this.#media);
  }
}

async function openMedia({ source, ...processing }) {
  return source === DISPLAY ? openDisplay() : openMicrophone(source, processing);
}

async function openMicrophone(deviceId, processing) {
  const audio = { channelCount: 1, ...processing };
  if (deviceId !== DEFAULT_MICROPHONE) audio.deviceId = { exact: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Problem(PROBLEM_OF_ERROR[error.name] ?? "microphone_failed", error.message);
  }
}

async function openDisplay() {
  if (!navigator.mediaDevices.getDisplayMedia) throw new Problem("no_display_capture");
  let media;
  try {
    media = await navigator.mediaDevices.getDisplayMedia({
      // A picture cannot be refused, and stopping it ends the sound in some browsers: so it is kept, small and slow.
      video: { width: 160, frameRate: 1 },
      audio: {
        echoCancellation: false,
        noiseSuppression: false,
        autoGainControl: false,
        suppressLocalAudioPlayback: false,
      },
      systemAudio: "include",
      selfBrowserSurface: "exclude",
    });
  } catch (error) {
    throw new Problem(error.name === "NotAllowedError" ? "sharing_refused" : "no_display_capture", error.message);
  }
  if (media.getAudioTracks().length === 0) {
    stopTracks(media);
    throw new Problem("no_shared_audio");
  }
  return media;
}

function stopTracks(media) {
  for (const track of media.getTracks()) {
    track.onended = null;
    track.stop();
  }
}
