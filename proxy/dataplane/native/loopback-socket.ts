/** A UDP socket whose addresses are literals: resolving them at once saves a turn of the event loop for every datagram. */
import { createSocket, type Socket } from 'node:dgram'

export function openSocket(): Socket {
  return createSocket({ type: 'udp4', lookup: (literal, _options, found) => found(null, literal, 4) })
}
