/** What the sockets and the responder agree on: how a message comes in and how its reply goes out. */
import type { Client } from '../model/flow.ts'

export type Transport = 'udp' | 'tcp'

/** From a message to its reply: at once, later, or undefined for no reply. Never throws and never rejects. */
export type Respond = (
  message: Buffer,
  client: Client,
  transport: Transport,
) => Buffer | undefined | Promise<Buffer | undefined>

/**
 * The same for UDP without a buffer per message: reads the first `length` bytes of `message` and returns the length of the
 * reply written to `room`, 0 for no reply, or a promise of a reply that comes later. Never throws and never rejects.
 */
export type RespondInto = (
  room: Buffer,
  message: Buffer,
  length: number,
  client: Client,
) => number | Promise<Buffer | undefined>
