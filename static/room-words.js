// @ts-check
/** The state of a room and of the connection to it -> words for its readers. No DOM. */

import { t } from "./language.js";

/** @import { Connection } from "./feed.js" */
/** @import { Room } from "./messages.js" */

/**
 * `mark` is a state of `.state` in `style.css`; `short` stands in the header. The other two are shown in the page, where
 * `title` is "" if nothing is to be shown.
 *
 * @typedef {{ mark: string, short: string, title: string, text: string }} Words
 */

/**
 * @param {Connection} connection
 * @param {Room | null} room null: nothing was received
 * @param {{ stopped: boolean, isEmpty: boolean }} reading whether the server was stopped; whether there is no caption
 * @returns {Words}
 */
export function roomWords(connection, room, { stopped, isEmpty }) {
  switch (connection) {
    case "unknown":
      return {
        mark: "failed",
        short: t("Nothing here"),
        title: t("There are no captions at this link"),
        text: t(
          "Please check the link. If the event is not set up yet, keep this page open: it looks again by itself. If it is long over, its transcript was deleted.",
        ),
      };
    case "private":
      return {
        mark: "failed",
        short: t("Private"),
        title: t("These captions are private"),
        text: t(
          "The token at the end of the link is missing or wrong. Please open the whole link again, or scan the QR code.",
        ),
      };
    case "full":
      return {
        mark: "busy",
        short: t("Waiting for a place"),
        title: t("Too many people are reading at once"),
        text: t("This page tries again by itself."),
      };
    case "restarting":
      return {
        mark: "reconnecting",
        short: t("The server restarts"),
        title: t("The server restarts"),
        text: t("This page goes on by itself."),
      };
    case "reconnecting":
      return {
        mark: "reconnecting",
        short: t("Reconnecting"),
        title: t("The connection is lost"),
        text: t("This page goes on by itself as soon as the server answers again."),
      };
  }
  if (room === null) return { mark: "connecting", short: t("Connecting"), title: "", text: "" };
  switch (room.state) {
    case "waiting":
      return {
        mark: "idle",
        short: t("Starts soon"),
        title: room.title || t("Live captions"),
        text: t("The captions start soon. Keep this page open: they appear here by themselves."),
      };
    case "break":
      return { mark: "idle", short: t("Break"), title: t("Break"), text: t("The captions go on here.") };
    case "ended":
      if (stopped)
        return {
          mark: "idle",
          short: t("Stopped"),
          title: t("The server was stopped"),
          text: isEmpty ? t("There were no captions until then.") : t("Here is the transcript until then."),
        };
      return {
        mark: "idle",
        short: t("Over"),
        title: t("The event is over"),
        text: isEmpty ? t("There is no transcript of it.") : t("Here is its transcript."),
      };
    case "live":
      if (room.away)
        return {
          mark: "reconnecting",
          short: t("Speaker away"),
          title: t("The speaker is away for a moment"),
          text: t("The captions go on here when the connection is back."),
        };
      return { mark: "live", short: t("Live"), title: "", text: "" };
  }
}
