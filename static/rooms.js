// @ts-check
/**
 * The rooms of this browser's speaker, each with its publisher secret. `docs/protocol.md` describes rooms.
 *
 * A room stays private, or public, for ever. So there is a current room of each kind: the newest one.
 */

import { hasTypes, store, storedJson } from "./storage.js";
import { authorization, base64url } from "./token.js";
import { Problem, refusalCode } from "./words.js";

/** @import { Refusal, Room } from "./messages.js" */

/** @typedef {{ name: string, secret: string, private: boolean }} OwnRoom */

const KEY = "livecaption.rooms";
/** A name of 62 random bits, as case does not count, is never guessed over a network, and short enough to be typed. */
const NAME_BYTES = 9;
const SECRET_BYTES = 16;
/** Older rooms are forgotten, with the right to speak in them. */
const MAX_ROOMS = 50;
const TIMEOUT_MS = 15_000;
const ROOM = { name: "string", secret: "string", private: "boolean" };
/** As `livecaption/live/room_state.py`. */
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/;

/**
 * The room in which the speaker speaks next. It is made where there is none.
 *
 * @param {boolean} isPrivate
 * @returns {OwnRoom}
 */
export function currentRoom(isPrivate) {
  const [newest] = read()
    .filter((room) => room.private === isPrivate)
    .slice(-1);
  return newest ?? newRoom(isPrivate);
}

/**
 * Make a room with a name that nobody guesses, which is the current one from now on.
 *
 * @param {boolean} isPrivate
 */
export function newRoom(isPrivate) {
  return keep({ name: random(NAME_BYTES), secret: random(SECRET_BYTES), private: isPrivate });
}

/**
 * Make the room of this name the current one. Throws Problem if there is one of the other kind, or none can have it.
 *
 * @param {string} name
 * @param {boolean} isPrivate
 */
export function chooseRoom(name, isPrivate) {
  if (!NAME.test(name)) throw new Problem("room_name");
  const known = read().find((room) => room.name.toLowerCase() === name.toLowerCase());
  if (known && known.private !== isPrivate) throw new Problem("room_kind");
  return keep(known ?? { name, secret: random(SECRET_BYTES), private: isPrivate });
}

/**
 * Forget a room that belongs to somebody else.
 *
 * @param {OwnRoom} room
 */
export function forgetRoom(room) {
  write(read().filter(({ name }) => name !== room.name));
}

/**
 * Make the room known to the server, so that its link works before the first part, or change it. Throws Problem.
 *
 * @param {OwnRoom} room
 * @param {{ title?: string, state?: "ended" }} change
 * @param {string} token the operator's
 * @returns {Promise<Room & { reader_token?: string }>}
 */
export async function registerRoom(room, change, token) {
  const body = { secret: room.secret, private: room.private, ...change };
  const url = new URL(`v1/rooms/${room.name}`, document.baseURI);
  const headers = { ...authorization(token), "Content-Type": "application/json" };
  const response = await request(url, { method: "PUT", headers, body: JSON.stringify(body) });
  return response.json();
}

/**
 * Have the server draw the link of a room as a QR code, in SVG. Throws Problem.
 *
 * The token is sent in a header, because addresses are kept in histories and logs.
 *
 * @param {OwnRoom} room
 * @param {string} page the address with which the link begins
 * @param {string} readerToken "": the room is public
 */
export async function drawCode(room, page, readerToken) {
  const url = new URL(`v1/rooms/${room.name}/qr.svg`, document.baseURI);
  url.searchParams.set("page", page);
  const response = await request(url, { headers: authorization(readerToken) });
  return response.text();
}

/**
 * @param {URL} url
 * @param {RequestInit} options
 */
async function request(url, options) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(url, { ...options, signal, cache: "no-store" }).catch((error) => {
    throw new Problem("unreachable", String(error));
  });
  if (response.ok) return response;
  const { code, message } = /** @type {Refusal} */ (await response.json().catch(() => ({})));
  throw new Problem(code === "wrong_token" ? "room_of_others" : refusalCode(response.status, code), message);
}

/** @param {OwnRoom} room */
function keep(room) {
  write([...read().filter(({ name }) => name !== room.name), room].slice(-MAX_ROOMS));
  return room;
}

/** @returns {OwnRoom[]} the newest last */
function read() {
  const rooms = storedJson("localStorage", KEY);
  return Array.isArray(rooms) ? rooms.filter(isRoom) : [];
}

/**
 * @param {any} room
 * @returns {room is OwnRoom}
 */
export function isRoom(room) {
  return hasTypes(room, ROOM) && NAME.test(room.name);
}

/** @param {OwnRoom[]} rooms */
function write(rooms) {
  store("localStorage", KEY, JSON.stringify(rooms));
}

/**
 * Random bytes in base64url.
 *
 * @param {number} nBytes
 */
function random(nBytes) {
  const bytes = crypto.getRandomValues(new Uint8Array(nBytes));
  return base64url(String.fromCharCode(...bytes));
}
