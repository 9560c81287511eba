// @ts-check
/**
 * The messages of the wire, as types alone: nothing imports this module at run time.
 *
 * Names are those of the wire. `*_ms` are milliseconds of stream time, which counts from the stream's first sample.
 * The server writes them in `livecaption/events.py`; that module says what each of them means.
 */

/**
 * The page's own description of its audio and of what it wants, sent first.
 * @typedef {object} Start
 * @property {"start"} type
 * @property {"pcm_s16le"} encoding
 * @property {number} sample_rate
 * @property {number} channels
 * @property {"separate"} [channel_mode] whether each channel is captioned apart
 * @property {string | null} language null: the server detects it
 * @property {boolean} [private]
 * @property {string} [title]
 * @property {string[]} [hotwords] names and terms to expect
 * @property {{ preset: string }} [endpointing]
 * @property {boolean} [keep] whether the transcript is stored
 * @property {string[]} [translate] languages into which finals are to be translated
 * @property {boolean | number} [speakers] whether speakers are to be distinguished, or how many are expected
 * @property {{ name: string, secret: string, take_over: boolean, former?: string }} [room] the room that the session is to be a part of
 */

/** @typedef {{ language: string, text: string }} TranslatedText */

/** @typedef {{ speaker: number, name: string }} SpeakerName */

/**
 * The part of a final that one speaker says. `speaker` is null if nobody is certain.
 * @typedef {{ speaker: number | null, text: string, start_ms: number, end_ms: number }} Turn
 */

/**
 * @typedef {object} Ready
 * @property {"ready"} type
 * @property {string} session
 * @property {string} resume_token
 * @property {number} protocol
 * @property {string} model
 * @property {string | null} language
 * @property {number} received_ms
 * @property {number} resume_window_ms
 * @property {boolean} private
 * @property {string} [reader_token] present if the session is private
 * @property {{ name: string, reader_token?: string }} [room] present if the session is a part of one
 * @property {boolean} [speakers] present, and true, if speakers are distinguished
 * @property {number} [seq]
 */

/**
 * `channel` is present in all events of an utterance if the audio channels are captioned apart.
 * @typedef {object} Partial
 * @property {"partial"} type
 * @property {number} utterance
 * @property {number} revision
 * @property {string} text
 * @property {string} stable a prefix of `text`
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} [channel] from 0
 * @property {number} [seq]
 */

/**
 * @typedef {object} Final
 * @property {"final"} type
 * @property {number} utterance
 * @property {string} text
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {string | null} language
 * @property {number} confidence
 * @property {number} latency_ms
 * @property {number} [channel] from 0
 * @property {Turn[]} [turns] present if speakers are distinguished: joined, their texts are `text`
 * @property {number} [seq]
 */

/** @typedef {SpeakerName & { type: "name", seq?: number }} SpeakerNamed */

/**
 * The text of an earlier final in another language.
 * @typedef {{ type: "translation", utterance: number, language: string, text: string, seq?: number }} Translation
 */

/**
 * A final as it stands in a list: without the fields of the message around it, and with the translations so far.
 * @typedef {Omit<Final, "type" | "seq"> & { translations?: TranslatedText[] }} Caption
 */

/** @typedef {Omit<Partial, "type" | "seq">} OpenCaption */

/** @typedef {{ type: "speech_start", utterance: number, start_ms: number, channel?: number, seq?: number }} SpeechStart */
/**
 * @typedef {{ type: "speech_end", utterance: number, end_ms: number, reason: string, channel?: number, seq?: number }}
 *   SpeechEnd
 */
/** @typedef {{ type: "ack", received_ms: number, seq?: number }} Ack */
/** @typedef {{ type: "gap", start_ms: number, end_ms: number, seq?: number }} Gap */

/**
 * @typedef {object} Status
 * @property {"status"} type
 * @property {"ready" | "recovering" | "overloaded" | "draining"} state
 * @property {"on" | "slow" | "paused"} partials
 * @property {number} lag_ms
 * @property {number} [seq]
 */

/**
 * @typedef {object} ErrorReport
 * @property {"error"} type
 * @property {string} code
 * @property {string} message
 * @property {boolean} fatal
 * @property {number} [retry_after_s]
 * @property {number} [seq]
 */

/**
 * @typedef {object} End
 * @property {"end"} type
 * @property {number} received_ms
 * @property {number} utterances
 * @property {"stop" | "disconnect" | "draining" | "replaced" | "error"} reason
 * @property {number} [seq]
 */

/**
 * @typedef {object} Snapshot
 * @property {"snapshot"} type
 * @property {string} title
 * @property {string | null} language
 * @property {Caption[]} finals
 * @property {OpenCaption | null} partial
 * @property {OpenCaption[]} [partials] the newest one of each channel that is captioned apart
 * @property {string} epoch
 * @property {string[]} [tracks] languages into which its finals are translated
 * @property {SpeakerName[]} [names] of speakers who have one
 * @property {string} session
 * @property {number} seq
 */

/** @typedef {{ session: string, title: string, started_at_ms: number, duration_ms: number }} RoomPart */

/**
 * The state of a room: before, between and after its parts. It has no number.
 *
 * @typedef {object} Room
 * @property {"room"} type
 * @property {string} name
 * @property {string} title
 * @property {boolean} private
 * @property {"waiting" | "live" | "break" | "ended"} state
 * @property {string | null} session the part that runs
 * @property {boolean} away the connection of its publisher is lost
 * @property {RoomPart[]} parts
 */

/** @typedef {Ready | Partial | Final | SpeakerNamed | Translation | SpeechStart | SpeechEnd | Ack | Gap | Status | ErrorReport | End} StreamEvent */
/** @typedef {Room | Snapshot | Partial | Final | SpeakerNamed | Translation | SpeechStart | SpeechEnd | Gap | Status | End} ReaderEvent */

/**
 * The body of `GET /v1/info`, as far as a page uses it.
 *
 * @typedef {object} Info
 * @property {{ name: string, languages: string[], tracks?: string[], speakers?: boolean } | null} model null: it is being loaded
 * @property {string | null} public_url
 * @property {string[]} addresses of the page for other machines; empty for those who may not know them
 * @property {{ kept: boolean, keep_days: number | null }} transcripts
 */

/**
 * The body of every refusal.
 * @typedef {{ code?: string, message?: string, retry_after_s?: number }} Refusal
 */

/**
 * One of `GET /v1/sessions`.
 * @typedef {object} StoredSession
 * @property {string} id
 * @property {string} title
 * @property {string | null} language
 * @property {boolean} private
 * @property {"open" | "ended" | "interrupted"} state
 * @property {string} started_at RFC 3339
 * @property {number} duration_ms
 * @property {number} finals
 * @property {Record<string, string>} [names] of speakers, by their numbers
 * @property {string | null} room the name of its room; null: it is part of none
 * @property {string} room_title
 * @property {{ start_ms: number, parts: string[] }[]} [excerpts] every second part matches the search
 */

/** @typedef {{ p50: number | null, p95: number | null, n: number }} Latencies null: none was measured */

/**
 * One inference process in `GET /v1/stats`.
 * @typedef {object} WorkerStats
 * @property {string} state
 * @property {number} restarts
 * @property {number | null} resident_memory_bytes
 * @property {{ used_bytes: number, total_bytes: number } | null} device_memory
 */

/**
 * The body of `GET /v1/stats`.
 * @typedef {object} Stats
 * @property {number} at_s
 * @property {string} state
 * @property {{ open: number, limit: number, limit_reason: string, accepted: number, refused: Record<string, number> }}
 *   streams
 * @property {{ partial_interval_ms: number | null, partials_paused_s: number }} pace
 * @property {{ finals: number, partials: number, in_flight: number }} queue
 * @property {number | null} real_time_factor
 * @property {{ waiting: number, failures: number, lost: number } | null} store
 * @property {Record<"endpoint" | "first_partial" | "partial" | "final", Latencies>} latencies_s
 * @property {{ p50: number | null, p99: number | null }} event_loop_lag_s
 * @property {{ resident_memory_bytes: number | null }} server
 * @property {number} received_audio_s
 * @property {number} transcribed_audio_s
 * @property {number} compute_s
 * @property {Record<string, number>} batches requests of a batch: how many there were
 * @property {Record<"asked" | "answered" | "superseded" | "dropped" | "failed", number>} partials
 * @property {Record<"answered" | "failed", number>} finals
 * @property {number} redone_finals
 * @property {number} runaway_texts
 * @property {WorkerStats[]} workers
 */

export {};
